"""Today's session, traded once. In: a run, an instant. Out: what was decided, or why nothing was.

Meant to be fired by a schedule, twice or late if need be: the session is found from the clock, the
ledger knows what is done, and only a promoted policy trades.
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ploutos.agent.train import RunSpec, load_run
from ploutos.config import FrozenConfig
from ploutos.errors import TradingError
from ploutos.panel import Panel, PanelRef, load_panel
from ploutos.portfolio.config import MICRO
from ploutos.runs import read_part
from ploutos.trading.config import PaperConfig
from ploutos.trading.cycle import CycleResult, decide_cycle, run, settle_cycle
from ploutos.trading.desk import Desk, desk_of, open_ledger
from ploutos.trading.ledger import AccountBusyError
from ploutos.trading.schedule import SECOND_NS, Timing, timing_of


class SessionSummary(FrozenConfig):
    """How a session ended."""

    session: str = Field(description="Exchange day, ISO date.")
    account: str = Field(description="Account in the ledger.")
    outcome: Literal[
        "decided", "settled", "skipped", "already done", "already claimed", "refused"
    ] = Field(description="`decided`: orders, if any, are committed. `refused`: nothing happened.")
    message: str = Field(description="What happened, in a sentence.")
    orders: int = Field(description="Orders that wait for the next open.")
    equity_usd: float | None = Field(
        description="Equity at the last mark, US dollars; none before the first one."
    )


def trade_session(
    run_id: str, config: PaperConfig, now: datetime, fresh: PanelRef | None = None
) -> SessionSummary:
    """Trade the session that `now` belongs to with the run's latest committee.

    Before 19:05 New York time that is the session before; its open has then passed, and the
    session is recorded as skipped, without orders, if it was not decided in time.

    Parameters
    ----------
    run_id : str
        A finished run.
    config : PaperConfig
        Account and ledger.
    now : datetime
        With a time zone.
    fresh : PanelRef, optional
        A panel with the newest bars, of the same symbols and features as the run's; by default
        the run's own, whose last bar is the last one that was there at training.

    Raises
    ------
    PolicyError
        If the fresh panel has other symbols or features.
    TradingError
        If `now` has no time zone, or the policy's answer cannot be used.
    LedgerError
        If the ledger is damaged or refuses.
    """
    if now.tzinfo is None:
        raise TradingError(f"expected an instant with a time zone, received {now.isoformat()}")
    instant = int(now.timestamp()) * SECOND_NS
    spec = load_run(run_id)
    panel = load_panel(fresh or spec.panel)
    timing = timing_of(panel.meta.exchange, instant)
    verdict = read_part(run_id, "validation")["verdict"]
    if verdict != "promoted":
        return SessionSummary(
            session=timing.session,
            account=config.account,
            outcome="refused",
            message=f"Nothing was traded: the verdict on run {run_id} is {verdict!r}, and only a "
            "promoted policy may trade.",
            orders=0,
            equity_usd=None,
        )
    return _trade(spec, panel, config, timing, instant)


def _trade(
    spec: RunSpec, panel: Panel, config: PaperConfig, timing: Timing, instant: int
) -> SessionSummary:
    with open_ledger(config) as ledger:
        ledger.verify()
        desk = desk_of(spec, panel, ledger, (config.account, "paper"), config)
        try:
            if timing.session not in desk.sessions:
                return _summary(desk, timing, "refused", _stale(desk, timing))
            result = _run(desk, timing, instant)
        except AccountBusyError as error:
            return _summary(desk, timing, "already claimed", f"Nothing to do: {error}.")
        return _summary(desk, timing, result.outcome, _sentence(desk, timing, result))


def _run(desk: Desk, timing: Timing, instant: int) -> CycleResult:
    if timing.is_late(instant):
        reason = "late: the open that would have filled the orders has passed"
        return run(settle_cycle(desk, timing.session, instant, reason))
    return run(decide_cycle(desk, timing.session, instant))


def _stale(desk: Desk, timing: Timing) -> str:
    return (
        f"Nothing was traded: the newest bars are of {desk.sessions[-1]}, and {timing.session} "
        "needs its own. Ingest and prepare fresh bars, then run again."
    )


def _sentence(desk: Desk, timing: Timing, result: CycleResult) -> str:
    match result.outcome:
        case "decided":
            return f"{len(desk.state().intents)} orders wait for the open after {timing.session}."
        case "already done":
            return f"Nothing to do: {result.reason}."
        case _:
            return f"No orders for {timing.session}: {result.reason}."


def _summary(
    desk: Desk,
    timing: Timing,
    outcome: Literal["decided", "settled", "skipped", "already done", "already claimed", "refused"],
    message: str,
) -> SessionSummary:
    state = desk.ledger.state(desk.account)
    return SessionSummary(
        session=timing.session,
        account=desk.account,
        outcome=outcome,
        message=message,
        orders=len(state.intents) if state is not None else 0,
        equity_usd=state.equity[-1][1] / MICRO if state is not None and state.equity else None,
    )
