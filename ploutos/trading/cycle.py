"""One decide-to-record pass over an account. In: a desk, a session, an instant. Out: ledger events.

claim -> check the data -> settle the bars since the last cycle -> decide -> commit the orders ->
done. Each step is a function that looks at the ledger for what is already there, records the rest
in one transaction and changes nothing else. So a cycle that was killed anywhere is finished by
starting it again, and one that is finished answers "already done".

A cycle is a generator that yields the name of every step it has just completed; `run` drives it.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ploutos.agent.play import warm_up
from ploutos.env.account import decide
from ploutos.errors import TradingError
from ploutos.portfolio.config import OrderActions, initial_cash_micro, rules_of
from ploutos.portfolio.fills import new_trades
from ploutos.store import digest_bytes
from ploutos.trading.account_state import AccountState
from ploutos.trading.broker import accounts_of, settle_session
from ploutos.trading.desk import Desk, check_bar
from ploutos.trading.events import (
    Action,
    Claim,
    CycleDone,
    Decision,
    Intent,
    Note,
    Opened,
    client_order_id,
)
from ploutos.trading.policy_state import decode_state, encode_state

Ending = Literal["decided", "settled", "skipped"]


@dataclass(frozen=True)
class CycleResult:
    """How a cycle ended, and why if it did not decide."""

    outcome: Ending | Literal["already done"]
    reason: str = ""


Cycle = Generator[str, None, CycleResult]


def run(cycle: Cycle) -> CycleResult:
    """Drive a cycle to its end."""
    while True:
        try:
            next(cycle)
        except StopIteration as stop:
            return stop.value


def decide_cycle(desk: Desk, session: str, now: int) -> Cycle:
    """Settle what waited, decide after the close of `session`, commit the orders.

    Parameters
    ----------
    desk : Desk
        Account, strategy, market.
    session : str
        Exchange day whose close is decided on, ISO date.
    now : int
        Instant written into the ledger, int64 ns UTC.

    Raises
    ------
    AccountBusyError
        If another process is running a cycle of this account.
    TradingError
        If the data of the session are missing or cannot be believed, or the account has moved on.
    """
    with desk.ledger.exclusive(desk.account):
        if _is_done(desk, session):
            return CycleResult("already done", f"{desk.strategy} has finished {session}")
        yield from _claim_and_settle(desk, session, now)
        halted = desk.state().halted
        if halted is not None and _stage(desk, session) == "claimed":
            return _finish(desk, session, now, "skipped", f"halted: {halted}")
        _decide(desk, session, now)
        yield "decided"
        held_back = _commit_orders(desk, session, now)
        yield "ordered"
        result = _finish(desk, session, now, "decided", held_back)
        yield "done"
        return result


def settle_cycle(desk: Desk, session: str, now: int, skipped: str | None = None) -> Cycle:
    """Settle what waited up to `session` and decide nothing.

    For the bar after the last decision of a replay, and for a session that may not be traded:
    `skipped` then says why. Takes and raises what `decide_cycle` takes and raises.
    """
    with desk.ledger.exclusive(desk.account):
        if _is_done(desk, session):
            return CycleResult("already done", f"{desk.strategy} has finished {session}")
        yield from _claim_and_settle(desk, session, now)
        ending: Ending = "settled" if skipped is None else "skipped"
        if _stage(desk, session) == "decided":
            ending = "decided"
        result = _finish(desk, session, now, ending, skipped or "")
        yield "done"
        return result


def _is_done(desk: Desk, session: str) -> bool:
    state = desk.ledger.state(desk.account)
    return state is not None and state.stages.get((desk.strategy, session)) == "done"


def _stage(desk: Desk, session: str) -> str | None:
    return desk.state().stages.get((desk.strategy, session))


def _claim_and_settle(desk: Desk, session: str, now: int) -> Generator[str, None, None]:
    row = desk.row_of(session)
    _open(desk, now)
    yield "opened"
    _claim(desk, session, now)
    yield "claimed"
    _check(desk, row, now)
    yield "checked"
    for settled in range(_first_unsettled(desk, row), row + 1):
        _settle(desk, settled, now)
        yield "settled"


def _open(desk: Desk, now: int) -> None:
    """Open the account with the cash that the policy was validated with, if it is new."""
    if desk.ledger.state(desk.account) is None:
        opened = Opened(
            mode=desk.mode,
            symbols=desk.symbols,
            initial_cash_micro=int(initial_cash_micro(desk.env.portfolio)),
            margin=desk.env.portfolio.margin is not None,
        )
        desk.ledger.append(desk.account, [opened], now)


def _claim(desk: Desk, session: str, now: int) -> None:
    state = desk.state()
    if state.marked_session is not None and session < state.marked_session:
        raise TradingError(
            f"account {desk.account} has settled {state.marked_session}; {session} is past. "
            "Only the current session trades."
        )
    if (desk.strategy, session) not in state.stages:
        claim = Claim(strategy=desk.strategy, session=session)
        desk.ledger.append(desk.account, [claim], now)


def _first_unsettled(desk: Desk, row: int) -> int:
    """Return the row after the last settled one; a new account starts at `row`."""
    marked = desk.state().marked_session
    return row if marked is None else desk.row_of(marked) + 1


def _check(desk: Desk, row: int, now: int) -> None:
    """Check all bars that are about to be used; a refusal is noted in the ledger."""
    try:
        for used in range(_first_unsettled(desk, row), row + 1):
            check_bar(desk, used)
    except TradingError as error:
        desk.ledger.append(desk.account, [Note(text=f"refused: {error}")], now)
        raise


def _settle(desk: Desk, row: int, now: int) -> None:
    session = desk.sessions[row]
    rules = rules_of(desk.env.portfolio)
    events = settle_session(desk.state(), desk.market, row, session, rules)
    desk.ledger.append(desk.account, events, now)


def _decide(desk: Desk, session: str, now: int) -> None:
    """Ask the policy, unless its answer is recorded already."""
    if _stage(desk, session) == "decided":
        return
    row, state = desk.row_of(session), desk.state()
    accounts = accounts_of(state, desk.strategy)
    memory = _memory(desk, state, row)
    action, memory = desk.actor.act(desk.market, accounts, 0, row, memory)
    decision = Decision(
        strategy=desk.strategy,
        session=session,
        action=_checked(desk, session, action),
        market_digest=_market_digest(desk, row),
        policy_state=encode_state(memory),
    )
    desk.ledger.append(desk.account, [decision], now)


def _checked(desk: Desk, session: str, action: np.ndarray) -> Action:
    """Return the policy's answer as it is recorded; refuse one that is none."""
    n_symbols = len(desk.symbols)
    if isinstance(desk.env.portfolio.actions, OrderActions):
        expected = f"{n_symbols} actions out of 0, 1, 2 (int64)"
        is_action = action.dtype == np.int64 and np.isin(action, (0, 1, 2)).all()
    else:
        expected = f"{n_symbols} finite target weights (float64)"
        is_action = action.dtype == np.float64 and np.isfinite(action).all()
    if action.shape != (n_symbols,) or not is_action:
        raise TradingError(
            f"{desk.strategy} at {session}: expected {expected}, received {action.tolist()} "
            f"({action.dtype}). Nothing was ordered."
        )
    return tuple(action.tolist())


