"""One member: one algorithm on one fold with one seed. In: a spec. Out: a policy folder.

`python -m ploutos.agent SPEC` runs one in a process of its own.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ploutos.agent.checkpoint import load_checkpoint, remove_checkpoint, save_checkpoint
from ploutos.agent.guards import scene_of
from ploutos.agent.learner import Learner, build_learner, use_threads
from ploutos.agent.learner_state import copy_parameters, take_snapshot
from ploutos.agent.loop import Loop, Parent, checkpoint_folder
from ploutos.agent.policy import PolicyManifest, save_policy
from ploutos.agent.progress import Progress
from ploutos.agent.selection import score_learner
from ploutos.agent.spec import MemberSpec
from ploutos.block import attach
from ploutos.env.batch import Batch
from ploutos.env.market import market_of
from ploutos.env.observe import observation_length
from ploutos.env.scaler import fit_scaler
from ploutos.errors import CheckpointError, DivergedError
from ploutos.panel import Panel
from ploutos.store import code_digest, digest_json

__all__ = ["MemberSpec", "run_member", "train_member"]

logger = logging.getLogger(__name__)


def run_member(
    spec: MemberSpec, report: Callable[[int, float], None], stop: threading.Event | None = None
) -> bool:
    """Train one member, from its checkpoint if there is one; damaged checkpoints are dropped.

    Parameters and results are those of `train_member`.
    """
    parent = Parent(report, stop or threading.Event())
    try:
        return train_member(spec, parent)
    except CheckpointError as error:
        logger.warning("%s; %s starts anew", error, spec.name)
        remove_checkpoint(checkpoint_folder(spec))
        return train_member(spec, parent)


def train_member(spec: MemberSpec, parent: Parent) -> bool:
    """Train one member and write its policy folder; goes on from a checkpoint if there is one.

    A number that is not finite makes it go back to the last checkpoint, once, and on from there
    with other random numbers.

    Returns
    -------
    bool
        False if the parent stopped it: there is a checkpoint then, and no policy.

    Raises
    ------
    DivergedError
        If a number is not finite again, naming it.
    CheckpointError
        If there are checkpoints, and none of them can be used.
    """
    use_threads(spec.torch_threads)
    with attach(spec.block) as block:
        try:
            return _train(spec, block.panel, parent, None)
        except DivergedError as error:
            logger.warning("%s", error)
            return _train(spec, block.panel, parent, error)


def _train(spec: MemberSpec, panel: Panel, parent: Parent, diverged: DivergedError | None) -> bool:
    market = market_of(panel)
    scaler = fit_scaler(panel, spec.fold.train, spec.env.clip)
    stepped = (spec.n_envs, spec.env_threads)
    batch = Batch(market, scaler, spec.env, spec.fold.train, *stepped)
    sizes, logs = (spec.n_steps, spec.batch_size), Path(spec.work_folder) / "tensorboard"
    model = build_learner(batch, spec.learner, sizes, spec.random_seed, logs, spec.device)
    model.n_threads = spec.learner_threads
    progress = load_checkpoint(checkpoint_folder(spec), spec.digest, model, batch) or Progress()
    if diverged is not None:
        _fall_back(spec, (model, batch), progress, diverged)
    learner = (model, scene_of(panel, batch))
    loop = Loop(spec, learner, progress, lambda: score_learner(spec, model, market, scaler), parent)
    parent.report(model.num_timesteps, 0.0)
    is_finished = loop.run()
    batch.close()
    if not is_finished:
        return False
    parameters = progress.best_parameters or copy_parameters(model)
    save_policy(Path(spec.folder), parameters, scaler, _manifest(spec, model, progress, panel))
    # Afterwards: whoever hears of the last step may look for the policy.
    parent.report(model.num_timesteps, model.num_timesteps / max(progress.trained_s, 1e-9))
    remove_checkpoint(checkpoint_folder(spec))
    return True


def _fall_back(
    spec: MemberSpec,
    learner: tuple[Learner, Batch],
    progress: Progress,
    diverged: DivergedError,
) -> None:
    """Go on from a checkpoint with other random numbers, or fail if that was done before."""
    if progress.fallbacks > 0:
        raise diverged
    model, batch = learner
    progress.fallbacks += 1
    seed = int(digest_json([spec.random_seed, model.num_timesteps, progress.fallbacks])[:7], 16)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - SB3 shuffles with the global generator
    own: np.random.Generator | None = getattr(model, "random", None)
    if own is not None:
        own.bit_generator.state = type(own.bit_generator)(seed).state
    batch.episodes.random[:] = np.uint64(seed) + np.arange(batch.n_envs, dtype=np.uint64)
    logger.warning(
        "%s goes on from step %d with other random numbers", spec.name, model.num_timesteps
    )
    if model._last_obs is not None:  # pyright: ignore[reportPrivateUsage] - SB3 has no public name
        # At once: whoever continues this member later must know that it fell back already.
        snapshot = take_snapshot(model, batch, progress)
        save_checkpoint(checkpoint_folder(spec), spec.digest, snapshot)


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
        n_features=panel.n_features,
        env=spec.env,
        timesteps=model.num_timesteps,
        steps_per_s=model.num_timesteps / max(progress.trained_s, 1e-9),
        selection_score=progress.best_score,
        train_start=spec.fold.train.start,
        train_stop=spec.fold.train.stop,
        code_digest=code_digest(),
    )
