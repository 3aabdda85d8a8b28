from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.portfolio import (
    PortfolioConfig,
    apply_corporate_actions,
    equity_micro,
    fill_orders,
    rules_of,
)
from ploutos.portfolio.config import CostConfig

MICRO = 10**6


def filled(orders, opens, *, cash_usd, shares, costs):
    n = len(orders)
    quantity = np.round(np.array(shares) * MICRO).astype(np.int64)
    fills = (np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.int64))
    cash = fill_orders(
        np.round(np.array(orders) * MICRO).astype(np.int64),
        np.array(opens, np.float64),
        round(cash_usd * MICRO),
        quantity,
        rules_of(PortfolioConfig(costs=costs)),
        fills,
    )
    return cash, quantity, fills


def test_buy_pays_open_plus_half_spread_plus_commission():
    costs = CostConfig(commission_bps=10, half_spread_bps=50)
    cash, quantity, fills = filled([10], [100], cash_usd=5000, shares=[0], costs=costs)
    # 10 shares at 100.50 = 1,005.00; commission 10 bps of it = 1.005.
    assert cash == 5_000_000_000 - 1_005_000_000 - 1_005_000
    assert quantity.tolist() == [10 * MICRO]
    assert fills[1][0] == pytest.approx(100.5, rel=1e-15)


def test_sell_receives_open_minus_half_spread_minus_commission():
    costs = CostConfig(commission_bps=10, half_spread_bps=50)
    cash, quantity, _ = filled([-10], [100], cash_usd=0, shares=[10], costs=costs)
    assert cash == 995_000_000 - 995_000
    assert quantity.tolist() == [0]


def test_minimum_commission_applies_to_small_orders():
    costs = CostConfig(commission_bps=1, half_spread_bps=0, minimum_commission_usd=1.5)
    cash, _, fills = filled([1], [100], cash_usd=1000, shares=[0], costs=costs)
    assert fills[2][0] == 1_500_000
    assert cash == (1000 - 100) * MICRO - 1_500_000


def test_sells_fill_before_buys():
    costs = CostConfig(commission_bps=0, half_spread_bps=0)
    cash, quantity, _ = filled([5, -10], [100, 50], cash_usd=0, shares=[0, 10], costs=costs)
    assert cash == 0
    assert quantity.tolist() == [5 * MICRO, 0]


def test_fill_larger_than_cash_shrinks_pro_rata():
    costs = CostConfig(commission_bps=0, half_spread_bps=0)
    cash, quantity, _ = filled([10, 10], [100, 300], cash_usd=2000, shares=[0, 0], costs=costs)
    # 4,000 wanted, 2,000 there: half of each.
    assert quantity.tolist() == [5 * MICRO, 5 * MICRO]
    assert cash == 0


def test_order_without_an_open_lapses():
    cash, quantity, fills = filled(
        [10, -3], [np.nan, np.nan], cash_usd=2000, shares=[0, 3], costs=CostConfig()
    )
    assert cash == 2000 * MICRO
    assert quantity.tolist() == [0, 3 * MICRO]
    assert np.isnan(fills[1]).all()


def test_split_multiplies_holdings_and_waiting_orders_and_keeps_equity():
    quantity = np.array([7 * MICRO], np.int64)
    order = np.array([-7 * MICRO], np.int64)
    before = equity_micro(0, quantity, np.array([90.0]))
    received = apply_corporate_actions(quantity, order, np.array([2.0]), np.array([0.0]))
    assert received == 0
    assert (quantity[0], order[0]) == (14 * MICRO, -14 * MICRO)
    assert equity_micro(0, quantity, np.array([45.0])) == before


def test_dividend_is_paid_on_shares_after_the_split():
    quantity = np.array([100 * MICRO], np.int64)
    order = np.zeros(1, np.int64)
    received = apply_corporate_actions(quantity, order, np.array([2.0]), np.array([0.25]))
    assert received == 50 * MICRO


orders_and_prices = st.lists(
    st.tuples(
        st.integers(-50_000_000, 80_000_000),
        st.floats(0.01, 5000.0),
        st.integers(0, 50_000_000),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(
    orders_and_prices,
    st.integers(0, 10**11),
    st.floats(0, 100),
    st.floats(0, 100),
    st.sampled_from([0.0, 0.35, 5.0]),
)
def test_cash_never_becomes_negative_and_the_books_balance(
    rows, cash, commission_bps, half_spread_bps, minimum
):
    held = np.array([row[2] for row in rows], np.int64)
    orders = np.array([max(row[0], -row[2]) for row in rows], np.int64)
    opens = np.array([np.nan if row[3] and row[2] % 7 == 0 else row[1] for row in rows])
    config = PortfolioConfig(
        costs=CostConfig(
            commission_bps=commission_bps,
            half_spread_bps=half_spread_bps,
            minimum_commission_usd=minimum,
        )
    )
    n = len(rows)
    quantity = held.copy()
    fills = (np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.int64))
    after = fill_orders(orders, opens, cash, quantity, rules_of(config), fills)
    assert after >= 0
    assert (quantity >= 0).all()
    assert (quantity == held + fills[0]).all()
    # Independent books in exact fractions: cash moves by the rounded value and the commission.
    expected = Fraction(cash)
    for fill, price, fee in zip(*fills, strict=True):
        if fill != 0:
            exact = Fraction(int(fill)) * Fraction(float(price))
            expected -= exact + int(fee)
    assert abs(expected - after) <= n  # each value is rounded to one micro-dollar
    assert (np.sign(fills[0]) * np.sign(orders) >= 0).all()
    assert (np.abs(fills[0]) <= np.abs(orders)).all()
