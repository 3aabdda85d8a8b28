"""Fetching only what is missing. In: `IngestConfig`. Out: the digest of a snapshot that holds all.

The newest snapshot of a config is remembered under `home/latest/`. The next fetch of a network
source extends it; other sources are read whole, they cost nothing.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from ploutos.errors import RevisionError, SnapshotError, StoreError
from ploutos.market.config import AlpacaSource, IngestConfig, YahooSource
from ploutos.market.data import MarketData
from ploutos.market.ingest import fetch
from ploutos.market.snapshots import load_snapshot, save_snapshot
from ploutos.store import digest_json, folder, read_json, write_json

# These may change from one fetch to the next; the history remains the same one.
NOT_IDENTITY = {"symbols", "end_on", "network", "max_missing_bars", "max_failed_symbols", "macro"}


def update_snapshot(
    config: IngestConfig, session: Any | None = None, now: datetime | None = None
) -> str:
    """Fetch, extend the newest snapshot of this config, save, and return the digest.

    Parameters
    ----------
    config, session, now
        As for `ploutos.market.fetch`.

    Raises
    ------
    RevisionError
        If the source changed what is stored; the message names the file to delete to begin anew.
    SourceError, DataError, StoreError
        As `fetch` and `save_snapshot` do; the newest snapshot then stays what it was.
    """
    if not isinstance(config.source, YahooSource | AlpacaSource):
        return save_snapshot(fetch(config, session, now))
    pointer = latest_path(config)
    earlier = _earlier(pointer, config)
    try:
        data = fetch(config, session, now, earlier)
    except RevisionError as error:
        raise RevisionError(
            f"{error} If the new values are right, delete {pointer} and ingest again: the whole "
            "history is then fetched anew."
        ) from error
    digest = save_snapshot(data)
    # A fetch that ends before what is stored is a part of it, and does not take its place.
    if earlier is not None or not pointer.is_file():
        write_json(pointer, {"snapshot": digest})
    return digest


def latest_path(config: IngestConfig) -> Path:
    """Return the file that names the newest snapshot of the history this config describes."""
    source = config.source.model_dump(mode="json", exclude=NOT_IDENTITY)
    # Bars that were judged by another rule are another history.
    judged = config.quality.frozen_after_bars
    key = digest_json({"source": source, "exchange": config.exchange, "frozen_after_bars": judged})
    return folder("latest") / f"{config.source.kind}-{key[:16]}.json"


def _earlier(pointer: Path, config: IngestConfig) -> MarketData | None:
    if not pointer.is_file():
        return None
    try:
        earlier = load_snapshot(str(read_json(pointer)["snapshot"]))
    except (SnapshotError, StoreError, KeyError, TypeError) as error:
        raise SnapshotError(
            f"the newest snapshot of this config cannot be continued: {error} Put it back, or "
            f"delete {pointer} to fetch the whole history anew, without comparing it."
        ) from error
    end_on = getattr(config.source, "end_on", None)
    newest = earlier.bars["closed_at"].max()
    # A fetch that ends before what is stored is another history: it is not extended.
    if end_on is not None and isinstance(newest, datetime) and newest.date() > end_on:
        return None
    return earlier
