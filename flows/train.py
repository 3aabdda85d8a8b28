"""Training of all members of a run. In: a PanelRef and TrainConfig. Out: a run id."""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import show_table
from flows.progress import StageProgress
from flows.recent import recall, remember
from flows.retries import only_for
from ploutos.agent import TrainConfig, TrainingProgress, start_run, train_run
from ploutos.errors import TrainingError
from ploutos.panel import PanelRef

DEFAULTS = TrainConfig()
ONE_DAY_S = 86_400


@task(cache_policy=NO_CACHE)
def begin_run(panel: PanelRef, config: TrainConfig) -> str:
    """Fix folds and sizes and give the run its id; the same data and config have the same id."""
    run_id = start_run(panel, config)
    remember("run", run_id)
    return run_id


@task(
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=only_for(TrainingError),
    timeout_seconds=ONE_DAY_S,
    cache_policy=NO_CACHE,
)
def train_members(run_id: str) -> None:
    """Train what is not trained yet; every fold, seed and algorithm is a process of its own."""
    progress = StageProgress("train")
    progress.report(0.0, f"run {run_id}")
    results = train_run(run_id, lambda now: progress.report(_fraction(now), _sentence(now)))
    reused = sum(result.reused for result in results)
    progress.finish(f"{len(results)} policies, {reused} of them found finished")
    rows = [result.model_dump(mode="json", exclude={"policy_folder"}) for result in results]
    show_table("members", rows, f"The policies of run {run_id}")


@flow(result_serializer="json", persist_result=False)
def train(panel: PanelRef | None = None, config: TrainConfig = DEFAULTS) -> str:
    """Train every algorithm on every fold with every seed, over one shared block of memory.

    The result is the id of the run; the flows `validate` and `replay` take it.

    Args:
        panel: The panel to learn from; nothing means the newest one.
        config: Folds, seeds, algorithms, steps and rewards.
    """
    chosen = panel or PanelRef.model_validate(recall("panel", "prepare"))
    run_id = begin_run(chosen, config)
    train_members(run_id)
    return run_id


def _fraction(now: TrainingProgress) -> float:
    return now.done_steps / now.total_steps if now.total_steps else 1.0


def _sentence(now: TrainingProgress) -> str:
    return (
        f"{now.members_done}/{now.members_total} members, {now.done_steps:,} of "
        f"{now.total_steps:,} steps, {now.steps_per_s:,.0f}/s - {now.message}"
    )
