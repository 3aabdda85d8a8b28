"""Features and the aligned panel. In: a snapshot digest and FeatureConfig. Out: a PanelRef."""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import show_facts
from flows.progress import StageProgress
from flows.recent import recall, remember
from ploutos.features.config import FeatureConfig
from ploutos.market.snapshots import load_snapshot
from ploutos.panel import PanelRef, build_panel, load_panel

DEFAULTS = FeatureConfig()


@task(timeout_seconds=3600, cache_policy=NO_CACHE)
def compute_panel(snapshot: str, config: FeatureConfig) -> PanelRef:
    """Compute every feature and write the panel; an equal panel is found, not computed again."""
    progress = StageProgress("prepare")
    progress.report(0.0, "computing the features")
    panel = build_panel(load_snapshot(snapshot), config, snapshot)
    remember("panel", panel.model_dump(mode="json"))
    progress.finish(
        f"panel of {panel.n_rows:,} bars x {panel.n_symbols} symbols x {panel.n_features} features "
        f"and {panel.n_macro} macro features"
    )
    return panel


@task(cache_policy=NO_CACHE)
def describe_panel(panel: PanelRef) -> None:
    """Show the panel's shape and what is missing in it."""
    meta = load_panel(panel).meta
    facts = panel.model_dump(mode="json") | {
        "symbols": meta.symbols,
        "first row past every warm-up": meta.first_row,
        "missing series": meta.missing_series,
        "catalog": meta.catalog_digest,
    }
    show_facts("panel", facts, "What the agents will see")


@flow(result_serializer="json", persist_result=False)
def prepare(snapshot: str | None = None, config: FeatureConfig = DEFAULTS) -> PanelRef:
    """Compute the features of a snapshot and align everything by date in one panel file.

    The result holds path, digest and shape of the panel file; the flow `train` takes it.

    Args:
        snapshot: Digest of the snapshot; nothing means the newest one.
        config: Which families of features.
    """
    panel = compute_panel(snapshot or recall("snapshot", "ingest"), config)
    describe_panel(panel)
    return panel
