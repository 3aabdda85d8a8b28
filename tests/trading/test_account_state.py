from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from ploutos.env.account import Accounts, decide, open_accounts, settle
from ploutos.errors import LedgerError
from ploutos.portfolio.config import OrderActions, initial_cash_micro, rules_of
from ploutos.portfolio.fills import new_trades
from ploutos.trading.account_state import apply_event
from ploutos.trading.books import postings_of
from ploutos.trading.broker import accounts_of, settle_session
from ploutos.trading.events import (
    Claim,
    CorporateAction,
    CycleDone,
    Decision,
    Fill,
    Financing,
    Halted,
    Intent,
    Lapsed,
    Mark,
    Opened,
    Position,
    Resumed,
    client_order_id,
    decode,
    encode,
)
from tests.trading.desks import weekdays
from tests.trading.rules import FIRST_CLOSES, HISTORIES, market_of_history, portfolios

ACCOUNT, STRATEGY, SYMBOLS = "a", "s", ("AAA", "BBB")
DAYS = weekdays(12)
USD = 1_000_000


def folded(*events):
    state = None
    for event in events:
        state = apply_event(state, ACCOUNT, event)
    return state


def intent(quantity, symbol="AAA", session=DAYS[0]):
    return Intent(
        client_order_id=client_order_id(ACCOUNT, STRATEGY, session, symbol),
        strategy=STRATEGY,
        session=session,
        symbol=symbol,
        quantity_micro=quantity,
        reference_price_usd=10.0,
    )


def fill(order, quantity, value, fee=0):
    return Fill(
        fill_id="f",
        client_order_id=order.client_order_id,
        session=DAYS[1],
        symbol=order.symbol,
        quantity_micro=quantity,
        price_usd=10.0,
        value_micro=value,
        fee_micro=fee,
    )


OPENED = Opened(mode="replay", symbols=SYMBOLS, initial_cash_micro=1000 * USD)
CLAIM = Claim(strategy=STRATEGY, session=DAYS[0])
FLAT = Mark(session=DAYS[0], cash_micro=1000 * USD, equity_micro=1000 * USD, positions={})
DECISION = Decision(
    strategy=STRATEGY, session=DAYS[0], action=(1, 0), market_digest="", policy_state=None
)
BUY = intent(50 * USD)
ORDERED = (OPENED, CLAIM, FLAT, DECISION, BUY)


def held(quantity, price, value):
    return Position(
        quantity_micro=quantity,
        price_usd=price,
        value_micro=value,
        entry_price_usd=10.0,
        held_bars=1,
    )


def paid(quantity):
    """Return a dividend of half a dollar per share on `quantity`."""
    return CorporateAction(
        session=DAYS[1],
        symbol="AAA",
        split_ratio=1.0,
        cash_dividend_usd=0.5,
        quantity_before_micro=quantity,
        quantity_after_micro=quantity,
        dividend_micro=quantity // 2,
        orders_after_micro={},
    )


EARNED = Financing(session=DAYS[1], interest_micro=3 * USD)
OWED = Financing(session=DAYS[1], interest_micro=-3 * USD)
SELL = intent(-10 * USD)
MARGIN = OPENED.model_copy(update={"margin": True})
SHORT = (MARGIN, CLAIM, FLAT, DECISION, SELL, fill(SELL, -10 * USD, 100 * USD))


def test_books_of_a_bought_marked_and_sold_position_are_those_of_the_hand_calculation():
    state = folded(*ORDERED, fill(BUY, 50 * USD, 500 * USD, fee=2 * USD))
    assert state.cash_micro == 498 * USD
    marked = Mark(
        session=DAYS[1],
        cash_micro=498 * USD,
        equity_micro=1098 * USD,
        positions={"AAA": held(50 * USD, 12.0, 600 * USD)},
    )
    state = apply_event(state, ACCOUNT, marked)
    assert dict(state.books) == {
        "cash": 498 * USD,
        "capital": -1000 * USD,
        "position:AAA": 600 * USD,
        "fees": 2 * USD,
        "gains": -100 * USD,
    }
    assert state.peak_micro == 1098 * USD


def test_split_doubles_shares_and_open_order_and_dividend_is_cash():
    state = folded(*ORDERED, fill(BUY, 20 * USD, 200 * USD))
    action = CorporateAction(
        session=DAYS[1],
        symbol="AAA",
        split_ratio=2.0,
        cash_dividend_usd=0.5,
        quantity_before_micro=20 * USD,
        quantity_after_micro=40 * USD,
        dividend_micro=20 * USD,
        orders_after_micro={BUY.client_order_id: 60 * USD},
    )
    state = apply_event(state, ACCOUNT, action)
    assert dict(state.holdings) == {"AAA": 40 * USD}
    assert dict(state.open_orders) == {BUY.client_order_id: 60 * USD}
    assert (state.cash_micro, state.books["dividends"]) == (820 * USD, -20 * USD)


