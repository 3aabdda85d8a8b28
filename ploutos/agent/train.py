"""A training run. In: a panel and a config. Out: one policy folder per algorithm, fold and seed.

`start_run` fixes what will be trained and gives the run its id; `train_run` does it, and goes on
from what is already there when it is called again.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from pydantic import Field, ValidationError

from ploutos.agent.config import Algo, TrainConfig
from ploutos.agent.hardware import detect_hardware
from ploutos.agent.member import MemberSpec
from ploutos.agent.plan import Plan, plan
from ploutos.agent.policy import PolicyManifest, load_policy
from ploutos.agent.supervise import run_members
from ploutos.agent.workload import block_shape, jobs_of
from ploutos.block import BlockRef, SharedDataManager
from ploutos.config import FrozenConfig
from ploutos.errors import PolicyError, StoreError
from ploutos.folds import Fold, split
from ploutos.panel import PanelRef, load_panel
from ploutos.runs import record_part, run_folder, run_id_of, sole_trainer
from ploutos.store import digest_json, read_json, write_json

logger = logging.getLogger(__name__)


class RunSpec(FrozenConfig):
    """What a run is made of; lies in the run's folder as `run.json`."""

    run_id: str = Field(description="Digest of everything that determines the result.")
    panel: PanelRef = Field(description="The data.")
    config: TrainConfig = Field(description="What is learned and how.")
    folds: tuple[Fold, ...] = Field(description="Row ranges.")
    plans: dict[Algo, Plan] = Field(description="Sizes for this machine.")


class TrainingProgress(FrozenConfig):
    """How far the members of a run are, all together."""

    done_steps: int = Field(description="Environment steps trained so far.")
    total_steps: int = Field(description="Environment steps to train.")
    steps_per_s: float = Field(description="Steps per second since the start of this call.")
    members_done: int = Field(description="Members finished.")
    members_total: int = Field(description="Members of the run.")
    message: str = Field(description="The last thing that happened.")


class MemberResult(FrozenConfig):
    """One trained member."""

    algo: Algo = Field(description="Algorithm.")
    fold: int = Field(description="Index of the fold.")
    seed: int = Field(description="Random seed.")
    timesteps: int = Field(description="Environment steps trained.")
    steps_per_s: float = Field(description="Training speed, environment steps per second.")
    selection_score: float | None = Field(description="Log growth on the validation rows.")
    policy_folder: str = Field(description="Where the policy lies.")
    reused: bool = Field(description="Whether it was found finished.")


OnProgress = Callable[[TrainingProgress], None]


def start_run(panel: PanelRef, config: TrainConfig) -> str:
    """Fix folds and sizes, write `run.json`, return the run's id. Calling it again is harmless.

    Raises
    ------
    FoldError
        If the folds do not fit the panel.
    BlockError
        If the panel does not fit the free shared memory.
    """
    loaded = load_panel(panel)
    folds = split(loaded.meta.first_row, loaded.n_rows, config.folds)
    hardware = detect_hardware()
    size = Path(panel.path).stat().st_size
    block = block_shape(loaded, size, folds, config.env.window_bars)
    jobs = jobs_of(config, len(folds))
    plans: dict[Algo, Plan] = {algo: plan(hardware, block, job) for algo, job in jobs.items()}
    learning = {
        algo: [p.n_envs, p.n_steps, p.batch_size, p.torch_threads, p.device]
        for algo, p in plans.items()
    }
    supervision = {"member_timeout_s", "member_retries"}
    determined = {
        "config": config.model_dump(mode="json", exclude=supervision),
        "sizes": learning,
    }
    run_id = run_id_of(panel.digest, determined)
    # Written again by every call: the home may have moved, the machine or the supervision changed.
    spec = RunSpec(run_id=run_id, panel=panel, config=config, folds=folds, plans=plans)
    write_json(run_folder(run_id) / "run.json", spec.model_dump(mode="json"))
    return run_id


