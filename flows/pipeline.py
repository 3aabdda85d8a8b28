"""The whole path, from bars to a paper-trading record. In: PipelineConfig. Out: a run id.

`python -m flows.pipeline` runs it here and now, with a Prefect server of its own.
"""

if __name__ == "__main__":
    # Before Prefect is imported: the command starts the server and tells Prefect its address.
    from flows.command import main

    main()

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows.artifacts import show_summary
from flows.ingest import ingest
from flows.paper import replay
from flows.prepare import prepare
from flows.summary import summary_rows
from flows.train import train
from flows.validate import validate
from ploutos.agent import TrainConfig
from ploutos.config import FrozenConfig
from ploutos.features.config import FeatureConfig
from ploutos.market.config import IngestConfig
from ploutos.runs import write_summary
from ploutos.store import read_json
from ploutos.trading import PaperConfig
from ploutos.validation import ValidationConfig


class PipelineConfig(FrozenConfig):
    """The configuration of every stage, in the order of the data."""

    ingest: IngestConfig = Field(default=IngestConfig(), description="Where the bars come from.")
    features: FeatureConfig = Field(
        default=FeatureConfig(), description="What is computed of them."
    )
    train: TrainConfig = Field(default=TrainConfig(), description="What is learned, and how.")
    validation: ValidationConfig = Field(
        default=ValidationConfig(), description="How the result is judged."
    )
    paper: PaperConfig = Field(default=PaperConfig(), description="How it is traded on paper.")


DEFAULTS = PipelineConfig()


@task(cache_policy=NO_CACHE)
def summarize(run_id: str) -> None:
    """Write the run's summary and show it."""
    summary = read_json(write_summary(run_id))
    rows = [*summary_rows(summary), ("report", f"`{summary['report']}`")]
    show_summary("summary", rows, f"Run {run_id}")


@flow(result_serializer="json", persist_result=False)
def pipeline(config: PipelineConfig = DEFAULTS) -> str:
    """Ingest, prepare, train, validate and replay; a second run continues from what is done.

    The result is the id of the run; its folder holds `summary.json` and the report.

    Args:
        config: One part for every stage.
    """
    snapshot = ingest(config.ingest)
    panel = prepare(snapshot, config.features)
    run_id = train(panel, config.train)
    validate(run_id, config.validation)
    replay(run_id, config.paper)
    summarize(run_id)
    return run_id