def test_books_of_a_short_position_are_those_of_the_hand_calculation():
    state = folded(*SHORT, OWED, paid(-10 * USD))
    assert dict(state.holdings) == {"AAA": -10 * USD}
    assert state.cash_micro == (1000 + 100 - 3 - 5) * USD
    marked = Mark(
        session=DAYS[1],
        cash_micro=1092 * USD,
        equity_micro=(1092 - 120) * USD,
        positions={"AAA": held(-10 * USD, 12.0, -120 * USD)},
    )
    state = apply_event(state, ACCOUNT, marked)
    assert dict(state.books) == {
        "cash": 1092 * USD,
        "capital": -1000 * USD,
        "position:AAA": -120 * USD,
        "interest": 3 * USD,
        "dividends": 5 * USD,
        "gains": 20 * USD,
    }


def test_margin_account_may_owe_cash_and_a_cash_account_may_not():
    bought = fill(BUY, 50 * USD, 1500 * USD)
    state = folded(MARGIN, *ORDERED[1:], bought)
    assert state.cash_micro == -500 * USD
    with pytest.raises(LedgerError, match="never borrows"):
        folded(*ORDERED, bought)


def test_interest_that_is_earned_is_income():
    state = folded(OPENED, FLAT, EARNED)
    assert (state.cash_micro, state.books["interest"]) == (1003 * USD, -3 * USD)


def test_halt_survives_and_stops_orders_until_resumed():
    halted = folded(OPENED, CLAIM, FLAT, DECISION, Halted(reason="drawdown"))
    with pytest.raises(LedgerError, match="halted: drawdown"):
        apply_event(halted, ACCOUNT, BUY)
    resumed = apply_event(halted, ACCOUNT, Resumed(reason="looked at"))
    assert apply_event(resumed, ACCOUNT, BUY).open_orders


