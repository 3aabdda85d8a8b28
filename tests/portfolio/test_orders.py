import numpy as np
import pytest

from ploutos.portfolio import BUY, HOLD, SELL, PortfolioConfig, plan_orders, rules_of
from ploutos.portfolio.config import CostConfig

FREE = CostConfig(commission_bps=0, half_spread_bps=0)
MICRO = 10**6


def planned(action, *, cash_usd, shares, mark, config, valid=None):
    orders = np.zeros(len(action), np.int64)
    plan_orders(
        np.array(action, np.int64),
        (round(cash_usd * MICRO), np.array(shares, np.int64) * MICRO),
        np.array(mark, np.float64),
        np.array(valid or [1] * len(action), np.uint8),
        rules_of(config),
        orders,
    )
    return (orders / MICRO).tolist()


def test_buy_adds_the_configured_fraction_of_equity():
    config = PortfolioConfig(buy_fraction=0.25, maximum_weight=1.0, costs=FREE)
    # Equity 600 + 4 * 100 = 1,000; a quarter of it buys 2.5 shares at 100.
    assert planned([BUY], cash_usd=600, shares=[4], mark=[100], config=config) == [2.5]


def test_buy_stops_at_the_position_limit():
    config = PortfolioConfig(buy_fraction=0.25, maximum_weight=0.5, costs=FREE)
    # Equity 1,000, position 400, limit 500: room for 100 = 1 share.
    assert planned([BUY], cash_usd=600, shares=[4], mark=[100], config=config) == [1.0]


def test_sell_gives_up_the_whole_position():
    config = PortfolioConfig(costs=FREE)
    assert planned([SELL], cash_usd=0, shares=[7], mark=[30], config=config) == [-7.0]


def test_hold_orders_nothing():
    assert planned([HOLD], cash_usd=1e4, shares=[7], mark=[30], config=PortfolioConfig()) == [0.0]


def test_selling_what_is_not_held_orders_nothing():
    assert planned([SELL], cash_usd=1e4, shares=[0], mark=[30], config=PortfolioConfig()) == [0.0]


def test_masked_symbol_is_not_traded():
    config = PortfolioConfig(maximum_weight=1.0, costs=FREE)
    orders = planned(
        [BUY, SELL], cash_usd=1e4, shares=[0, 5], mark=[10, 10], config=config, valid=[0, 0]
    )
    assert orders == [0.0, 0.0]


def test_buys_beyond_the_cash_shrink_pro_rata():
    config = PortfolioConfig(buy_fraction=0.5, maximum_weight=1.0, minimum_order_usd=0, costs=FREE)
    # Equity 1,000, all of it in cash; three buys of 500 share it: 333.33 each.
    orders = planned([BUY] * 3, cash_usd=1000, shares=[0, 0, 0], mark=[10, 20, 40], config=config)
    assert orders == pytest.approx([33.333333, 16.666666, 8.333333], abs=1e-6)


def test_expected_proceeds_of_sells_pay_for_buys():
    config = PortfolioConfig(buy_fraction=0.5, maximum_weight=1.0, costs=FREE)
    orders = planned([SELL, BUY], cash_usd=0, shares=[10, 0], mark=[100, 50], config=config)
    assert orders == [-10.0, 10.0]


def test_buy_below_the_minimum_order_is_dropped():
    config = PortfolioConfig(buy_fraction=0.1, minimum_order_usd=200, costs=FREE)
    assert planned([BUY], cash_usd=1000, shares=[0], mark=[10], config=config) == [0.0]
