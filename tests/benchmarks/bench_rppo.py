"""RecurrentPPO against sb3-contrib's: the same update, and learning with all that belongs to it."""

import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import sb3_contrib
import torch
from stable_baselines3.common.vec_env import SubprocVecEnv

from ploutos.agent.config import RecurrentPPOConfig, RowEncoder
from ploutos.agent.recurrent_ppo import RecurrentPPO
from ploutos.block import SharedDataManager
from ploutos.env import EnvConfig, TradingEnv
from ploutos.panel import save_panel
from tests.benchmarks.env_sides import V9, Scene, random_actions, scene
from tests.benchmarks.pairs import Pairs, alternate, times_better, worst
from tests.benchmarks.planned import planned
from tests.benchmarks.rppo_sides import (
    EPISODE_BARS,
    Model,
    at_its_best,
    collect,
    default_learner,
    give,
    ready,
    timed,
    trading,
    train,
)

PAIRS = 5
# A rollout of the peer, with its update, takes minutes.
LEARN_PAIRS = 2
TOLERANCE = 1e-6
# (n_envs, batch_size): sb3-contrib's defaults over 8 environments, and what suits it better.
CASES = ((8, 128), (32, 1024))

Figures = Iterator[Mapping[str, Any]]


def run() -> Figures:
    """Yield `rppo.same`, `rppo.without_starts` and `rppo.learn`."""
    v9 = scene(V9)
    yield worst([_same("rppo.same", v9, *case) for case in CASES])
    yield _same("rppo.without_starts", v9, *CASES[0], starts=False)
    yield worst(list(_learn(v9)))


def _same(
    name: str, v9: Scene, n_envs: int, batch_size: int, *, starts: bool = True
) -> Mapping[str, Any]:
    """Compare one epoch of updates over one buffer, in the same minibatches."""
    torch.set_num_threads(1)
    sizes = {"n_epochs": 1, "batch_size": batch_size}
    ours, peer = (
        default_learner(cls, trading(v9, n_envs), **sizes)
        for cls in (RecurrentPPO, sb3_contrib.RecurrentPPO)
    )
    # The second rollout is like all later ones: the first starts an episode everywhere.
    collect(ours)
    collect(ours)
    buffer = ours.rollout_buffer
    n_starts = int(buffer.episode_starts.sum()) if starts else 0
    give(buffer, ours, peer, starts=starts)
    train(ours)
    train(peer)
    difference = _difference(ours, peer)
    if difference > TOLERANCE:
        raise RuntimeError(f"both sides must learn the same, they differ by {difference}")
    (our_part, our_threads), (their_part, their_threads) = (
        at_its_best(functools.partial(train, model)) for model in (ours, peer)
    )
    case = (
        f"seconds per epoch of train() over {n_envs} environments x 128 steps in the same "
        f"minibatches of {batch_size}, {n_starts} staggered starts of {EPISODE_BARS}-bar episodes, "
        f"V9 shape by value, two LSTMs of 256; torch threads: ours {our_threads}, peer "
        f"{their_threads}, the faster of 1 and 2 for each; parameters after the first epoch "
        f"differ by {difference:.0e}; peer: sb3_contrib.RecurrentPPO"
    )
    return times_better(name, alternate(our_part, their_part, PAIRS), case)


def _difference(ours: Model, peer: Model) -> float:
    both = zip(ours.policy.parameters(), peer.policy.parameters(), strict=True)
    return max(float((one - other).detach().abs().max()) for one, other in both)


def _learn(v9: Scene) -> Figures:
    """Compare seconds per environment step of a rollout and its update."""
    config = EnvConfig(episode_bars=EPISODE_BARS)
    with tempfile.TemporaryDirectory() as home:
        os.environ["PLOUTOS_HOME"] = home
        with SharedDataManager(save_panel(v9.panel)) as owner:
            make = functools.partial(TradingEnv, owner.ref, config, v9.rows, v9.scaler)
            workers = SubprocVecEnv([make] * 8)
            try:
                yield from _against_workers(v9, workers)
            finally:
                workers.close()


def _against_workers(v9: Scene, workers: SubprocVecEnv) -> Figures:
    _check_same(v9, workers)
    peer = default_learner(sb3_contrib.RecurrentPPO, workers)
    theirs, their_threads = at_its_best(functools.partial(_rollout_and_update, peer))
    for size in (256, 64):
        learner = RecurrentPPOConfig(lstm_hidden_size=size, encoder=RowEncoder(width=64))
        ours, chosen = planned(v9, learner, by_reference=True)
        ready(ours)
        _rollout_and_update(ours)
        our_part = timed(functools.partial(_rollout_and_update, ours), 1)
        pairs = alternate(_per_step(our_part, ours), _per_step(theirs, peer), LEARN_PAIRS)
        rates = Pairs(*([1 / seconds for seconds in side] for side in pairs))
        yield times_better(
            "rppo.learn",
            pairs,
            f"seconds per environment step, a rollout and its update, V9 shape: ours as planned, "
            f"{max(rates.ours):.0f} steps/s with {chosen.n_envs} environments x {chosen.n_steps} "
            f"steps by reference, minibatches of {chosen.batch_size}, {learner.n_epochs} epochs, a "
            f"market layer of 64, two LSTMs of {size}, {chosen.learner_threads} threads; peer: "
            "sb3_contrib.RecurrentPPO with its defaults (LSTMs of 256, 128 steps, minibatches of "
            f"128, 10 epochs) over SubprocVecEnv(8) of TradingEnv, {max(rates.peer):.0f} steps/s "
            f"with {their_threads} threads of torch, the faster of 1 and 2",
        )


def _rollout_and_update(model: Model) -> None:
    collect(model)
    train(model)


def _per_step(measure: Callable[[], float], model: Model) -> Callable[[], float]:
    return lambda: measure() / (model.n_steps * model.n_envs)


def _check_same(v9: Scene, workers: SubprocVecEnv) -> None:
    ours = trading(v9, 8)
    for env in (ours, workers):
        env.seed(0)
    same = np.array_equal(ours.reset(), workers.reset())
    for action in random_actions(140, 8, v9.panel.n_symbols):
        for one, other in zip(ours.step(action)[:3], workers.step(action)[:3], strict=True):
            same = same and np.array_equal(one, other)
    if not same:
        raise RuntimeError("both sides' environments must do the same")
