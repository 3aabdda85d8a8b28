"""The observation, value by value."""

import numpy as np
import pytest

from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.observe import account_length, market_length, observation_length
from ploutos.folds import Rows
from ploutos.portfolio import MarginConfig, PortfolioConfig, WeightActions
from tests.env.configs import FREE
from tests.env.markets import market_from, plain_scaler, random_market


def batch_over(market, **config):
    rows = Rows(start=0, stop=market.mark.shape[0])
    batch = Batch(market, plain_scaler(market), EnvConfig(episode_bars=None, **config), rows, 1)
    batch.seed(0)
    batch.reset()
    return batch


def market_part(market, row):
    if row < 0:
        return np.zeros(market_length(market), np.float32)
    features = np.clip((market.features[row].ravel() - 0.25) / 0.5, -5, 5)
    parts = [features, np.clip(market.macro[row], -5, 5)]
    known = [np.nan_to_num(part, nan=0.0) for part in parts]
    return np.concatenate([*known, market.valid[row], market.macro_valid[row]])


# Features are scaled in parts of 64 values: less than one, one, two and a rest.
@pytest.mark.parametrize("features", [3, 32, 75])
@pytest.mark.parametrize("window", [1, 3])
def test_window_holds_the_decisions_row_last_and_zeros_before_the_first(window, features):
    market = random_market(np.random.default_rng(1), features=features)
    batch = batch_over(market, window_bars=window)
    length = market_length(market)
    assert batch.length == observation_length(market, window) == window * length + 12
    for row in range(5):
        observation = batch.observe()[0]
        for w in range(window):
            expected = market_part(market, row - window + 1 + w)
            got = observation[w * length : (w + 1) * length]
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
        batch.step(np.ones((1, 2), int))


def test_by_reference_shows_the_row_and_the_same_account():
    market = random_market(np.random.default_rng(1))
    by_value, by_reference = batch_over(market), batch_over(market, by_reference=True)
    assert by_reference.length == 1 + account_length(2)
    for row in range(20):
        value, reference = by_value.observe()[0], by_reference.observe()[0]
        assert reference[0] == row
        np.testing.assert_array_equal(reference[1:], value[-12:])
        for batch in (by_value, by_reference):
            batch.step(np.array([[row % 3, 1]]))


def test_account_part_by_hand():
    # 1,000 at 10: half into the first, a quarter short in the second; then 12 and 9.
    close = np.array([[10.0, 10.0], [10.0, 10.0], [12.0, 9.0], [11.0, 9.0], [1.0, 1.0]])
    portfolio = PortfolioConfig(
        initial_cash_usd=1000,
        actions=WeightActions(),
        minimum_order_usd=0,
        margin=MarginConfig(borrow_fee=0, loan_rate=0),
        costs=FREE,
    )
    batch = batch_over(market_from(close, close), portfolio=portfolio)
    length = market_length(batch.market)
    batch.step(np.array([[0.5, -0.25]]))
    account = batch.observe()[0, length:].copy()
    expected = [0.75, 0, 0.75, 0, 0.5, -0.25, 0, 0, 1 / 21, 1 / 21, 0.5, -0.25]
    np.testing.assert_allclose(account, expected, atol=1e-6)
    batch.step(np.array([[0.5, -0.25]]))  # what they are at the close is what is wanted
    account = batch.observe()[0, length:].copy()
    equity = 750 + 50 * 12 - 25 * 9
    expected = [
        *(750 / equity, 0, 825 / equity, 0),
        *(600 / equity, -225 / equity),
        *(0.2, 0.1),
        *(2 / 22, 2 / 22),
    ]
    np.testing.assert_allclose(account[:10], expected, atol=1e-6)
    batch.step(np.array([[0.0, 2.0]]))
    account = batch.observe()[0, length:]
    assert account[1] > 0  # 12 -> 11: a drawdown from the peak
    assert account[-2:].tolist() == [0.0, 1.0]  # a weight is shown within its bounds
