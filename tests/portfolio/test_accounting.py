import numpy as np
import pytest

from ploutos.portfolio import MarginConfig, PortfolioConfig, rules_of
from ploutos.portfolio.accounting import (
    apply_corporate_actions,
    interest_micro,
    round_micro,
    value_micro,
    write_short,
)
from tests.portfolio.accounts import MICRO, lane


def interest(cash_usd, shares, mark, days, **rules):
    short, rules = np.zeros(1), rules_of(PortfolioConfig(**rules))
    write_short(lane(np.array(shares) * MICRO), lane(mark), rules, short)
    return interest_micro(cash_usd * MICRO, float(short[0]), days, rules)


def test_value_is_negative_for_what_was_sold_short():
    assert value_micro(2.5 * MICRO, 10.0) == 25 * MICRO
    assert value_micro(-4.0 * MICRO, 3.0) == -12 * MICRO


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


def test_split_multiplies_holdings_and_waiting_orders_and_keeps_their_worth():
    held = (lane([7.0 * MICRO]), lane([-7.0 * MICRO]), lane([90.0]))
    received = np.zeros(1)
    apply_corporate_actions(held, lane([2.0]), lane([0.0]), received)
    assert received[0] == 0
    assert [array[0, 0] for array in held] == [14 * MICRO, -14 * MICRO, 45.0]
    assert value_micro(14.0 * MICRO, 45.0) == value_micro(7.0 * MICRO, 90.0)


@pytest.mark.parametrize("side", [1, -1])
def test_order_to_close_still_closes_after_a_split_that_rounds(side):
    quantity, order = lane([side * 7.0]), lane([-side * 7.0])
    apply_corporate_actions((quantity, order, lane([9.0])), lane([1.5]), lane([0.0]), np.zeros(1))
    assert quantity[0, 0] == side * 11  # 10.5 micro-shares, halves upward in size
    assert order[0, 0] == -quantity[0, 0]


def test_dividend_is_paid_on_shares_after_the_split_and_by_who_is_short():
    for side in (1, -1):
        held = (lane([side * 100.0 * MICRO]), lane([0.0]), lane([9.0]))
        received = np.zeros(1)
        apply_corporate_actions(held, lane([2.0]), lane([0.25]), received)
        assert received[0] == side * 50 * MICRO
