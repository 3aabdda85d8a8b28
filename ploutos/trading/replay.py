"""Replay: the newest sessions of a run through the paper-trading cycle, on a simulated clock.

In: a run. Out: an account marked `replay` in the ledger, and the proof that it equals, to the
micro-unit, what the environment makes of the same decisions.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import Field

from ploutos.agent.play import Segment, play
from ploutos.agent.train import load_run
from ploutos.config import FrozenConfig
from ploutos.errors import TradingError
from ploutos.folds import Rows
from ploutos.panel import load_panel
from ploutos.portfolio.config import MICRO
from ploutos.runs import record_part
from ploutos.store import digest_json
from ploutos.trading.account_state import AccountState
from ploutos.trading.config import PaperConfig
from ploutos.trading.cycle import decide_cycle, run, settle_cycle
from ploutos.trading.desk import Desk, desk_of, open_ledger
from ploutos.trading.events import Mark


class PaperSummary(FrozenConfig):
    """What a replay did."""

    account: str = Field(description="Account in the ledger, marked `replay`.")
    sessions: int = Field(description="Decisions taken, one per session.")
    first_session: str = Field(description="Exchange day of the first decision.")
    last_session: str = Field(description="Exchange day of the last mark.")
    orders: int = Field(description="Orders committed.")
    fills: int = Field(description="Orders filled, in full or in part.")
    equity_usd: float = Field(description="Equity at the last mark, US dollars.")
    parity: Literal["equal"] = Field(
        description="Cash, holdings and equity equal the environment's, to the micro-unit."
    )
    ledger: str = Field(description="Path of the ledger.")
    head: str = Field(description="Hash of the ledger's newest event.")


# What is done (a fraction from 0 to 1), and what happened last.
OnProgress = Callable[[float, str], None]


def replay_run(
    run_id: str, config: PaperConfig, on_progress: OnProgress | None = None
) -> PaperSummary:
    """Replay the last `config.replay_sessions` decisions with the latest fold's committee.

    The account starts with fresh cash. Calling it again finds every session done and reads the
    result back from the ledger. Records the part `paper` of the run.

    Raises
    ------
    TradingError
        If the replay would reach into rows the committee was trained on, or differs from the
        environment.
    LedgerError
        If the ledger is damaged or refuses.
    """
    spec = load_run(run_id)
    panel = load_panel(spec.panel)
    with open_ledger(config) as ledger:
        ledger.verify()
        account = f"replay-{run_id}-{digest_json(config.model_dump(mode='json'))[:8]}"
        desk = desk_of(spec, panel, ledger, (account, "replay"), config)
        bars = _last_bars(spec.folds[-1].test, config.replay_sessions)
        state = replay(desk, panel.decided_at, bars, on_progress)
        check_parity(desk, bars)
        summary = PaperSummary(
            account=account,
            sessions=config.replay_sessions,
            first_session=desk.sessions[bars.start - 1],
            last_session=desk.sessions[bars.stop - 1],
            orders=state.n_intents,
            fills=state.n_fills,
            equity_usd=state.equity[-1][1] / MICRO,
            parity="equal",
            ledger=str(ledger.path),
            head=ledger.head(),
        )
    record_part(run_id, "paper", {**summary.model_dump(mode="json"), "equity": summary.equity_usd})
    return summary


def replay(
    desk: Desk, decided_at: np.ndarray, bars: Rows, on_progress: OnProgress | None = None
) -> AccountState:
    """Run one cycle per session; the decisions of the row before each of `bars` fill in it.

    Parameters
    ----------
    desk : Desk
        A desk on a `replay` account.
    decided_at : (T,) int64
        Instant of each row's decision, ns UTC: the simulated clock.
    bars : Rows
        Rows that earn a return. The last one is settled and marked, nothing is decided on it.
    """
    total = len(bars) + 1
    for done, row in enumerate(range(bars.start - 1, bars.stop), start=1):
        session, now = desk.sessions[row], int(decided_at[row])
        last = row == bars.stop - 1
        cycle = settle_cycle(desk, session, now) if last else decide_cycle(desk, session, now)
        result = run(cycle)
        if on_progress is not None:
            on_progress(done / total, f"{session}: {result.outcome}")
    return desk.state()


def check_parity(desk: Desk, bars: Rows) -> None:
    """Compare the replayed account with the environment's over the same rows and policy.

    Raises
    ------
    TradingError
        If cash, a holding or equity differs anywhere: naming the first session and the numbers.
    """
    segments = [Segment(desk.actor, bars)]
    played = play(desk.market, segments, desk.env, desk.warm_up_bars)
    recorded = (item.event for item in desk.ledger.events(desk.account))
    marks = [event for event in recorded if isinstance(event, Mark)]
    if len(marks) != len(played.rows):
        raise TradingError(
            f"account {desk.account}: expected {len(played.rows)} marks, received {len(marks)}. "
            "Replay into a new ledger."
        )
    for at, (row, mark) in enumerate(zip(played.rows, marks, strict=True)):
        held = {
            desk.symbols[n]: int(played.quantity_micro[at, n])
            for n in np.flatnonzero(played.quantity_micro[at])
        }
        positions = mark.positions.items()
        expected = (desk.sessions[row], int(played.cash_micro[at]), held)
        received = (mark.session, mark.cash_micro, {s: p.quantity_micro for s, p in positions})
        if expected != received or mark.equity_micro != played.equity_micro[at]:
            raise TradingError(
                f"account {desk.account}: paper trading and environment differ. Expected "
                f"{expected} and equity {played.equity_micro[at]}, received {received} and "
                f"equity {mark.equity_micro} (micro-units)."
            )


def _last_bars(test: Rows, n_sessions: int) -> Rows:
    """Return the rows that earn a return: the last test rows, before any hold-out."""
    if n_sessions > len(test):
        raise TradingError(
            f"expected at most {len(test)} replay_sessions, the rows that the latest committee "
            f"is tested on; received {n_sessions}."
        )
    return Rows(start=test.stop - n_sessions, stop=test.stop)