def _memory(desk: Desk, state: AccountState, row: int) -> object:
    """Return the policy's memory from the session before; without that, warm it up anew."""
    last = state.decisions.get(desk.strategy)
    if last is not None and row > 0 and last.session == desk.sessions[row - 1]:
        return decode_state(last.policy_state)
    return warm_up(desk.actor, desk.market, row, desk.warm_up_bars, desk.env)


def _market_digest(desk: Desk, row: int) -> str:
    """Return the digest of everything that the rows of the window tell of the market."""
    market, first = desk.market, max(row + 1 - desk.env.window_bars, 0)
    parts = (market.features, market.macro, market.valid, market.macro_valid, market.mark)
    return digest_bytes(b"".join(part[first : row + 1].tobytes() for part in parts))


def _commit_orders(desk: Desk, session: str, now: int) -> str:
    """Commit the recorded action's orders that are not there yet; say why if none may be."""
    row, state = desk.row_of(session), desk.state()
    if state.halted is not None:
        return f"no orders, halted: {state.halted}"
    accounts, trades = accounts_of(state, desk.strategy), new_trades(len(desk.symbols))
    action = np.array(state.decisions[desk.strategy].action)
    decide(desk.market, accounts, (0, row), action, rules_of(desk.env.portfolio), trades)
    intents: list[Intent] = []
    for n in np.flatnonzero(trades.order):
        order_id = client_order_id(desk.account, desk.strategy, session, desk.symbols[n])
        if order_id not in state.intents:
            intents.append(
                Intent(
                    client_order_id=order_id,
                    strategy=desk.strategy,
                    session=session,
                    symbol=desk.symbols[n],
                    quantity_micro=int(trades.order[n]),
                    reference_price_usd=float(desk.market.mark[row, n]),
                )
            )
    if intents:
        desk.ledger.append(desk.account, intents, now)
    return ""


def _finish(desk: Desk, session: str, now: int, ending: Ending, reason: str = "") -> CycleResult:
    done = CycleDone(strategy=desk.strategy, session=session, outcome=ending, reason=reason)
    desk.ledger.append(desk.account, [done], now)
    return CycleResult(ending, reason)
