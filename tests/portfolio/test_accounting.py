import numpy as np
import pytest

from ploutos.portfolio import (
    MarginConfig,
    PortfolioConfig,
    apply_corporate_actions,
    equity_micro,
    rules_of,
)
from ploutos.portfolio.accounting import interest_micro, round_micro
from tests.portfolio.accounts import MICRO, read_only


def interest(cash_usd, shares, mark, days, **rules):
    quantity = np.array(shares, np.float64) * MICRO
    config = PortfolioConfig(**rules)
    return interest_micro(cash_usd * MICRO, quantity, read_only(mark), days, rules_of(config))


def test_equity_is_cash_and_positions_long_minus_short():
    quantity = np.array([2.5, -4.0]) * MICRO
    assert equity_micro(100.0 * MICRO, quantity, read_only([10, 3])) == 113 * MICRO


def test_halves_are_rounded_upward():
    assert [round_micro(value) for value in (1.5, 2.5, -0.5, -1.5, 0.49)] == [2, 3, 0, -1, 0]


def test_cash_earns_interest_over_the_three_days_of_a_weekend():
    # 36,500 at 5 % are 5 a day.
    assert interest(36_500.0, [0], [1], 1.0, cash_interest=0.05) == 5 * MICRO
    assert interest(36_500.0, [0], [1], 3.0, cash_interest=0.05) == 15 * MICRO


def test_loan_costs_its_rate_on_negative_cash():
    margin = MarginConfig(loan_rate=0.073, borrow_fee=0)
    # 10,000 at 7.3 % are 2 a day.
    assert interest(-10_000.0, [0], [1], 1.0, margin=margin) == -2 * MICRO


def test_borrowed_shares_cost_their_fee_and_their_proceeds_earn_nothing():
    margin = MarginConfig(loan_rate=0.06, borrow_fee=0.0365)
    # 100 short at 50 are worth 5,000: 0.50 a day; free cash is 15,000 - 5,000.
    got = interest(15_000.0, [-100], [50], 1.0, margin=margin, cash_interest=0.0365)
    assert got == (1.0 - 0.5) * MICRO


def test_split_multiplies_holdings_and_waiting_orders_and_keeps_equity():
    quantity, order = np.array([7.0 * MICRO]), np.array([-7.0 * MICRO])
    before = equity_micro(0.0, quantity, read_only([90]))
    received = apply_corporate_actions(quantity, order, read_only([2]), read_only([0]))
    assert received == 0
    assert (quantity[0], order[0]) == (14 * MICRO, -14 * MICRO)
    assert equity_micro(0.0, quantity, read_only([45])) == before


@pytest.mark.parametrize("side", [1, -1])
def test_order_to_close_still_closes_after_a_split_that_rounds(side):
    quantity, order = np.array([side * 7.0]), np.array([-side * 7.0])
    apply_corporate_actions(quantity, order, read_only([1.5]), read_only([0]))
    assert quantity[0] == side * 11  # 10.5 micro-shares, halves upward in size
    assert order[0] == -quantity[0]


def test_dividend_is_paid_on_shares_after_the_split_and_by_who_is_short():
    for side in (1, -1):
        quantity, order = np.array([side * 100.0 * MICRO]), np.zeros(1)
        received = apply_corporate_actions(quantity, order, read_only([2]), read_only([0.25]))
        assert received == side * 50 * MICRO