REFUSED = {
    "the first event opens the account": ((), CLAIM),
    "an account opens once": ((OPENED,), OPENED),
    "a session is claimed once": ((OPENED, CLAIM), CLAIM),
    "a past session is not claimed": (
        (OPENED, FLAT.model_copy(update={"session": DAYS[1]})),
        CLAIM,
    ),
    "no decision without a claim": ((OPENED, FLAT), DECISION),
    "no decision before the mark": ((OPENED, CLAIM), DECISION),
    "one action per symbol": (
        (OPENED, CLAIM, FLAT),
        DECISION.model_copy(update={"action": (1,)}),
    ),
    "no order without a decision": ((OPENED, CLAIM, FLAT), BUY),
    "an order is open once": (ORDERED, BUY),
    "no order for nothing": ((OPENED, CLAIM, FLAT, DECISION), intent(0)),
    "no order for a foreign symbol": ((OPENED, CLAIM, FLAT, DECISION), intent(1, "ZZZ")),
    "no fill without an order": ((OPENED,), fill(BUY, 1, 1)),
    "no fill beyond the order": (ORDERED, fill(BUY, 50 * USD + 1, 1)),
    "no fill against the order": (ORDERED, fill(BUY, -1, 1)),
    "no fill larger than cash": (ORDERED, fill(BUY, 50 * USD, 1000 * USD, fee=1)),
    "no short position": ((OPENED, CLAIM, FLAT, DECISION, intent(-5)), fill(intent(-5), -5, 1)),
    "an order lapses whole": (
        ORDERED,
        Lapsed(
            client_order_id=BUY.client_order_id, session=DAYS[1], quantity_micro=1, reason="no open"
        ),
    ),
    "a mark has the ledger's cash": (
        (OPENED,),
        FLAT.model_copy(update={"cash_micro": 999 * USD, "equity_micro": 999 * USD}),
    ),
    "equity is cash plus positions": (
        (OPENED,),
        FLAT.model_copy(update={"equity_micro": 1000 * USD + 1}),
    ),
    "a mark has the ledger's positions": (
        (OPENED,),
        FLAT.model_copy(
            update={"positions": {"AAA": held(1, 10.0, 10)}, "equity_micro": 1000 * USD + 10}
        ),
    ),
    "a session is marked once": ((OPENED, FLAT), FLAT),
    "nothing is done that was not claimed": (
        (OPENED,),
        CycleDone(strategy=STRATEGY, session=DAYS[0], outcome="settled", reason=""),
    ),
    "only a halted account resumes": ((OPENED,), Resumed(reason="")),
    "no interest before the first close": ((OPENED,), EARNED),
    "a cash account owes no interest": ((OPENED, FLAT), OWED),
    "a split keeps the side": (
        SHORT,
        paid(-10 * USD).model_copy(update={"quantity_after_micro": 10 * USD}),
    ),
    "a short position pays the dividend": (
        SHORT,
        paid(-10 * USD).model_copy(update={"dividend_micro": 1}),
    ),
    "no dividend on nothing": ((OPENED,), paid(0).model_copy(update={"dividend_micro": 1})),
    "no fill turns a position round": (
        (*SHORT, intent(20 * USD, session=DAYS[0]).model_copy(update={"client_order_id": "b"})),
        fill(BUY, 20 * USD, 1).model_copy(update={"client_order_id": "b"}),
    ),
    "a position's value has its sign": (
        SHORT,
        FLAT.model_copy(
            update={
                "cash_micro": 1100 * USD,
                "equity_micro": 1200 * USD,
                "session": DAYS[1],
                "positions": {"AAA": held(-10 * USD, 10.0, 100 * USD)},
            }
        ),
    ),
    "a stopped account stays stopped": (
        (OPENED, FLAT.model_copy(update={"stopped": True})),
        FLAT.model_copy(update={"session": DAYS[1]}),
    ),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_event_against_the_rules_is_refused(rule):
    before, event = REFUSED[rule]
    state = folded(*before)
    with pytest.raises(LedgerError, match=ACCOUNT):
        apply_event(state, ACCOUNT, event)


def trade(market, history, portfolio):
    """Yield (state before, event, state after) of an account that follows `history`'s answers."""
    rules, state = rules_of(portfolio), None

    def step(event):
        nonlocal state
        before, state = state, apply_event(state, ACCOUNT, event)
        return before, event, state

    cash = int(initial_cash_micro(portfolio))
    margin = portfolio.margin is not None
    yield step(Opened(mode="replay", symbols=SYMBOLS, initial_cash_micro=cash, margin=margin))
    for row in range(len(history) + 1):
        yield step(Claim(strategy=STRATEGY, session=DAYS[row]))
        for event in settle_session(state, market, row, DAYS[row], rules):
            yield step(event)
        if row == len(history):
            return
        action = answer(history[row], portfolio)
        yield step(DECISION.model_copy(update={"session": DAYS[row], "action": action}))
        accounts, trades = accounts_of(state, STRATEGY), new_trades(2)
        decide(market, accounts, (0, row), np.array(action), rules, trades)
        for n in np.flatnonzero(trades.order):
            yield step(intent(int(trades.order[n]), SYMBOLS[n], DAYS[row]))


def answer(bar, portfolio):
    return bar["orders" if isinstance(portfolio.actions, OrderActions) else "weights"]


@settings(max_examples=100, deadline=None)
@given(first=FIRST_CLOSES, history=HISTORIES, portfolio=portfolios())
def test_whatever_the_market_does_the_books_balance_and_cash_plus_positions_is_equity(
    first, history, portfolio
):
    market = market_of_history(first, history)
    cash, sessions = int(initial_cash_micro(portfolio)), 0
    for before, event, after in trade(market, history, portfolio):
        assert sum(a for _, a in postings_of(before.books if before else {}, event)) == 0
        assert sum(after.books.values()) == 0
        if portfolio.margin is None:
            assert after.cash_micro >= 0
            assert all(quantity > 0 for quantity in after.holdings.values())
        if isinstance(event, Fill):
            sign = 1 if event.quantity_micro > 0 else -1
            cash -= sign * event.value_micro + event.fee_micro
        if isinstance(event, CorporateAction):
            cash += event.dividend_micro
        if isinstance(event, Financing):
            cash += event.interest_micro
        assert after.cash_micro == cash
        if isinstance(event, Mark):
            sessions += 1
            books = (b for name, b in after.books.items() if name.startswith("position:"))
            assert cash + sum(books) == event.equity_micro
            assert not after.open_orders
    assert sessions == len(history) + 1


@settings(max_examples=200, deadline=None)
@given(first=FIRST_CLOSES, history=HISTORIES, portfolio=portfolios())
def test_recorded_account_is_the_environments_in_every_number(first, history, portfolio):
    market, rules = market_of_history(first, history), rules_of(portfolio)
    kernel = open_accounts(1, 2, initial_cash_micro(portfolio))
    trades, row = new_trades(2), 0
    for _, event, after in trade(market, history, portfolio):
        if isinstance(event, Mark):
            if row > 0:
                action = np.array(answer(history[row - 1], portfolio))
                decide(market, kernel, (0, row - 1), action, rules, trades)
                settle(market, kernel, (0, row), rules, trades)
            restored = accounts_of(decode_all(after), STRATEGY)
            for name in set(Accounts._fields) - {"moments"}:
                np.testing.assert_array_equal(
                    getattr(restored, name), getattr(kernel, name), err_msg=f"{name} at {row}"
                )
            row += 1


def decode_all(state):
    """Return the state with its decisions as they come back from the ledger's text."""
    decisions = {name: decode(encode(one)) for name, one in state.decisions.items()}
    return replace(state, decisions=decisions)


def test_states_share_nothing_that_a_later_event_changes():
    states = [None]
    for event in (*ORDERED, fill(BUY, 50 * USD, 500 * USD)):
        states.append(apply_event(states[-1], ACCOUNT, event))
    again = folded(*ORDERED)
    assert states[len(ORDERED)] == again
    assert all(replace(a) != b for a, b in pairwise(states[1:]))