def load_run(run_id: str) -> RunSpec:
    """Read what `start_run` wrote.

    Raises
    ------
    StoreError
        If there is no such run, or another version of Ploutos planned it.
    """
    path = run_folder(run_id) / "run.json"
    try:
        return RunSpec.model_validate(read_json(path))
    except ValidationError as error:
        raise StoreError(
            f"expected a run as this version of Ploutos plans it in {path}: {error}. Start it "
            "again."
        ) from error


def train_run(run_id: str, on_progress: OnProgress | None = None) -> tuple[MemberResult, ...]:
    """Train the members of a run that are not finished yet, side by side, over one shared block.

    Raises
    ------
    StoreError
        If another process is training the same run.
    TrainingError
        If a member fails for good. Finished members stay and are not trained again.
    """
    run = load_run(run_id)
    with sole_trainer(run_id):
        return _train(run, on_progress or (lambda _progress: None))


def _train(run: RunSpec, on_progress: OnProgress) -> tuple[MemberResult, ...]:
    names = _member_folders(run)
    missing = [key for key, folder in names.items() if not _is_finished(folder)]
    progress = _Progress(run, names, missing, on_progress)
    if missing:
        with SharedDataManager(run.panel) as owner:
            block = {"bytes": owner.ref.size, "segment": owner.ref.segment}
            record_part(run.run_id, "block", block)
            specs = [_spec(run, key, names[key], owner.ref) for key in missing]
            # Members that differ in how many fit beside one another never run at the same time.
            for in_parallel, group in groupby(
                specs, lambda spec: run.plans[spec.algo].members_in_parallel
            ):
                run_members(
                    list(group),
                    in_parallel,
                    run.config.member_timeout_s,
                    run.config.member_retries,
                    progress.report,
                )
    results = tuple(_result(key, folder, key not in missing) for key, folder in names.items())
    _record(run, results)
    return results


MemberKey = tuple[Algo, int, int]


def _member_folders(run: RunSpec) -> dict[MemberKey, Path]:
    """Return the policy folder of every member; the slow algorithm first, so that no core idles."""
    policies = run_folder(run.run_id) / "policies"
    return {
        (algo, fold.index, seed): policies / f"{algo}-fold{fold.index}-seed{seed}"
        for algo in sorted(run.config.algos, reverse=True)
        for fold in reversed(run.folds)
        for seed in run.config.seeds
    }


