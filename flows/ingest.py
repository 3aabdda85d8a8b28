"""Bars and macro series from a source into a snapshot. In: IngestConfig. Out: a snapshot digest."""

from datetime import UTC, datetime
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from flows.artifacts import show_facts, show_table
from flows.progress import StageProgress
from flows.recent import recall_in_run, remember, remember_in_run
from flows.retries import only_for
from ploutos.errors import SourceError
from ploutos.market import MarketData, load_snapshot, update_snapshot
from ploutos.market.config import AlpacaSource, IngestConfig, YahooSource
from ploutos.market.quality import survey

DEFAULTS = IngestConfig()
NETWORK_RETRIES = 3
SHOWN_ROWS = 200


@task(
    retries=NETWORK_RETRIES,
    retry_delay_seconds=exponential_backoff(10),
    retry_jitter_factor=0.5,
    retry_condition_fn=only_for(SourceError, OSError),
    timeout_seconds=1800,
    cache_policy=NO_CACHE,
)
def fetch_snapshot(config: IngestConfig) -> str:
    """Fetch what is missing, check and save the data; return the digest of the snapshot."""
    earlier = recall_in_run(config)
    if earlier is not None:
        return earlier
    progress = StageProgress("ingest")
    progress.report(0.0, f"fetching from the source {config.source.kind!r}")
    snapshot = update_snapshot(config)
    remember("snapshot", snapshot)
    remember_in_run(config, snapshot)
    data = load_snapshot(snapshot)
    progress.finish(f"{data.name}: {', '.join(data.symbols)}; {data.bars.height:,} bars")
    return snapshot


@task(cache_policy=NO_CACHE)
def describe_snapshot(snapshot: str) -> None:
    """Show what the snapshot holds, how complete it is, and what was set aside."""
    data = load_snapshot(snapshot)
    show_facts("snapshot", _facts(snapshot, data), "What was ingested")
    show_table("quality", survey(data).to_dicts(), "How complete each symbol is")
    aside = data.quarantine
    shown = aside.head(SHOWN_ROWS).to_dicts() or [{"symbol": "none", "reason": "nothing"}]
    show_table("quarantine", shown, f"Bars that were set aside, with the reason: {aside.height}")


@flow(result_serializer="json", persist_result=False)
def ingest(config: IngestConfig = DEFAULTS) -> str:
    """Fetch market and macro data, check them, and keep them as an immutable snapshot.

    The result is the digest of the snapshot; the flow `prepare` takes it.

    Args:
        config: Which source, which symbols, which years.
    """
    # A file that cannot be read now cannot be read in ten seconds: only a network is asked again.
    is_online = isinstance(config.source, YahooSource | AlpacaSource) or config.macro is not None
    fetching = fetch_snapshot if is_online else fetch_snapshot.with_options(retries=0)
    snapshot = fetching(config)
    describe_snapshot(snapshot)
    return snapshot


def _facts(snapshot: str, data: MarketData) -> dict[str, Any]:
    closed_at = data.bars["closed_at"].dt.epoch("s")
    return {
        "snapshot": snapshot,
        "name": data.name,
        "symbols": data.symbols,
        "bars": data.bars.height,
        "first close": datetime.fromtimestamp(int(closed_at[0]), UTC).isoformat(),
        "last close": datetime.fromtimestamp(int(closed_at[-1]), UTC).isoformat(),
        "macro series": sorted(set(data.macro["series"])),
        "missing series": data.missing_series,
        "macro sources": data.provenance.get("macro_sources", {}),
        "failed symbols": data.provenance.get("failed_symbols", {}),
        "ended symbols": data.provenance.get("ended_symbols", {}),
        "revisions": data.provenance.get("revisions", []),
        "survivorship": data.survivor_bias,
        "reference series": sorted(set(data.reference["symbol"])),
    }
