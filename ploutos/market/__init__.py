"""Market data. In: a source's config. Out: checked bars and macro series, kept as snapshots."""

from ploutos.market.config import IngestConfig
from ploutos.market.data import MarketData
from ploutos.market.ingest import DataFetcher, fetch
from ploutos.market.snapshots import load_snapshot, save_snapshot
from ploutos.market.update import update_snapshot

__all__ = [
    "DataFetcher",
    "IngestConfig",
    "MarketData",
    "fetch",
    "load_snapshot",
    "save_snapshot",
    "update_snapshot",
]
