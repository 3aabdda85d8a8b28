"""Episodes: where they start and end, and what a batch of environments refuses."""

import numpy as np
import pytest

from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.lanes import LANES
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio import BUY, HOLD, CostConfig, PortfolioConfig, WeightActions
from ploutos.portfolio.config import OrderActions
from tests.env.configs import FREE, random_actions
from tests.env.markets import market_from, plain_scaler, random_market

ALL_IN = PortfolioConfig(actions=OrderActions(buy_fraction=1.0), maximum_weight=1.0, costs=FREE)
WEIGHTS = PortfolioConfig(actions=WeightActions())


def batch_of(n_envs, *, bars=60, rows=None, seed=0, n_threads=1, market=None, **config):
    market = market or random_market(np.random.default_rng(3), bars=bars)
    rows = rows or Rows(start=5, stop=bars - 3)
    scaler = plain_scaler(market)
    batch = Batch(market, scaler, EnvConfig(**config), rows, n_envs, n_threads)
    batch.seed(seed)
    return batch


def test_every_decision_row_is_visited_equally_often():
    batch = batch_of(200, rows=Rows(start=10, stop=41), episode_bars=12)
    batch.reset()
    idle, visits = np.zeros((200, 2), np.int64), np.zeros(60, np.int64)
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


def test_episode_without_a_length_is_all_rows_every_time():
    batch = batch_of(2, rows=Rows(start=5, stop=16), episode_bars=None)
    batch.reset()
    for _ in range(3):
        assert batch.episodes.row.tolist() == [5, 5]
        ends = [batch.step(np.ones((2, 2), int)).truncated.tolist() for _ in range(10)]
        assert ends == [[0, 0]] * 9 + [[1, 1]]


def test_end_of_window_is_truncation_and_not_termination():
    batch = batch_of(1, episode_bars=5)
    batch.reset()
    left = int(batch.episodes.stop[0] - batch.episodes.row[0])
    for _ in range(left - 1):
        assert not batch.step(np.array([[BUY, HOLD]])).truncated[0]
    outcome = batch.step(np.array([[BUY, HOLD]]))
    assert outcome.truncated[0]
    assert not outcome.terminated[0]
    assert not batch.accounts.quantity.any()
    assert batch.accounts.cash[0] == batch.setup.initial_cash_micro
    assert not np.array_equal(outcome.final_observation[0], outcome.observation[0])


def test_ruin_terminates():
    price = np.geomspace(100, 1e-3, 60).reshape(-1, 1)
    batch = batch_of(
        1,
        market=market_from(price, price),
        rows=Rows(start=0, stop=60),
        portfolio=ALL_IN,
        ruin_fraction=0.5,
        episode_bars=None,
    )
    batch.reset()
    equity = [batch.setup.initial_cash_micro]
    for _ in range(59):
        outcome = batch.step(np.array([[BUY]]))
        equity.append(int(outcome.equity[0]))
        if outcome.terminated[0] or outcome.truncated[0]:
            break
    assert outcome.terminated[0]
    assert not outcome.truncated[0]
    assert equity[-1] <= 0.5 * equity[0] < equity[-2]


@pytest.mark.parametrize("n_envs", [4, LANES, LANES + 3])
def test_environment_e_of_a_batch_equals_a_single_one_seeded_seed_plus_e(n_envs):
    rng = np.random.default_rng(11)
    actions = rng.integers(0, 3, (1200 // n_envs, n_envs, 2))
    many = batch_of(n_envs, episode_bars=9, seed=70)
    singles = [batch_of(1, episode_bars=9, seed=70 + e) for e in range(n_envs)]
    first = many.reset()
    for e, single in enumerate(singles):
        np.testing.assert_array_equal(single.reset()[0], first[e])
    for action in actions:
        outcome = many.step(action)
        for e, single in enumerate(singles):
            alone = single.step(action[e : e + 1])
            for one, other in zip(alone, outcome, strict=True):
                np.testing.assert_array_equal(one[0], other[e])


@pytest.mark.parametrize("n_threads", [2, 3, 64])
@pytest.mark.parametrize("portfolio", [PortfolioConfig(), WEIGHTS])
def test_threads_change_no_bit(portfolio, n_threads):
    config = {"portfolio": portfolio, "episode_bars": 7, "seed": 4}
    # Alone the thread fills its lanes twice; three have none to fill, two have one each.
    n_envs = 2 * LANES + 7
    one, several = batch_of(n_envs, **config), batch_of(n_envs, n_threads=n_threads, **config)
    rng = np.random.default_rng(2)
    np.testing.assert_array_equal(one.reset(), several.reset())
    for _ in range(80):
        action = random_actions(rng, (n_envs, 2), bool(one.setup.rules.by_weight))
        for expected, got in zip(one.step(action), several.step(action), strict=True):
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(several.masks(), one.masks())
    for expected, got in zip(one.accounts, several.accounts, strict=True):
        np.testing.assert_array_equal(got, expected)
    several.close()


def test_episode_can_be_moved_to_a_row_and_keeps_its_length():
    batch = batch_of(1, episode_bars=7)
    batch.reset()
    batch.move_to(50)
    assert (batch.episodes.row[0], batch.episodes.stop[0]) == (50, 56)
    batch.move_to(20)
    assert (batch.episodes.row[0], batch.episodes.stop[0]) == (20, 27)
    for row in (4, 56):
        with pytest.raises(EnvironmentConfigError, match=r"decision row in \[5, 56\)"):
            batch.move_to(row)


def test_action_of_the_wrong_shape_is_refused_and_nothing_has_happened():
    batch = batch_of(3)
    batch.reset()
    row = batch.episodes.row.copy()
    with pytest.raises(EnvironmentConfigError, match=r"expected actions of shape \(3, 2\)"):
        batch.step(np.zeros((3, 1), np.int64))
    np.testing.assert_array_equal(batch.episodes.row, row)


@pytest.mark.parametrize("action", [[0, 3], [-1, 0]])
def test_action_outside_the_three_values_is_refused(action):
    batch = batch_of(1)
    batch.reset()
    with pytest.raises(EnvironmentConfigError, match="0 \\(hold\\)"):
        batch.step(np.array([action]))


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_weight_that_is_not_finite_is_refused(weight):
    batch = batch_of(1, portfolio=WEIGHTS)
    batch.reset()
    with pytest.raises(EnvironmentConfigError, match="finite target weights"):
        batch.step(np.array([[0.1, weight]]))


@pytest.mark.parametrize("stop", [61, 5000])
def test_rows_outside_the_market_are_refused(stop):
    with pytest.raises(EnvironmentConfigError, match="rows inside"):
        batch_of(1, rows=Rows(start=0, stop=stop))


def test_a_single_row_is_refused():
    with pytest.raises(EnvironmentConfigError, match="at least 2 rows"):
        batch_of(1, rows=Rows(start=4, stop=5))


def test_market_without_volumes_is_refused_unless_the_cap_is_off():
    close = np.full((20, 1), 10.0)
    market = market_from(close, close, volume=np.zeros((20, 1)))
    rows = Rows(start=0, stop=20)
    with pytest.raises(EnvironmentConfigError, match="maximum_participation to null"):
        batch_of(1, market=market, rows=rows)
    costs = CostConfig(maximum_participation=None)
    batch = batch_of(1, market=market, rows=rows, portfolio=PortfolioConfig(costs=costs))
    batch.reset()
    batch.step(np.array([[BUY]]))
    assert batch.accounts.quantity[0, 0] > 0
