"""Paper trading. In: PaperConfig. Out: what was ordered and filled, in the ledger.

Two flows: `paper` trades today's session and is scheduled; `replay` walks a run's policy through
the last sessions of its own data on a simulated clock.
"""

from datetime import UTC, datetime

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.artifacts import show_facts
from flows.progress import StageProgress
from flows.recent import newest, recall
from ploutos.panel import PanelRef
from ploutos.trading import PaperConfig, PaperSummary, replay_run, trade_session

DEFAULTS = PaperConfig()
NOTHING_PROMOTED = (
    "Nothing is promoted, so nothing was traded: no run has passed the gate of the flow `validate`."
)


@task(timeout_seconds=1800, cache_policy=NO_CACHE)
def trade(run_id: str, config: PaperConfig, now: datetime) -> str:
    """Decide, order and record today's session on the newest panel, once."""
    prepared = newest("panel")
    panel = PanelRef.model_validate(prepared) if prepared else None
    summary = trade_session(run_id, config, now, panel)
    show_facts("session", summary.model_dump(mode="json"), "Today's session")
    return summary.message


@task(timeout_seconds=3600, cache_policy=NO_CACHE)
def replay_sessions(run_id: str, config: PaperConfig) -> PaperSummary:
    """Walk the committee through the last sessions; decisions and fills go to the ledger."""
    progress = StageProgress("paper")
    progress.report(0.0, f"replaying the last {config.replay_sessions} sessions")
    summary = replay_run(run_id, config, progress.report)
    progress.finish(
        f"{summary.sessions} sessions, {summary.orders} orders, {summary.fills} fills, "
        f"equity {summary.equity_usd:,.2f} USD"
    )
    show_facts("paper", summary.model_dump(mode="json"), f"Replay of run {run_id}")
    return summary


@flow(result_serializer="json", persist_result=False)
def paper(config: PaperConfig = DEFAULTS) -> State[str]:
    """Trade today's session on paper with the promoted policy; without one, do nothing and say so.

    It decides on the newest panel, so `ingest` and `prepare` run before it. The state that it
    ends in says what happened.

    Args:
        config: Account and ledger.
    """
    run_id = newest("promoted-run")
    message = trade(run_id, config, datetime.now(UTC)) if run_id else NOTHING_PROMOTED
    return Completed(message=message, data=message)


@flow(result_serializer="json", persist_result=False)
def replay(run_id: str | None = None, config: PaperConfig = DEFAULTS) -> PaperSummary:
    """Replay a run's policy over the last sessions of its data; the ledger marks it as a replay.

    The result counts sessions, orders and fills, and holds the final equity.

    Args:
        run_id: The run to replay; nothing means the newest one.
        config: Account, limits, ledger and how many sessions.
    """
    return replay_sessions(run_id or recall("run", "train"), config)
