import numpy as np
import pytest

from ploutos.portfolio.config import CostConfig, MarginConfig, PortfolioConfig, rules_of
from ploutos.trading.account_state import apply_event
from ploutos.trading.broker import settle_session
from ploutos.trading.events import (
    Claim,
    Decision,
    Fill,
    Financing,
    Intent,
    Lapsed,
    Mark,
    Opened,
    client_order_id,
)
from tests.trading.desks import market_from, weekdays

FREE = CostConfig(
    commission_bps=0, half_spread_bps=0, impact_bps=0, maximum_participation=0.1, us_sell_fees=False
)
DAY, NEXT = weekdays(2)
SHARE = 1_000_000
USD = 1_000_000


def account_with_order(quantity, *, margin):
    """Return an account with 1,000 USD and one waiting order for AAA, at 10 USD."""
    cash = 1000 * USD
    order = Intent(
        client_order_id=client_order_id("a", "s", DAY, "AAA"),
        strategy="s",
        session=DAY,
        symbol="AAA",
        quantity_micro=quantity,
        reference_price_usd=10.0,
    )
    state = None
    for event in (
        Opened(mode="paper", symbols=("AAA",), initial_cash_micro=cash, margin=margin),
        Claim(strategy="s", session=DAY),
        Mark(session=DAY, cash_micro=cash, equity_micro=cash, positions={}),
        Decision(strategy="s", session=DAY, action=(1,), market_digest="", policy_state=None),
        order,
    ):
        state = apply_event(state, "a", event)
    return state


def settled(quantity, *, volume=1e6, opened=10.0, split=1.0, **portfolio):
    """Return the events of the bar after the order, by kind."""
    rules = rules_of(PortfolioConfig(costs=FREE, **portfolio))
    price = np.array([[10.0], [opened]])
    market = market_from(
        price,
        np.where(np.isnan(price), np.nan, 10.0),
        np.array([[volume], [1.0]]),
        split=np.array([[1.0], [split]]),
        dividend=np.zeros((2, 1)),
    )
    state = account_with_order(quantity, margin=portfolio.get("margin") is not None)
    events = settle_session(state, market, 1, NEXT, rules)
    return {type(event): event for event in events}


@pytest.mark.parametrize(
    ("order", "bar", "filled", "reason"),
    [
        (100 * SHARE, {"opened": np.nan}, 0, "no open to fill at"),
        (100 * SHARE, {"volume": 800.0}, 80 * SHARE, "the volume did not carry it"),
        (100 * SHARE, {"volume": 0.0}, 0, "the volume did not carry it"),
        (100 * SHARE, {"opened": 12.5}, 80 * SHARE, "cash did not cover it"),
        (
            100 * SHARE,
            {"volume": 900.0, "opened": 12.5},
            80 * SHARE,
            "the volume did not carry it, and cash did not cover it",
        ),
        (
            10 * SHARE,
            {"split": 1.5, "lot_shares": 10, "opened": 6.0},
            10 * SHARE,
            "it was no whole number of lots",
        ),
        (
            100 * SHARE,
            {"margin": MarginConfig(), "maximum_gross": 0.8},
            80 * SHARE,
            "maximum_gross left no room for it",
        ),
        (
            -100 * SHARE,
            {"margin": MarginConfig(), "volume": 800.0},
            -80 * SHARE,
            "the volume did not carry it",
        ),
    ],
)
def test_rest_of_an_order_lapses_for_the_reason_that_held_it_back(order, bar, filled, reason):
    events = settled(order, **bar)
    received = events[Fill].quantity_micro if Fill in events else 0
    assert abs(received - filled) <= 1
    assert events[Lapsed].reason == reason
    split_order = round(order * bar.get("split", 1.0))
    assert events[Lapsed].quantity_micro == split_order - received


def test_order_that_fills_whole_leaves_nothing_to_lapse():
    events = settled(100 * SHARE)
    assert events[Fill].quantity_micro == 100 * SHARE
    assert Lapsed not in events


def test_no_financing_is_recorded_where_no_interest_runs():
    assert Financing not in settled(100 * SHARE)


def test_interest_runs_on_the_cash_before_the_fill():
    events = settled(100 * SHARE, cash_interest=0.0365)
    assert events[Financing].interest_micro == 100_000  # 1,000 USD for a day
    assert events[Mark].cash_micro == 100_000


def test_account_that_was_never_marked_begins_at_the_close_without_interest():
    opened = Opened(mode="paper", symbols=("AAA",), initial_cash_micro=1000 * USD)
    ones = np.ones((3, 1))
    market = market_from(ones, ones, ones, split=ones, dividend=0 * ones)
    rules = rules_of(PortfolioConfig(cash_interest=0.05))
    (mark,) = settle_session(apply_event(None, "a", opened), market, 2, weekdays(3)[2], rules)
    assert (mark.cash_micro, mark.equity_micro) == (1000 * USD, 1000 * USD)
