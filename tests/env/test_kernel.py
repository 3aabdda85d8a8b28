import numpy as np
import pytest

from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio import BUY, HOLD, PortfolioConfig
from ploutos.portfolio.config import CostConfig
from tests.env.markets import plain_scaler, random_market


def batch_of(n_envs, *, bars=60, rows=None, seed=0, **config):
    market = random_market(np.random.default_rng(3), bars=bars)
    rows = rows or Rows(start=5, stop=bars - 3)
    batch = Batch(market, plain_scaler(market), EnvConfig(**config), rows, n_envs)
    batch.seed(seed)
    return batch


def test_every_decision_row_is_visited_equally_often():
    rows = Rows(start=10, stop=41)
    batch = batch_of(200, rows=rows, episode_bars=12)
    batch.reset()
    idle = np.zeros((200, 2), np.int64)
    visits = np.zeros(60, np.int64)
    for _ in range(2000):
        visits += np.bincount(batch.episodes.row, minlength=60)
        batch.step(idle)
    inside = visits[10:40]  # decisions at 10..39; row 40 only marks the last fill
    assert visits[:10].sum() == 0
    assert visits[40:].sum() == 0
    # 13,333 expected visits a row; visits within an episode are adjacent, so the effective number
    # of independent draws is about a twelfth of that: 5 standard errors are 15 %.
    np.testing.assert_allclose(inside, inside.mean(), rtol=0.15)


def test_first_ends_are_staggered():
    batch = batch_of(64, bars=400, rows=Rows(start=0, stop=400), episode_bars=50)
    batch.reset()
    left = batch.episodes.stop - batch.episodes.row
    assert len(set(left.tolist())) > 20


def test_end_of_window_is_truncation_and_not_termination():
    batch = batch_of(1, episode_bars=5)
    batch.reset()
    left = int(batch.episodes.stop[0] - batch.episodes.row[0])
    for _ in range(left - 1):
        outcome = batch.step(np.array([[BUY, HOLD]]))
        assert not outcome.truncated[0]
    outcome = batch.step(np.array([[BUY, HOLD]]))
    assert outcome.truncated[0]
    assert not outcome.terminated[0]
    assert batch.accounts.quantity_micro[0].sum() == 0
    assert not np.array_equal(outcome.final_observation[0], outcome.observation[0])


def test_ruin_terminates():
    market = random_market(np.random.default_rng(0), symbols=1)
    crash = market._replace(
        mark=np.geomspace(100, 1e-6, 60).reshape(-1, 1),
        open=np.geomspace(100, 1e-6, 60).reshape(-1, 1),
    )
    portfolio = PortfolioConfig(
        buy_fraction=1.0,
        maximum_weight=1.0,
        costs=CostConfig(commission_bps=0, half_spread_bps=0),
    )
    config = EnvConfig(portfolio=portfolio, ruin_fraction=0.5, episode_bars=10_000)
    batch = Batch(crash, plain_scaler(crash), config, Rows(start=0, stop=60), 1)
    batch.seed(1)
    batch.reset()
    equity = [batch.setup.initial_cash_micro]
    for _ in range(60):
        outcome = batch.step(np.array([[BUY]]))
        equity.append(int(outcome.equity_micro[0]))
        if outcome.terminated[0] or outcome.truncated[0]:
            break
    assert outcome.terminated[0]
    assert not outcome.truncated[0]
    assert equity[-1] <= 0.5 * equity[0] < equity[-2]


def test_reward_is_the_scaled_log_growth_of_equity():
    batch = batch_of(1, episode_bars=1000, reward_scale=10.0)
    batch.reset()
    before = batch.setup.initial_cash_micro
    for _ in range(20):
        outcome = batch.step(np.array([[BUY, BUY]]))
        if outcome.truncated[0]:
            break
        after = int(outcome.equity_micro[0])
        assert outcome.reward[0] == pytest.approx(10 * np.log(after / before), rel=1e-6, abs=1e-9)
        before = after


def test_environment_e_of_a_batch_equals_a_single_one_seeded_seed_plus_e():
    rng = np.random.default_rng(11)
    actions = rng.integers(0, 3, (300, 4, 2))
    many = batch_of(4, episode_bars=9, seed=70)
    singles = [batch_of(1, episode_bars=9, seed=70 + e) for e in range(4)]
    first = many.reset()
    for e, single in enumerate(singles):
        np.testing.assert_array_equal(single.reset()[0], first[e])
    for action in actions:
        outcome = many.step(action)
        for e, single in enumerate(singles):
            alone = single.step(action[e : e + 1])
            np.testing.assert_array_equal(alone.observation[0], outcome.observation[e])
            assert alone.reward[0] == outcome.reward[e]
            assert alone.truncated[0] == outcome.truncated[e]


def test_observation_holds_scaled_market_masks_and_account():
    batch = batch_of(1, episode_bars=1000)
    observation = batch.reset()[0]
    row = int(batch.episodes.row[0])
    market = batch.market
    expected = np.concatenate(
        [
            np.nan_to_num(np.clip((market.features[row].ravel() - 0.25) / 0.5, -5, 5), nan=0.0),
            np.nan_to_num(np.clip(market.macro[row], -5, 5), nan=0.0),
            market.valid[row],
            market.macro_valid[row],
            [1.0, 0.0],  # all cash, no drawdown
            np.zeros(8),
        ]
    ).astype(np.float32)
    np.testing.assert_allclose(observation, expected, rtol=1e-6, atol=1e-6)


def test_account_part_stays_bounded_whatever_happens():
    rng = np.random.default_rng(5)
    batch = batch_of(32, episode_bars=30)
    batch.reset()
    for _ in range(200):
        account = batch.step(rng.integers(0, 3, (32, 2))).observation[:, -10:]
        assert np.isfinite(account).all()
        assert (np.abs(account) <= 1.0 + 1e-6).all()


def test_action_of_the_wrong_shape_is_refused():
    batch = batch_of(3)
    batch.reset()
    with pytest.raises(EnvironmentConfigError, match=r"expected actions of shape \(3, 2\)"):
        batch.step(np.zeros((3, 1), np.int64))


def test_action_outside_the_three_values_is_refused():
    batch = batch_of(1)
    batch.reset()
    with pytest.raises(EnvironmentConfigError, match="0 \\(hold\\)"):
        batch.step(np.array([[0, 3]]))


def test_rows_outside_the_market_are_refused():
    with pytest.raises(EnvironmentConfigError, match="rows inside"):
        batch_of(1, rows=Rows(start=0, stop=61))


def test_a_single_row_is_refused():
    with pytest.raises(EnvironmentConfigError, match="at least 2 rows"):
        batch_of(1, rows=Rows(start=4, stop=5))
