"""One member: one algorithm on one fold with one seed. In: a spec. Out: a policy folder.

`python -m ploutos.agent SPEC` runs one in a process of its own.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import Field
from stable_baselines3.common.callbacks import BaseCallback

from ploutos.agent.checkpoint import (
    Progress,
    copy_parameters,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from ploutos.agent.config import Algo, PPOConfig, RecurrentPPOConfig
from ploutos.agent.learner import Learner, build_learner, use_threads
from ploutos.agent.play import Segment, play
from ploutos.agent.policy import Policy, PolicyManifest, build_network, save_policy
from ploutos.block import BlockRef, attach
from ploutos.config import FrozenConfig
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import Market, market_of
from ploutos.env.observe import observation_length
from ploutos.env.scaler import Scaler, fit_scaler
from ploutos.errors import CheckpointError, TrainingError
from ploutos.folds import Fold
from ploutos.panel import Panel
from ploutos.store import code_digest, digest_json

CHECKPOINT_EVERY_S = 10.0

logger = logging.getLogger(__name__)


class MemberSpec(FrozenConfig):
    """Everything a member process needs to know."""

    run_id: str = Field(description="Run that the member belongs to.")
    algo: Algo = Field(description="Algorithm.")
    fold: Fold = Field(description="Rows to train on and to select on.")
    seed: int = Field(description="Random seed.")
    learner: PPOConfig | RecurrentPPOConfig = Field(description="Hyper-parameters.")
    env: EnvConfig = Field(description="The episode.")
    block: BlockRef = Field(description="The shared block.")
    n_envs: int = Field(ge=1, description="Environments stepped together.")
    n_steps: int = Field(ge=1, description="Rollout length per environment, in bars.")
    batch_size: int = Field(ge=1, description="Minibatch size, in environment steps.")
    torch_threads: int = Field(ge=1, description="Threads of the learner.")
    env_threads: int = Field(ge=1, description="Threads that step the environments.")
    selection_checks: int = Field(ge=1, description="Scorings on the validation rows.")
    warm_up_bars: int = Field(ge=0, description="Bars shown to an LSTM before it trades.")
    folder: str = Field(description="Policy folder to write.")
    work_folder: str = Field(description="Folder of checkpoint and TensorBoard logs.")

    @property
    def name(self) -> str:
        """Return the member's name, unique within its run."""
        return f"{self.algo}-fold{self.fold.index}-seed{self.seed}"

    @property
    def random_seed(self) -> int:
        """Return the number that seeds the member, far from every other member's.

        Environment e draws from the stream `seed + e`: seeds 0 and 1 themselves would share all
        but one of their environments' windows.
        """
        return int(digest_json([self.algo, self.fold.index, self.seed])[:7], 16)


def run_member(spec: MemberSpec, report: Callable[[int, float], None]) -> None:
    """Train one member, from its checkpoint if there is one; a damaged checkpoint is dropped.

    `report` is that of `train_member`.
    """
    try:
        train_member(spec, report)
    except CheckpointError as error:
        logger.warning("%s; %s starts anew", error, spec.name)
        remove_checkpoint(_checkpoint_folder(spec))
        train_member(spec, report)


def train_member(spec: MemberSpec, report: Callable[[int, float], None]) -> None:
    """Train one member and write its policy folder; goes on from a checkpoint if there is one.

    `report(timesteps, steps_per_s)` is called at the start (speed 0), between rollouts, at the end.
    """
    use_threads(spec.torch_threads)
    with attach(spec.block) as block:
        market = market_of(block.panel)
        scaler = fit_scaler(block.panel, spec.fold.train, spec.env.clip)
        stepped = (spec.n_envs, spec.env_threads)
        batch = Batch(market, scaler, spec.env, spec.fold.train, *stepped)
        logs = Path(spec.work_folder) / "tensorboard"
        sizes = (spec.n_steps, spec.batch_size)
        model = build_learner(batch, spec.learner, sizes, spec.random_seed, logs)
        progress = load_checkpoint(_checkpoint_folder(spec), model, batch) or Progress()
        loop = _Loop(spec, batch, progress, lambda: _score(spec, model, market, scaler))
        loop.report = report
        report(model.num_timesteps, 0.0)
        left = spec.learner.total_timesteps - model.num_timesteps
        fresh = model.num_timesteps == 0
        if left > 0:
            model.learn(left, callback=loop, reset_num_timesteps=fresh)
        loop.check(final=True)
        report(model.num_timesteps, model.num_timesteps / progress.trained_s)
        save_policy(
            Path(spec.folder),
            progress.best_parameters or copy_parameters(model),
            scaler,
            _manifest(spec, model, progress, block.panel),
        )
    remove_checkpoint(_checkpoint_folder(spec))


