"""The state of an account is the fold of its events. In: a state and an event. Out: the next state.

Every rule of the books is checked here, before an event is recorded and again by `verify`: what
is refused here can never be in a sound ledger. What an event posts: `ploutos.trading.books`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ploutos.errors import LedgerError
from ploutos.trading.books import CASH, postings_of
from ploutos.trading.events import (
    Claim,
    CorporateAction,
    CycleDone,
    Decision,
    Event,
    Fill,
    Financing,
    Halted,
    Intent,
    Lapsed,
    Mark,
    Note,
    Opened,
    Position,
    Resumed,
)


@dataclass(frozen=True)
class AccountState:
    """An account after some of its events. Mappings are never changed in place.

    `margin` tells whether it may be short and owe cash, `stopped` whether the drawdown stop was
    reached. `holdings` are micro-shares per symbol (never zero; negative = short), `books`
    micro-USD per book, `intents` the open orders by client order id, `open_orders` what is left of
    each in micro-shares, `equity` the (session, micro-USD) of every mark, `stages` how far each
    (strategy, session) has come.
    """

    account: str
    mode: Literal["replay", "paper"]
    symbols: tuple[str, ...]
    books: Mapping[str, int]
    peak_micro: int
    margin: bool
    holdings: Mapping[str, int] = field(default_factory=dict)
    positions: Mapping[str, Position] = field(default_factory=dict)
    intents: Mapping[str, Intent] = field(default_factory=dict)
    open_orders: Mapping[str, int] = field(default_factory=dict)
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    stages: Mapping[tuple[str, str], str] = field(default_factory=dict)
    equity: tuple[tuple[str, int], ...] = ()
    stopped: bool = False
    halted: str | None = None
    n_intents: int = 0
    n_fills: int = 0

    @property
    def cash_micro(self) -> int:
        """Cash, micro-USD."""
        return self.books[CASH]

    @property
    def marked_session(self) -> str | None:
        """The last session whose close has been recorded."""
        return self.equity[-1][0] if self.equity else None


def apply_event(state: AccountState | None, account: str, event: Event) -> AccountState:
    """Return the state after `event`.

    Raises
    ------
    LedgerError
        If the event contradicts the state: the message says which rule and which numbers.
    """
    if isinstance(event, Opened):
        if state is not None:
            raise LedgerError(f"account {account} is open already (as {state.mode})")
        return AccountState(
            account=account,
            mode=event.mode,
            symbols=event.symbols,
            books=dict(postings_of({}, event)) or {CASH: 0},
            peak_micro=event.initial_cash_micro,
            margin=event.margin,
        )
    if state is None:
        raise LedgerError(
            f"account {account} is not open: its first event must be 'opened', "
            f"received {event.kind!r}"
        )
    books = dict(state.books)
    for book, amount in postings_of(state.books, event):
        books[book] = books.get(book, 0) + amount
    if books[CASH] < 0 and not state.margin:
        raise LedgerError(
            f"account {account}: {_name(event)} would leave cash at {books[CASH]} micro-USD; "
            f"there are {state.cash_micro}. A long-only cash account never borrows."
        )
    return _RULES[event.kind](replace(state, books=books), event)


def _name(event: Event) -> str:
    fields = event.model_dump(include={"session", "strategy", "symbol", "client_order_id"})
    return " ".join([event.kind, *(str(value) for value in fields.values())])


def _refuse(state: AccountState, event: Event, why: str) -> LedgerError:
    return LedgerError(f"account {state.account}: {_name(event)} refused: {why}")


def _with(mapping: Mapping[Any, Any], key: Any, value: Any) -> dict[Any, Any]:
    """Return a copy with one entry set, or taken out where the value is 0."""
    changed = {**mapping, key: value}
    if value == 0:
        del changed[key]
    return changed


def _with_order(state: AccountState, order_id: str, quantity_micro: int) -> AccountState:
    """Return a copy whose open order has this quantity left; an order with nothing left goes."""
    intents = state.intents
    if quantity_micro == 0:
        intents = {key: intent for key, intent in intents.items() if key != order_id}
    return replace(
        state, intents=intents, open_orders=_with(state.open_orders, order_id, quantity_micro)
    )


def _claim(state: AccountState, event: Claim) -> AccountState:
    key = (event.strategy, event.session)
    if key in state.stages:
        raise _refuse(state, event, f"the session is {state.stages[key]} already")
    if state.marked_session is not None and event.session < state.marked_session:
        raise _refuse(state, event, f"the account has passed {state.marked_session}")
    return replace(state, stages=_with(state.stages, key, "claimed"))


def _need_stage(state: AccountState, event: Decision | Intent | CycleDone, *wanted: str) -> None:
    stage = state.stages.get((event.strategy, event.session))
    if stage not in wanted:
        raise _refuse(
            state, event, f"expected a session that is {' or '.join(wanted)}, it is {stage}"
        )


def _financing(state: AccountState, event: Financing) -> AccountState:
    if state.marked_session is None:
        raise _refuse(state, event, "there is no close before it from which interest could run")
    if event.interest_micro < 0 and not state.margin:
        raise _refuse(state, event, f"{event.interest_micro} paid; without margin nothing is owed")
    return state


def _corporate_action(state: AccountState, event: CorporateAction) -> AccountState:
    held = state.holdings.get(event.symbol, 0)
    if event.quantity_before_micro != held:
        raise _refuse(state, event, f"{event.quantity_before_micro} held before, ledger: {held}")
    for name in ("quantity_after_micro", "dividend_micro"):
        value = getattr(event, name)
        if value * held < 0 or (held == 0 and value != 0):
            raise _refuse(state, event, f"{name} of {value} does not go with {held} held")
    expected = {order for order in state.open_orders if state.intents[order].symbol == event.symbol}
    if set(event.orders_after_micro) != expected:
        raise _refuse(state, event, f"adjusts {sorted(event.orders_after_micro)}, open {expected}")
    changed = replace(
        state, holdings=_with(state.holdings, event.symbol, event.quantity_after_micro)
    )
    for order_id, quantity_micro in event.orders_after_micro.items():
        changed = _with_order(changed, order_id, quantity_micro)
    return changed


def _fill(state: AccountState, event: Fill) -> AccountState:
    open_micro = state.open_orders.get(event.client_order_id, 0)
    if open_micro == 0 or state.intents[event.client_order_id].symbol != event.symbol:
        raise _refuse(state, event, "no open order of this id and symbol")
    if event.quantity_micro * open_micro <= 0 or abs(event.quantity_micro) > abs(open_micro):
        raise _refuse(state, event, f"{event.quantity_micro} filled of {open_micro} open")
    before = state.holdings.get(event.symbol, 0)
    held = before + event.quantity_micro
    if held < 0 and not state.margin:
        raise _refuse(state, event, f"would leave {held} micro-shares; the account is long only")
    if held * before < 0:
        raise _refuse(state, event, f"would turn {before} micro-shares into {held} at once")
    changed = replace(
        state,
        holdings=_with(state.holdings, event.symbol, held),
        n_fills=state.n_fills + 1,
    )
    return _with_order(changed, event.client_order_id, open_micro - event.quantity_micro)


def _lapsed(state: AccountState, event: Lapsed) -> AccountState:
    open_micro = state.open_orders.get(event.client_order_id, 0)
    if open_micro == 0 or event.quantity_micro != open_micro:
        raise _refuse(state, event, f"{event.quantity_micro} lapsed of {open_micro} open")
    return _with_order(state, event.client_order_id, 0)


def _mark(state: AccountState, event: Mark) -> AccountState:
    held = {symbol: position.quantity_micro for symbol, position in event.positions.items()}
    if held != dict(state.holdings):
        raise _refuse(state, event, f"marks holdings {held}, ledger: {dict(state.holdings)}")
    if event.cash_micro != state.cash_micro:
        raise _refuse(state, event, f"cash {event.cash_micro}, ledger: {state.cash_micro}")
    total = event.cash_micro + sum(item.value_micro for item in event.positions.values())
    if event.equity_micro != total:
        raise _refuse(state, event, f"equity {event.equity_micro}, cash + positions: {total}")
    for symbol, item in event.positions.items():
        if item.value_micro * item.quantity_micro < 0:
            raise _refuse(state, event, f"{item.quantity_micro} {symbol} worth {item.value_micro}")
    if state.marked_session is not None and event.session <= state.marked_session:
        raise _refuse(state, event, f"the account is marked at {state.marked_session} already")
    if state.stopped and not event.stopped:
        raise _refuse(state, event, "the drawdown stop was reached, which is for good")
    return replace(
        state,
        positions=event.positions,
        stopped=event.stopped,
        equity=(*state.equity, (event.session, event.equity_micro)),
        peak_micro=max(state.peak_micro, event.equity_micro),
    )


def _decision(state: AccountState, event: Decision) -> AccountState:
    _need_stage(state, event, "claimed")
    if len(event.action) != len(state.symbols):
        raise _refuse(state, event, f"{len(event.action)} actions, {len(state.symbols)} symbols")
    if event.session != state.marked_session:
        raise _refuse(state, event, f"the account is marked at {state.marked_session}")
    return replace(
        state,
        decisions=_with(state.decisions, event.strategy, event),
        stages=_with(state.stages, (event.strategy, event.session), "decided"),
    )


def _intent(state: AccountState, event: Intent) -> AccountState:
    _need_stage(state, event, "decided")
    if state.halted is not None:
        raise _refuse(state, event, f"the account is halted: {state.halted}")
    if event.quantity_micro == 0 or event.client_order_id in state.intents:
        raise _refuse(state, event, "the order is for nothing, or open already")
    if event.symbol not in state.symbols:
        raise _refuse(state, event, f"the account trades {', '.join(state.symbols)}")
    return replace(
        state,
        intents=_with(state.intents, event.client_order_id, event),
        open_orders=_with(state.open_orders, event.client_order_id, event.quantity_micro),
        n_intents=state.n_intents + 1,
    )


def _cycle_done(state: AccountState, event: CycleDone) -> AccountState:
    _need_stage(state, event, *(("decided",) if event.outcome == "decided" else ("claimed",)))
    return replace(state, stages=_with(state.stages, (event.strategy, event.session), "done"))


def _halted(state: AccountState, event: Halted) -> AccountState:
    return replace(state, halted=event.reason)


def _resumed(state: AccountState, event: Resumed) -> AccountState:
    if state.halted is None:
        raise _refuse(state, event, "the account is not halted")
    return replace(state, halted=None)


def _note(state: AccountState, _event: Note) -> AccountState:
    return state


_RULES: dict[str, Callable[[AccountState, Any], AccountState]] = {
    "claim": _claim,
    "financing": _financing,
    "corporate_action": _corporate_action,
    "fill": _fill,
    "lapsed": _lapsed,
    "mark": _mark,
    "decision": _decision,
    "intent": _intent,
    "cycle_done": _cycle_done,
    "halted": _halted,
    "resumed": _resumed,
    "note": _note,
}
