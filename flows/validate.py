"""Out-of-sample validation. In: a run id and ValidationConfig. Out: a verdict and a report."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import show_report, show_table
from flows.progress import StageProgress
from flows.recent import recall, remember
from ploutos.validation import ValidationConfig, ValidationSummary, validate_run
from ploutos.validation.run import Figures

DEFAULTS = ValidationConfig()


@task(timeout_seconds=7200, cache_policy=NO_CACHE)
def judge(run_id: str, config: ValidationConfig) -> ValidationSummary:
    """Roll out every policy on rows it never saw, against the baselines, and judge."""
    progress = StageProgress("validate")
    progress.report(0.0, f"rolling out run {run_id}")
    summary = validate_run(run_id, config, progress.report)
    if summary.verdict == "promoted":
        remember("promoted-run", run_id)
    progress.finish(f"verdict: {summary.verdict}")
    return summary


@task(cache_policy=NO_CACHE)
def describe_verdict(summary: ValidationSummary) -> None:
    """Show the result beside the baselines, and where the report lies."""
    show_table("validation", _rows(summary), f"Out of sample. Verdict: {summary.verdict}")
    show_report("report", Path(summary.report))


@flow(result_serializer="json", persist_result=False)
def validate(run_id: str | None = None, config: ValidationConfig = DEFAULTS) -> ValidationSummary:
    """Judge a run by its returns on the test rows of every fold, after costs.

    The result holds verdict, reasons and figures.

    Args:
        run_id: The run to judge; nothing means the newest one.
        config: What the gate asks for.
    """
    summary = judge(run_id or recall("run", "train"), config)
    describe_verdict(summary)
    return summary


def _rows(summary: ValidationSummary) -> list[dict[str, Any]]:
    figures = set(Figures.model_fields)
    ours = {"name": "committee"} | summary.model_dump(include=figures)
    baselines = [{"name": name} | found.model_dump() for name, found in summary.baselines.items()]
    return [ours, *baselines]
