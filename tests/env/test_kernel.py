"""The compiled batch against the plain-Python environment, bit by bit."""

import numpy as np
import pytest

from ploutos.env.batch import Batch
from ploutos.env.lanes import LANES
from ploutos.folds import Rows
from ploutos.portfolio.config import rules_of
from tests.env.configs import random_actions, random_config
from tests.env.episodes import Environment
from tests.env.markets import plain_scaler, rough_market

CASES, CHUNK = 1000, 50


def pair_of(rng, case):
    """Return a batch and its environments in plain Python."""
    bars = 40
    features = 50 if case % 7 == 0 else 2  # more than are scaled at a time, or fewer
    market = rough_market(rng, bars=bars, symbols=1 + case % 4, features=features)
    config = random_config(rng)
    start = int(rng.integers(0, 10))
    rows = Rows(start=start, stop=int(rng.integers(start + 2, bars + 1)))
    n_envs, n_threads, seed = int(rng.integers(1, 4)), 1, int(rng.integers(2**63))
    if case % 10 == 0:
        n_envs = LANES + 1  # full lanes, and one left over
    scaler = plain_scaler(market, config.clip)
    config = tradable(config, market, rows)
    batch = Batch(market, scaler, config, rows, n_envs, n_threads)
    batch.seed(seed)
    rules = rules_of(config.portfolio)
    singles = [Environment(market, scaler, config, rules, rows, seed + e) for e in range(n_envs)]
    return batch, singles


def tradable(config, market, rows):
    """Drop the participation cap where no volume is known: the batch would refuse it."""
    if market.volume[rows.start : rows.stop].any():
        return config
    costs = config.portfolio.costs.model_copy(update={"maximum_participation": None})
    portfolio = config.portfolio.model_copy(update={"costs": costs})
    return config.model_copy(update={"portfolio": portfolio})


def assert_same_account(accounts, e, single, where):
    expected = single.account
    for name in ("cash", "equity", "peak", "stopped"):
        assert getattr(accounts, name)[e] == getattr(expected, name), (where, name)
    for name in ("quantity", "entry_price", "held_bars", "last_action"):
        assert getattr(accounts, name)[e].tolist() == getattr(expected, name), (where, name)
    assert accounts.moments[e].tolist() == expected.moments, where


def assert_same_trades(trades, single, where):
    report = single.report
    assert trades.fill.tolist() == report.fill, where
    np.testing.assert_array_equal(trades.fill_price, report.fill_price, str(where))
    assert trades.fee.tolist() == report.fee, where
    assert trades.flows.tolist() == [report.dividend, report.interest, report.traded], where
    assert not trades.order.any(), where


def assert_same_outcome(outcome, e, single, where):
    assert outcome.equity[e] == single.equity, where
    assert outcome.reward[e] == np.float32(single.reward), where
    assert outcome.terminated[e] == single.terminated, where
    assert outcome.truncated[e] == single.truncated, where
    if single.final is not None:
        np.testing.assert_array_equal(outcome.final_observation[e], single.final, str(where))


def assert_same_life(case):
    rng = np.random.default_rng(case)
    batch, singles = pair_of(rng, case)
    first = batch.reset()
    for e, single in enumerate(singles):
        np.testing.assert_array_equal(first[e], single.reset(), str((case, "reset", e)))
    by_weight = bool(batch.setup.rules.by_weight)
    for step in range(40):
        actions = random_actions(rng, (batch.n_envs, batch.n_symbols), by_weight)
        outcome = batch.step(actions)
        for e, single in enumerate(singles):
            observation, where = single.step(actions[e].tolist()), (case, step, e)
            assert_same_outcome(outcome, e, single, where)
            assert_same_account(batch.accounts, e, single, where)
            np.testing.assert_array_equal(outcome.observation[e], observation, str(where))
        assert_same_trades(batch.trades, singles[-1], (case, step))
        assert batch.episodes.row.tolist() == [single.row for single in singles]
        assert batch.episodes.stop.tolist() == [single.end for single in singles]


@pytest.mark.parametrize("first", range(0, CASES, CHUNK))
def test_batch_equals_the_plain_python_environment_bit_for_bit(first):
    for case in range(first, first + CHUNK):
        assert_same_life(case)
