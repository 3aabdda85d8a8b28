from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.env.account import decide
from ploutos.env.market import Market
from ploutos.errors import LedgerError
from ploutos.portfolio.config import rules_of
from ploutos.trading.account_state import apply_event, postings_of
from ploutos.trading.broker import accounts_of, settle_session
from ploutos.trading.events import (
    Claim,
    CorporateAction,
    CycleDone,
    Decision,
    Fill,
    Halted,
    Intent,
    Lapsed,
    Mark,
    Opened,
    Position,
    Resumed,
    client_order_id,
)
from tests.trading.desks import ENV, weekdays

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
}


@pytest.mark.parametrize("rule", REFUSED)
def test_event_against_the_rules_is_refused(rule):
    before, event = REFUSED[rule]
    state = folded(*before)
    with pytest.raises(LedgerError, match=ACCOUNT):
        apply_event(state, ACCOUNT, event)


prices = st.floats(1.0, 1000.0)
moves = st.floats(0.5, 2.0)
bars = st.lists(
    st.tuples(
        st.tuples(moves, moves),  # close over the close before
        st.tuples(moves, moves),  # open over the close before
        st.tuples(*[st.sampled_from((1.0, 1.0, 2.0, 0.1, 1.5))] * 2),  # split
        st.tuples(*[st.sampled_from((0.0, 0.0, 0.25))] * 2),  # dividend
        st.tuples(*[st.sampled_from((True, True, True, False))] * 2),  # has a bar
        st.tuples(*[st.integers(0, 2)] * 2),  # action
    ),
    min_size=2,
    max_size=10,
)


def market_of_bars(first, history):
    mark, opens, split = [np.array(first)], [np.array(first)], [np.ones(2)]
    dividend, valid = [np.zeros(2)], [np.ones(2)]
    for closes, opening, announced, paid, present, _ in history:
        here = np.array(present)
        ratio = np.where(here, announced, 1.0)
        split.append(ratio)
        dividend.append(np.where(here, paid, 0.0))
        valid.append(here)
        opens.append(np.where(here, mark[-1] / ratio * np.array(opening), np.nan))
        mark.append(np.where(here, mark[-1] / ratio * np.array(closes), mark[-1]))
    rows = len(mark)
    return Market(
        features=np.zeros((rows, 2, 1), np.float32),
        macro=np.zeros((rows, 1), np.float32),
        open=np.array(opens),
        mark=np.array(mark),
        split_ratio=np.array(split),
        cash_dividend=np.array(dividend),
        valid=np.array(valid, np.uint8),
        macro_valid=np.ones((rows, 1), np.uint8),
    )


def trade(market, history):
    """Yield (state before, event, state after) of an account that follows `history`'s actions."""
    rules, state = rules_of(ENV.portfolio), None

    def step(event):
        nonlocal state
        before, state = state, apply_event(state, ACCOUNT, event)
        return before, event, state

    yield step(OPENED)
    for row in range(len(history) + 1):
        yield step(Claim(strategy=STRATEGY, session=DAYS[row]))
        for event in settle_session(state, market, row, DAYS[row], rules):
            yield step(event)
        if row == len(history):
            return
        action = history[row][-1]
        yield step(DECISION.model_copy(update={"session": DAYS[row], "action": action}))
        accounts = accounts_of(state, STRATEGY)
        decide(market, accounts, 0, row, np.array(action), rules)
        for n in np.flatnonzero(accounts.order_micro[0]):
            yield step(intent(int(accounts.order_micro[0, n]), SYMBOLS[n], DAYS[row]))


@settings(max_examples=60, deadline=None)
@given(first=st.tuples(prices, prices), history=bars)
def test_whatever_the_market_does_the_books_balance_and_cash_plus_positions_is_equity(
    first, history
):
    market = market_of_bars(first, history)
    cash, sessions = OPENED.initial_cash_micro, 0
    for before, event, after in trade(market, history):
        assert sum(amount for _, amount in postings_of(before, event)) == 0
        assert sum(after.books.values()) == 0
        assert after.cash_micro >= 0
        assert all(quantity > 0 for quantity in after.holdings.values())
        if isinstance(event, Fill):
            sign = 1 if event.quantity_micro > 0 else -1
            cash -= sign * event.value_micro + event.fee_micro
        if isinstance(event, CorporateAction):
            cash += event.dividend_micro
        assert after.cash_micro == cash
        if isinstance(event, Mark):
            sessions += 1
            books = (b for name, b in after.books.items() if name.startswith("position:"))
            assert cash + sum(books) == event.equity_micro
            assert not after.open_orders
    assert sessions == len(history) + 1


def test_states_share_nothing_that_a_later_event_changes():
    states = [None]
    for event in (*ORDERED, fill(BUY, 50 * USD, 500 * USD)):
        states.append(apply_event(states[-1], ACCOUNT, event))
    again = folded(*ORDERED)
    assert states[len(ORDERED)] == again
    assert all(replace(a) != b for a, b in pairwise(states[1:]))
