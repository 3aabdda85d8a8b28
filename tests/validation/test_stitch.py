import math

import numpy as np
import pytest

from ploutos.agent.play import Segment, play
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.folds import FoldConfig, Rows, split
from ploutos.portfolio.config import (
    MICRO,
    CostConfig,
    MarginConfig,
    PortfolioConfig,
    WeightActions,
)
from ploutos.validation.stitch import RUINED_USD, rollout_of, ruined_at
from tests.panels import random_panel

FOLDS = split(10, 200, FoldConfig(n_folds=2, test_bars=30, validation_bars=20, min_train_bars=60))
ROWS = Rows(start=140, stop=200)


class Alternating:
    """Goes into both symbols and out again, by target weights."""

    def __init__(self, *weights):
        self.weights = np.array(weights)

    def act(self, market, accounts, e, row, state):
        return (self.weights if row % 4 < 2 else np.zeros(2)), None


def rolled_out(actor, panel, **portfolio):
    config = EnvConfig(portfolio=PortfolioConfig(actions=WeightActions(), **portfolio))
    market = market_of(panel)
    played = play(market, [Segment(actor, ROWS)], config, 0)
    return played, rollout_of("hand", played, panel, market, FOLDS)


def test_cost_is_commission_and_fees_and_what_spread_and_impact_took():
    costs = CostConfig(commission_bps=10, half_spread_bps=5, impact_bps=200)
    panel = random_panel()
    played, rollout = rolled_out(Alternating(0.4, 0.4), panel, costs=costs)
    expected = np.zeros(60)
    for bar, n in np.argwhere(played.fill_micro):
        shares = abs(played.fill_micro[bar, n]) / MICRO
        opened = panel.prices[140 + bar, n, 0]
        # The median volume is 1e6 shares; every order fills as it was sent.
        slippage = 0.0005 + 0.02 * math.sqrt(shares / 1e6)
        side = 1 if played.fill_micro[bar, n] > 0 else -1
        value = shares * opened * (1 + side * slippage)
        expected[bar] += shares * opened * slippage + 0.001 * value
        if side < 0:
            # In the autumn of 2014: 22.10 USD per million, 0.000119 per share.
            expected[bar] += value * 22.1e-6 + shares * 0.000119
    assert (expected > 0).sum() > 20
    np.testing.assert_allclose(rollout.cost_usd, expected, rtol=1e-6, atol=1e-5)


def test_interest_is_part_of_the_return_and_no_cost():
    panel = random_panel()
    costs = CostConfig(commission_bps=0, half_spread_bps=0, impact_bps=0, us_sell_fees=False)
    played, rollout = rolled_out(Alternating(0.4, 0.4), panel, costs=costs, cash_interest=0.1)
    assert (played.interest_micro > 0).all()
    assert not rollout.cost_usd.any()
    _, without = rolled_out(Alternating(0.4, 0.4), panel, costs=costs)
    assert rollout.equity_usd[-1] > without.equity_usd[-1]


def test_weights_of_short_positions_are_negative_and_turnover_counts_both_sides():
    panel = random_panel()
    played, rollout = rolled_out(
        Alternating(0.4, -0.4), panel, margin=MarginConfig(), maximum_weight=0.5
    )
    held = rollout.weights[np.abs(rollout.weights).sum(axis=1) > 0.1]
    assert held[:, 0].min() > 0 > held[:, 1].max()
    equity = rollout.equity_usd
    cash = played.cash_micro / MICRO
    np.testing.assert_allclose(cash / equity + rollout.weights.sum(axis=1), 1.0, atol=1e-9)
    shares = np.abs(played.fill_micro) / MICRO
    value = (shares * np.nan_to_num(played.fill_price)).sum(axis=1)
    np.testing.assert_allclose(rollout.turnover, value / equity[:-1], rtol=1e-12)


def test_account_that_loses_everything_ends_there():
    panel = random_panel()
    prices = panel.prices.copy()
    prices[160:, :, :4] *= 3.0  # what it is short of triples overnight
    panel = type(panel)(
        **{name: getattr(panel, name) for name in panel.__slots__} | {"prices": prices}
    )

    class Short:
        def act(self, market, accounts, e, row, state):
            return np.array([-1.0, -1.0]), None

    played, rollout = rolled_out(
        Short(), panel, margin=MarginConfig(), maximum_weight=1.0, maximum_gross=2.0
    )
    assert played.equity_micro.min() < 0
    ruin = ruined_at(played.equity_micro)
    assert ruin == 21
    assert (rollout.equity_usd[ruin:] == RUINED_USD).all()
    assert rollout.returns[ruin - 1] == pytest.approx(-1.0)
    assert not rollout.returns[ruin:].any()
    assert not rollout.weights[ruin:].any()
    assert not rollout.turnover[ruin:].any()
    assert np.isfinite(np.log(rollout.equity_usd)).all()


def test_ruin_is_the_first_row_without_equity_and_beyond_the_end_if_there_is_none():
    assert ruined_at(np.array([5, 1, 0, -3, 7])) == 2
    assert ruined_at(np.array([5, 1, 1])) == 3
