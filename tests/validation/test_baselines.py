import dataclasses

import numpy as np
import pytest

from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.folds import Rows
from ploutos.portfolio.config import MICRO, CostConfig, PortfolioConfig
from ploutos.validation.baselines import buy_and_hold, hold_cash
from tests.panels import random_panel

ROWS = Rows(start=50, stop=150)
FREE = EnvConfig(portfolio=PortfolioConfig(costs=CostConfig(commission_bps=0, half_spread_bps=0)))


def test_cash_stays_what_it_was():
    played = hold_cash(market_of(random_panel()), ROWS, EnvConfig())
    assert (played.equity_micro == 100_000 * MICRO).all()
    assert len(played.equity_micro) == len(ROWS) + 1


def test_buy_and_hold_without_costs_earns_the_mean_of_the_symbols_returns():
    panel = random_panel()
    played = buy_and_hold(market_of(panel), ROWS, FREE)
    # Quantities are fixed at the close of row 49; what the open of row 50 changes stays in cash.
    close, opened = panel.prices[49, :, 3], panel.prices[50, :, 0]
    shares = 50_000 / close
    affordable = min(1.0, 100_000 / (shares @ opened))
    shares *= affordable
    expected = 100_000 - shares @ opened + shares @ panel.prices[149, :, 3]
    assert played.equity_micro[-1] / MICRO == pytest.approx(expected, abs=0.01)


def test_buy_and_hold_trades_once_and_pays_costs():
    played = buy_and_hold(market_of(random_panel()), ROWS, EnvConfig())
    assert (played.fill_micro[0] > 0).all()
    assert not played.fill_micro[1:].any()
    assert played.fee_micro[0].sum() > 0
    assert (played.cash_micro >= 0).all()


def test_buy_and_hold_skips_a_symbol_that_is_not_valid():
    panel = random_panel()
    valid = panel.valid.copy()
    valid[49, 0] = 0
    played = buy_and_hold(market_of(dataclasses.replace(panel, valid=valid)), ROWS, FREE)
    assert played.fill_micro[0, 0] == 0
    assert played.fill_micro[0, 1] * panel.prices[50, 1, 0] == pytest.approx(
        100_000 * MICRO, rel=0.05
    )


def test_dividend_and_split_reach_the_holder():
    panel = random_panel(symbols=1)
    prices, split = panel.prices.copy(), panel.split_ratio.copy()
    dividend = panel.cash_dividend.copy()
    prices[100:, :, :4] /= 2
    split[100] = 2.0
    dividend[120] = 0.5
    with_actions = buy_and_hold(
        market_of(
            dataclasses.replace(panel, prices=prices, split_ratio=split, cash_dividend=dividend)
        ),
        ROWS,
        FREE,
    )
    plain = buy_and_hold(market_of(panel), ROWS, FREE)
    shares_after_split = with_actions.quantity_micro[-1, 0] / MICRO
    assert shares_after_split == pytest.approx(2 * plain.quantity_micro[-1, 0] / MICRO, rel=1e-9)
    gained = (with_actions.equity_micro[-1] - plain.equity_micro[-1]) / MICRO
    assert gained == pytest.approx(0.5 * shares_after_split, abs=1e-3)
    np.testing.assert_allclose(
        with_actions.equity_micro[:70] / MICRO, plain.equity_micro[:70] / MICRO, rtol=1e-9
    )
