"""The reward: what it ranks, what it never pays for, and each term from first principles."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig, RewardConfig
from ploutos.env.market import BENCHMARK, benchmark_log_return
from ploutos.env.reward import StepFacts, differential_sharpe, reward_weights, step_reward
from ploutos.folds import Rows
from ploutos.portfolio import BUY, HOLD, SELL, CostConfig, PortfolioConfig, WeightActions
from ploutos.portfolio.config import OrderActions
from tests.env.configs import FREE
from tests.env.markets import market_from, plain_scaler, random_market

BARS = 80
COSTLY = CostConfig(commission_bps=5, half_spread_bps=10, impact_bps=0)


def market_of_drift(drift, seed):
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(drift, 0.01, (BARS, 1)), axis=0))
    return market_from(close * np.exp(rng.normal(0, 0.002, close.shape)), close)


def rewards_and_equity(market, policy, costs=COSTLY, **config):
    """Return the rewards of one episode over all rows, and equity at each close."""
    orders = OrderActions(buy_fraction=1.0)
    portfolio = PortfolioConfig(actions=orders, maximum_weight=1.0, costs=costs)
    env = EnvConfig(portfolio=portfolio, episode_bars=None, **config)
    bars, symbols = market.mark.shape
    batch = Batch(market, plain_scaler(market), env, Rows(start=0, stop=bars), 1)
    batch.seed(0)
    batch.reset()
    rewards, equity = [], [batch.setup.initial_cash_micro]
    for t in range(bars - 1):
        outcome = batch.step(np.full((1, symbols), policy(t)))
        rewards.append(float(outcome.reward[0]))
        equity.append(float(outcome.equity[0]))
    return np.array(rewards), np.array(equity)


def policies(seed):
    random = np.random.default_rng(seed).integers(0, 3, BARS)
    return {
        "idle": lambda t: HOLD,
        "churn": lambda t: SELL if t % 2 else BUY,
        "one trip, then idle": lambda t: {5: BUY, 12: SELL}.get(t, HOLD),
        "buy and hold": lambda t: BUY if t == 0 else HOLD,
        "random": lambda t: int(random[t]),
    }


@pytest.mark.parametrize("costs", [FREE, COSTLY])
@pytest.mark.parametrize("drift", [0.004, -0.004, 0.0])
@pytest.mark.parametrize("seed", range(3))
def test_default_reward_ranks_policies_exactly_as_final_equity_does(drift, seed, costs):
    market = market_of_drift(drift, seed)
    earned, final = {}, {}
    for name, policy in policies(seed).items():
        rewards, equity = rewards_and_equity(market, policy, costs)
        earned[name], final[name] = rewards.sum(), equity[-1]
    assert len(set(final.values())) == len(final)
    assert sorted(earned, key=earned.get) == sorted(final, key=final.get)


@pytest.mark.parametrize("drift", [0.004, -0.004, 0.0])
def test_idling_earns_exactly_nothing(drift):
    everything = RewardConfig(differential_sharpe=1.0, drawdown=1.0, turnover=1.0)
    for config in (RewardConfig(), everything):
        rewards, _ = rewards_and_equity(market_of_drift(drift, 1), lambda t: HOLD, reward=config)
        assert not rewards.any()


def test_waiting_in_a_drawdown_costs_nothing():
    config = RewardConfig(drawdown=5.0)
    market = market_of_drift(-0.01, 0)
    rewards, equity = rewards_and_equity(
        market, lambda t: {0: BUY, 20: SELL}.get(t, HOLD), reward=config
    )
    assert equity[-1] < equity[0]
    assert not rewards[21:].any()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(1e6, 1e14), min_size=2, max_size=50), st.floats(0.01, 1e4))
def test_default_rewards_add_up_to_the_log_growth_of_equity(equity, scale):
    weights, moments = reward_weights(RewardConfig(scale=scale)), np.zeros(2)
    total = sum(
        step_reward(StepFacts(before, after, 0.0, 0.01, 0.0, 0.0), moments, weights)
        for before, after in pairwise(equity)
    )
    expected = scale * math.log(equity[-1] / equity[0])
    # Terms of opposite signs cancel: compare with the sum of their sizes.
    size = sum(abs(math.log(b / a)) for a, b in pairwise(equity))
    assert total == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale * max(size, 1.0))


@pytest.mark.parametrize("seed", range(3))
def test_rewards_of_an_episode_add_up_to_its_log_growth(seed):
    market = market_of_drift(0.001, seed)
    for policy in policies(seed).values():
        rewards, equity = rewards_and_equity(market, policy)
        expected = 100 * np.log(equity[-1] / equity[0])
        assert rewards.sum() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def terms(**weights):
    return reward_weights(RewardConfig(**({"scale": 1.0, "log_return": 0.0} | weights)))


def test_each_term_by_hand():
    # From 1,000 to 990 while the benchmark lost 2 %; drawdown 5 % -> 5.95 %; traded 400.
    facts = StepFacts(1000e6, 990e6, 400e6, math.log(0.98), 0.05, 0.0595)
    moments = np.zeros(2)
    assert step_reward(facts, moments, terms(log_return=1.0)) == math.log(0.99)
    got = step_reward(facts, moments, terms(benchmark_return=2.0))
    assert got == pytest.approx(2 * math.log(0.99 / 0.98), rel=1e-12)
    assert step_reward(facts, moments, terms(drawdown=3.0)) == pytest.approx(-0.0285, rel=1e-12)
    assert step_reward(facts, moments, terms(turnover=0.5)) == pytest.approx(-0.2, rel=1e-12)
    better = facts._replace(drawdown_after=0.01)
    assert step_reward(better, moments, terms(drawdown=3.0)) == 0.0
    every = terms(log_return=1.0, benchmark_return=2.0, drawdown=3.0, turnover=0.5, scale=10.0)
    expected = math.log(0.99) + 2 * math.log(0.99 / 0.98) - 0.0285 - 0.2
    assert step_reward(facts, moments, every) == pytest.approx(10 * expected, rel=1e-12)


def test_turnover_penalty_counts_what_is_bought_and_sold():
    config = RewardConfig(scale=1.0, log_return=0.0, turnover=1.0)
    market = market_from(np.full((5, 1), 10.0), np.full((5, 1), 10.0))
    policy = {0: BUY, 1: SELL}
    rewards, _ = rewards_and_equity(market, lambda t: policy.get(t, HOLD), FREE, reward=config)
    assert rewards.tolist() == pytest.approx([-1.0, -1.0, 0.0, 0.0])


def test_drawdown_penalties_add_up_to_the_falls_from_peak_to_trough():
    close = np.array([[10.0], [10.0], [9.0], [8.0], [9.0], [12.0], [6.0]])
    config = RewardConfig(scale=1.0, log_return=0.0, drawdown=1.0)
    rewards, _ = rewards_and_equity(
        market_from(close, close), lambda t: BUY if t == 0 else HOLD, FREE, reward=config
    )
    # 10 -> 8 is 20 % in two steps, 12 -> 6 is 50 % in one; rising costs nothing.
    assert rewards == pytest.approx([0, -0.1, -0.1, 0, 0, -0.5], abs=1e-6)


def sharpe_of(returns, eta):
    """Return Moody & Saffell's moving Sharpe ratio A / sqrt(B - A^2) after each return."""
    weights = eta * (1 - eta) ** np.arange(len(returns))
    ratios = []
    for t in range(1, len(returns) + 1):
        recent = returns[:t][::-1]
        first, second = weights[:t] @ recent, weights[:t] @ recent**2
        ratios.append(first / math.sqrt(second - first**2))
    return np.array(ratios)