def _is_finished(folder: Path) -> bool:
    """Tell whether a member's policy is there and whole; a damaged one is moved aside."""
    if not folder.is_dir():
        return False
    try:
        load_policy(folder)
    except (PolicyError, StoreError) as error:
        aside = folder.with_name(f".damaged-{folder.name}-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        logger.warning("%s; moved to %s, the member is trained again", error, aside)
        return False
    return True


def _spec(run: RunSpec, key: MemberKey, folder: Path, block: BlockRef) -> MemberSpec:
    algo, fold, seed = key
    sizes = run.plans[algo]
    return MemberSpec(
        run_id=run.run_id,
        algo=algo,
        fold=run.folds[fold],
        seed=seed,
        learner=run.config.learner(algo),
        env=run.config.env,
        block=block,
        n_envs=sizes.n_envs,
        n_steps=sizes.n_steps,
        batch_size=sizes.batch_size,
        torch_threads=sizes.torch_threads,
        learner_threads=sizes.learner_threads,
        env_threads=sizes.env_threads,
        device=sizes.device,
        selection_checks=run.config.selection_checks,
        patience_checks=run.config.patience_checks,
        warm_up_bars=run.config.warm_up_bars,
        folder=str(folder),
        work_folder=str(run_folder(run.run_id) / "members" / folder.name),
    )


def policy_folders(run: RunSpec, fold: int) -> dict[MemberKey, Path]:
    """Return the policy folders of one fold, every algorithm and seed, in a fixed order."""
    return {key: path for key, path in sorted(_member_folders(run).items()) if key[1] == fold}


class _Progress:
    """Adds up what the members report; called from the watching threads."""

    def __init__(
        self,
        run: RunSpec,
        names: dict[MemberKey, Path],
        missing: list[MemberKey],
        on_progress: OnProgress,
    ) -> None:
        self._targets = {key: run.config.learner(key[0]).total_timesteps for key in missing}
        self._steps = dict.fromkeys(missing, 0)
        self._first: dict[MemberKey, int] = {}
        self._total = len(names)
        self._began = time.monotonic()
        self._on_progress = on_progress
        self._lock = threading.Lock()
        found = self._total - len(missing)
        if found:
            self._emit(f"{found} of {self._total} members are already trained")

    def report(self, spec: MemberSpec, timesteps: int, steps_per_s: float) -> None:
        """Note one member's steps and pass the sum on."""
        key: MemberKey = (spec.algo, spec.fold.index, spec.seed)
        with self._lock:
            self._first.setdefault(key, timesteps)
            self._steps[key] = timesteps
            if Path(spec.folder).is_dir():  # finished, perhaps early
                self._targets[key] = min(self._targets[key], timesteps)
            pace = f"at {steps_per_s:,.0f}/s" if steps_per_s else "so far"
            self._emit(f"{spec.name}: {timesteps:,} steps {pace}")

    def _emit(self, message: str) -> None:
        done = {key: min(self._steps[key], target) for key, target in self._targets.items()}
        finished = sum(done[key] >= target for key, target in self._targets.items())
        new = sum(self._steps[key] - first for key, first in self._first.items())
        self._on_progress(
            TrainingProgress(
                done_steps=sum(done.values()),
                total_steps=sum(self._targets.values()),
                steps_per_s=new / max(time.monotonic() - self._began, 1e-9),
                members_done=self._total - len(self._targets) + finished,
                members_total=self._total,
                message=message,
            )
        )


def _result(key: MemberKey, folder: Path, reused: bool) -> MemberResult:
    listed = read_json(folder / "manifest.json")
    listed.pop("policy_digest", None)
    try:
        manifest = PolicyManifest.model_validate(listed)
    except ValueError as error:
        raise PolicyError(f"expected a policy manifest in {folder}: {error}") from error
    return MemberResult(
        algo=key[0],
        fold=key[1],
        seed=key[2],
        timesteps=manifest.timesteps,
        steps_per_s=manifest.steps_per_s,
        selection_score=manifest.selection_score,
        policy_folder=str(folder),
        reused=reused,
    )


def _date(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).date().isoformat()


def _record(run: RunSpec, results: tuple[MemberResult, ...]) -> None:
    """Record the parts of the summary that training knows."""
    panel = load_panel(run.panel)
    meta = panel.meta
    record_part(
        run.run_id,
        "dataset",
        {
            "name": meta.name,
            "symbols": list(meta.symbols),
            "rows": panel.n_rows,
            "first": _date(int(panel.closed_at[0])),
            "last": _date(int(panel.closed_at[-1])),
            "digest": meta.snapshot or run.panel.digest,
        },
    )
    record_part(
        run.run_id,
        "features",
        {
            "technical": len(meta.feature_names),
            "macro": len(meta.macro_names),
            "names_digest": digest_json([*meta.feature_names, *meta.macro_names]),
        },
    )
    record_part(run.run_id, "plan", {a: p.model_dump(mode="json") for a, p in run.plans.items()})
    rows = [
        {
            "algo": r.algo,
            "fold": r.fold,
            "seed": r.seed,
            "timesteps": r.timesteps,
            "steps_per_s": round(r.steps_per_s, 1),
        }
        for r in sorted(results, key=lambda r: (r.algo, r.fold, r.seed))
    ]
    record_part(run.run_id, "training", rows)