class _Loop(BaseCallback):
    """Between rollouts: report, score on the validation rows, checkpoint, refuse nonsense."""

    def __init__(
        self, spec: MemberSpec, batch: Batch, progress: Progress, score: Callable[[], float]
    ) -> None:
        super().__init__()
        self.spec, self.batch, self.progress, self.score = spec, batch, progress, score
        self.report: Callable[[int, float], None] = lambda _steps, _speed: None
        self._began = time.monotonic()
        self._saved = self._began
        self._trained_before = progress.trained_s

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps == 0:
            return
        self.check(final=False)
        now = time.monotonic()
        self.progress.trained_s = self._trained_before + now - self._began
        self.report(self.model.num_timesteps, self.model.num_timesteps / self.progress.trained_s)
        if now - self._saved > CHECKPOINT_EVERY_S:
            save_checkpoint(
                _checkpoint_folder(self.spec), self._learner(), self.batch, self.progress
            )
            self._saved = now

    def _on_step(self) -> bool:
        if not np.isfinite(self.locals["rewards"]).all():
            raise TrainingError(
                f"{self.spec.name}: expected finite rewards, received {self.locals['rewards']} "
                f"after {self.model.num_timesteps} steps."
            )
        return True

    def check(self, *, final: bool) -> None:
        """Score the policy if a check is due and keep its parameters if they are the best."""
        model = self._learner()
        due = self.spec.learner.total_timesteps / self.spec.selection_checks
        if not final and model.num_timesteps < due * (self.progress.checks_done + 1):
            return
        for name, value in model.policy.state_dict().items():
            if not bool(value.isfinite().all()):
                raise TrainingError(
                    f"{self.spec.name}: parameter {name} is not finite after "
                    f"{model.num_timesteps} steps. Lower the learning rate."
                )
        score = self.score()
        self.progress.checks_done += 1
        if self.progress.best_score is None or score > self.progress.best_score:
            self.progress.best_score = score
            self.progress.best_parameters = copy_parameters(model)
        self.progress.trained_s = self._trained_before + time.monotonic() - self._began

    def _learner(self) -> Learner:
        return self.model  # pyright: ignore[reportReturnType]


def _score(spec: MemberSpec, model: Learner, market: Market, scaler: Scaler) -> float:
    """Return the log growth of the current parameters over the fold's validation rows."""
    length = observation_length(market, spec.env.window_bars)
    network = build_network(spec.learner, length, market.mark.shape[1], spec.env)
    network.load_state_dict(model.policy.state_dict())
    network.set_training_mode(False)
    manifest = PolicyManifest.model_construct(observation_length=length, env=spec.env)
    segment = Segment(Policy(network, scaler, manifest), spec.fold.validation)
    equity = play(market, [segment], spec.env, spec.warm_up_bars).equity_micro
    return float(np.log(equity[-1] / equity[0]))


def _manifest(spec: MemberSpec, model: Learner, progress: Progress, panel: Panel) -> PolicyManifest:
    return PolicyManifest(
        algo=spec.algo,
        fold=spec.fold.index,
        seed=spec.seed,
        run_id=spec.run_id,
        learner=spec.learner,
        symbols=panel.meta.symbols,
        catalog_digest=panel.meta.catalog_digest,
        observation_length=observation_length(panel, spec.env.window_bars),
        env=spec.env,
        timesteps=model.num_timesteps,
        steps_per_s=model.num_timesteps / max(progress.trained_s, 1e-9),
        selection_score=progress.best_score,
        train_start=spec.fold.train.start,
        train_stop=spec.fold.train.stop,
        code_digest=code_digest(),
    )


def _checkpoint_folder(spec: MemberSpec) -> Path:
    return Path(spec.work_folder) / "checkpoint"