def direct_differential(returns, eta):
    """Return dS/d(eta) at eta = 0 of the ratio of the moved moments, by central differences."""
    weights = eta * (1 - eta) ** np.arange(len(returns))
    result = [0.0]
    for t in range(1, len(returns)):
        past = returns[:t][::-1]
        first, second = weights[:t] @ past, weights[:t] @ past**2

        def ratio(step, new=returns[t], first=first, second=second):
            a, b = first + step * (new - first), second + step * (new**2 - second)
            return a / math.sqrt(b - a * a)

        result.append((ratio(1e-6) - ratio(-1e-6)) / 2e-6)
    return np.array(result)


@pytest.mark.parametrize("eta", [0.01, 0.1])
def test_differential_sharpe_is_the_derivative_of_the_moving_sharpe_ratio(eta):
    returns, moments = np.random.default_rng(3).normal(0.001, 0.01, 200), np.zeros(2)
    got = [differential_sharpe(one, moments, eta) for one in returns]
    np.testing.assert_allclose(got, direct_differential(returns, eta), rtol=1e-5, atol=1e-7)


def test_differential_sharpe_adds_up_to_the_change_of_the_moving_sharpe_ratio():
    eta, moments = 0.002, np.zeros(2)
    returns = np.random.default_rng(4).normal(0.0005, 0.01, 4000)
    got = np.array([differential_sharpe(one, moments, eta) for one in returns])
    moving = sharpe_of(returns, eta)
    # S(t) = S(t-1) + eta D(t) + O(eta^2), once the moments have settled.
    np.testing.assert_allclose(eta * got[2001:].sum(), moving[-1] - moving[2000], atol=0.01)
    assert np.corrcoef(eta * got[2001:], np.diff(moving[2000:]))[0, 1] > 0.999


def test_differential_sharpe_is_nothing_while_nothing_varies():
    moments = np.zeros(2)
    assert [differential_sharpe(0.0, moments, 0.01) for _ in range(10)] == [0.0] * 10
    assert moments.tolist() == [0.0, 0.0]


def test_moments_start_anew_in_every_episode():
    reward = RewardConfig(differential_sharpe=1.0)
    market = random_market(np.random.default_rng(0))
    env = EnvConfig(reward=reward, episode_bars=5)
    batch = Batch(market, plain_scaler(market), env, Rows(start=0, stop=60), 1)
    batch.seed(0)
    batch.reset()
    ended = 0
    for _ in range(40):
        outcome = batch.step(np.array([[BUY, BUY]]))
        if outcome.truncated[0]:
            ended += 1
            assert not batch.accounts.moments.any()
    assert ended > 5


def test_holding_the_benchmark_earns_no_benchmark_reward_on_average():
    market = random_market(np.random.default_rng(9), bars=2000, symbols=2)
    clock = market.clock.copy()
    clock[:, BENCHMARK] = benchmark_log_return(
        market.mark, market.valid, market.split_ratio, market.cash_dividend
    )
    clock.flags.writeable = False
    reward = RewardConfig(scale=1.0, log_return=0.0, benchmark_return=1.0)
    portfolio = PortfolioConfig(actions=WeightActions(), minimum_order_usd=0, costs=FREE)
    env = EnvConfig(portfolio=portfolio, reward=reward, episode_bars=None)
    rows = Rows(start=0, stop=2000)
    batch = Batch(market._replace(clock=clock), plain_scaler(market), env, rows, 1)
    batch.seed(0)
    batch.reset()
    rewards = [float(batch.step(np.full((1, 2), 0.5)).reward[0]) for _ in range(1999)]
    # The fills come at the next open, so single steps differ; their mean does not.
    assert np.std(rewards) < 0.002 < np.std(clock[:, BENCHMARK])
    assert stats.ttest_1samp(rewards[1:], 0.0).pvalue > 0.05
