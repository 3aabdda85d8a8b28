import dataclasses

import numpy as np
import pytest

from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.folds import Rows
from ploutos.portfolio.config import MICRO, CostConfig, MarginConfig, PortfolioConfig
from ploutos.validation.baselines import buy_and_hold, hold_cash
from tests.panels import random_panel

ROWS = Rows(start=50, stop=150)
NO_COSTS = CostConfig(
    commission_bps=0,
    half_spread_bps=0,
    impact_bps=0,
    maximum_participation=None,
    us_sell_fees=False,
)
FREE = EnvConfig(portfolio=PortfolioConfig(costs=NO_COSTS))
CAPPED = EnvConfig(
    portfolio=PortfolioConfig(costs=NO_COSTS.model_copy(update={"maximum_participation": 0.1}))
)


def with_volume(panel, shares):
    prices = panel.prices.copy()
    prices[:, :, 4] = shares
    return dataclasses.replace(panel, prices=prices)


def shares_planned(panel, n=0):
    """Return what half of 100,000 USD buys of a symbol at the close of the first decision."""
    return 50_000 / panel.prices[49, n, 3]


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


def test_what_a_bar_does_not_carry_is_bought_on_the_bars_that_follow():
    # A bar carries a tenth of 3,000 shares; about 1,000 of each symbol are wanted.
    panel = with_volume(random_panel(), 3000.0)
    played = buy_and_hold(market_of(panel), ROWS, CAPPED)
    for n in range(2):
        planned = shares_planned(panel, n)
        bought = played.fill_micro[:, n] / MICRO
        full = int(planned // 300)
        np.testing.assert_array_equal(bought[:full], 300)
        assert bought[full] <= planned - 300 * full  # what is left, or what cash still covers
        assert not bought[full + 1 :].any()
    assert (played.cash_micro >= 0).all()


def test_purchase_in_parts_multiplies_what_is_left_at_a_split():
    panel = with_volume(random_panel(symbols=1), 3000.0)
    planned = 100_000 / panel.prices[49, 0, 3]
    prices, split = panel.prices.copy(), panel.split_ratio.copy()
    split[51] = 2.0
    prices[51:, :, :4] /= 2
    prices[51:, :, 4] *= 2
    panel = dataclasses.replace(panel, prices=prices, split_ratio=split)
    bought = buy_and_hold(market_of(panel), ROWS, CAPPED).fill_micro[:, 0] / MICRO
    assert bought[0] == 300
    full = int((planned - 300) // 300)
    # From the split on everything counts double, the median volume and what is left to buy.
    np.testing.assert_allclose(bought[1 : 1 + full], 600, atol=1e-6)
    assert bought[1 + full] <= 2 * (planned - 300 - 300 * full) + 1e-6
    assert not bought[2 + full :].any()


def test_symbol_without_a_bar_at_the_first_open_is_bought_at_the_next():
    panel = random_panel()
    prices = panel.prices.copy()
    prices[50, 0] = np.nan
    played = buy_and_hold(market_of(dataclasses.replace(panel, prices=prices)), ROWS, FREE)
    assert played.fill_micro[0, 0] == 0
    assert played.fill_micro[1, 0] > 0
    assert not played.fill_micro[2:].any()


def test_whole_lots_are_bought_and_nothing_where_a_bar_carries_less_than_one():
    portfolio = CAPPED.portfolio.model_copy(update={"lot_shares": 100})
    config = CAPPED.model_copy(update={"portfolio": portfolio})
    volume = np.array([3500.0, 900.0])
    played = buy_and_hold(market_of(with_volume(random_panel(), volume)), ROWS, config)
    assert set(np.unique(played.fill_micro[:, 0])) <= {0, 100 * MICRO, 300 * MICRO}
    assert played.fill_micro[0, 0] == 300 * MICRO
    assert not played.fill_micro[:, 1].any()


def test_limits_and_stops_and_margin_of_the_policies_are_not_those_of_the_baselines():
    portfolio = FREE.portfolio.model_copy(
        update={
            "margin": MarginConfig(),
            "maximum_gross": 2.0,
            "maximum_weight": 0.1,
            "maximum_orders": 1,
            "stop_loss": 0.01,
            "drawdown_stop": 0.01,
        }
    )
    limited = FREE.model_copy(update={"portfolio": portfolio})
    market = market_of(random_panel())
    plain, other = buy_and_hold(market, ROWS, FREE), buy_and_hold(market, ROWS, limited)
    np.testing.assert_array_equal(plain.equity_micro, other.equity_micro)
    assert (other.cash_micro >= 0).all()


def test_cash_earns_the_interest_of_the_config():
    portfolio = FREE.portfolio.model_copy(update={"cash_interest": 0.0365})
    played = hold_cash(
        market_of(random_panel()), ROWS, FREE.model_copy(update={"portfolio": portfolio})
    )
    # A bar a day, a ten-thousandth a day.
    assert played.equity_micro[-1] / MICRO == pytest.approx(100_000 * 1.0001**100, abs=1e-3)


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
