"""PPO against Stable-Baselines3's: updates of one buffer, and whole training.

Before anything is timed, an update on both sides must give the same parameters to 1e-4.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import stable_baselines3
import torch
from threadpoolctl import threadpool_limits

from ploutos.agent.config import PPOConfig, RowEncoder
from ploutos.agent.ppo import PPO
from tests.benchmarks.env_sides import ONE, V9, Scene, scene
from tests.benchmarks.pairs import Pairs, alternate, times_better, worst
from tests.benchmarks.planned import planned
from tests.benchmarks.ppo_sides import (
    OBSERVATION,
    PEER_ENVS,
    largest_difference,
    learning,
    matrix_rate,
    our_learner,
    sb3_learner,
    updater,
    updating,
    worker_envs,
)

PAIRS = 5
TOLERANCE = 1e-4
# Of the V9 shape: a first layer that actor and critic share, then one of their own; as deep as
# SB3's 64x64.
PLANNED = PPOConfig(encoder=RowEncoder(width=64), net_arch=(64,))

Figures = Iterator[Mapping[str, Any]]


def run() -> Figures:
    """Yield the figures called `ppo.`."""
    yield _update("ppo.update64", 64, 2048)
    yield _update("ppo.update4096", 4096, 16_384)
    yield _limit()
    with tempfile.TemporaryDirectory() as home:
        os.environ["PLOUTOS_HOME"] = home
        yield _learn_same(scene(ONE))
        yield _v9(scene(V9))


def _update(name: str, batch_size: int, n_samples: int) -> Mapping[str, Any]:
    figures = []
    for threads in (1, 2):
        peer, ours = (
            updater(kind, batch_size, n_samples, threads) for kind in (stable_baselines3.PPO, PPO)
        )
        for model in (peer, ours):
            np.random.seed(0)  # noqa: NPY002 - SB3 shuffles with the global generator
            model.train()
        off = largest_difference(peer, ours)
        if off > TOLERANCE:
            raise AssertionError(f"expected equal parameters after an update, they differ by {off}")
        measured = alternate(updating(ours, threads), updating(peer, threads), PAIRS)
        what = (
            f"seconds per train(): {n_samples} samples, batch {batch_size}, 10 epochs, 64x64, obs "
            f"{OBSERVATION}, {threads} threads on both sides; parameters differ by {off:.0e}"
        )
        figures.append(times_better(name, measured, what))
    return worst(figures)


def _limit() -> Mapping[str, Any]:
    """Return the rate of the update as a share of that of a plain matrix product."""
    batch, n_samples = 4096, 16_384
    ours = updating(updater(PPO, batch, n_samples, 1), 1)
    ours()
    # Forward 2 per weight and sample, backward twice that, but for the inputs of the first layer.
    first, rest = 128 * 90, 2 * 64 * 64 + 3 * 64 + 64
    operations = n_samples * 10 * (4 * first + 6 * rest)
    with threadpool_limits(1):
        pairs = alternate(lambda: operations / ours(), lambda: matrix_rate(128, 1), PAIRS)
    return {
        **times_better("ppo.limit", Pairs(pairs.peer, pairs.ours), ""),
        "unit": "of peer",
        "ours": round(np.median(pairs.ours) / 1e9, 1),
        "peer": round(np.median(pairs.peer) / 1e9, 1),
        "detail": "10^9 floating-point operations per second of the update at batch 4096, one "
        f"thread; peer: numpy's product (128, 90) @ (90, 128); median of {PAIRS} pairs",
    }


def _learn_same(one: Scene) -> Mapping[str, Any]:
    sizes = {"n_steps": 512, "batch_size": 64, "n_epochs": 10}
    torch.set_num_threads(1)
    with worker_envs(one) as envs:
        peer = sb3_learner(envs, **sizes)
        ours = our_learner(one, PEER_ENVS, **sizes)
        n_steps = PEER_ENVS * sizes["n_steps"]
        ours.learn(n_steps)
        peer.learn(256)
        measured = alternate(learning(ours, 4 * n_steps), learning(peer, n_steps), PAIRS)
    what = (
        f"seconds per environment step of learn(): {sizes}, {PEER_ENVS} environments, one symbol, "
        "87 features, episodes of 126 bars; monitor, callback and bootstrap on both sides, torch "
        f"with one thread; peer: SB3 PPO over SubprocVecEnv({PEER_ENVS})"
    )
    return times_better("ppo.learn_same", measured, what)


def _v9(v9: Scene) -> Mapping[str, Any]:
    ours, chosen = planned(v9, PLANNED, by_reference=True)
    torch.set_num_threads(1)
    rollout = chosen.n_envs * chosen.n_steps
    with worker_envs(v9) as envs:
        peer = sb3_learner(envs, n_steps=128)
        ours.learn(rollout)
        measured = alternate(learning(ours, 2 * rollout), learning(peer, 1024), PAIRS)
    what = (
        "seconds per environment step of learn(), V9 shape; ours as planned: "
        f"{chosen.n_envs} environments x {chosen.n_steps} steps by reference, batch "
        f"{chosen.batch_size}, {PLANNED.n_epochs} epochs, one layer shared, one each, "
        f"{chosen.learner_threads} threads; peer: SB3 PPO's defaults (64x64 each, batch 64, 10 "
        f"epochs) but for rollouts of 128 steps, over SubprocVecEnv({PEER_ENVS})"
    )
    return times_better("ppo.v9", measured, what)
