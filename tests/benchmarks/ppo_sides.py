"""Both sides of the trainer's benchmarks. In: a learner's sizes. Out: seconds per update or step.

The peer is Stable-Baselines3's PPO. Updates are timed on one buffer of noise; whole training on our
own environments, theirs in worker processes.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from ploutos.agent.ppo import PPO
from ploutos.agent.vec_env import TradingVecEnv
from ploutos.block import SharedDataManager
from ploutos.env import EnvConfig, TradingEnv
from ploutos.panel import save_panel
from tests.agent.fused.rollouts import Noise, fill
from tests.benchmarks.env_sides import Scene

PEER_ENVS = 8
OBSERVATION = 90


class Count(BaseCallback):
    """A callback on both sides: it counts steps."""

    def _on_step(self) -> bool:
        return True


def silent(model):
    """Return the model with a logger that writes nothing."""
    model.set_logger(Logger(None, []))
    return model


def updater(kind, batch_size: int, n_samples: int, threads: int):
    """Return a PPO of a kind over a buffer of noise: obs 90, 3 orders, 64x64, 10 epochs."""
    n_envs = 8
    env = DummyVecEnv([functools.partial(Noise, spaces.Discrete(3), OBSERVATION)] * n_envs)
    sizes = {"n_steps": n_samples // n_envs, "batch_size": batch_size, "n_epochs": 10}
    model = silent(kind("MlpPolicy", env, seed=0, device="cpu", **sizes))
    if kind is PPO:
        model.n_threads = threads
    fill(model.rollout_buffer)
    return model


def updating(model, threads: int) -> Callable[[], float]:
    """Return a measurement: seconds of one `train()`."""

    def measure() -> float:
        torch.set_num_threads(threads)
        began = time.perf_counter()
        model.train()
        return time.perf_counter() - began

    return measure


def largest_difference(one, other) -> float:
    """Return by how much the parameters of two models differ at most."""
    theirs = other.policy.state_dict()
    return max(float((v - theirs[k]).abs().max()) for k, v in one.policy.state_dict().items())


@contextmanager
def worker_envs(scene: Scene) -> Iterator[SubprocVecEnv]:
    """Yield SB3's worker processes over our scalar environment, each with SB3's Monitor."""
    with SharedDataManager(save_panel(scene.panel)) as owner:
        make = functools.partial(_monitored, owner.ref, scene.rows, scene.scaler)
        envs = SubprocVecEnv([make] * PEER_ENVS)
        try:
            yield envs
        finally:
            envs.close()


def _monitored(ref, rows, scaler):
    return Monitor(TradingEnv(ref, EnvConfig(), rows, scaler))


def learning(model, n_steps: int) -> Callable[[], float]:
    """Return a measurement: seconds per environment step of `learn`, over `n_steps` steps."""

    def measure() -> float:
        before = model.num_timesteps
        began = time.perf_counter()
        model.learn(n_steps, callback=Count(), reset_num_timesteps=False)
        return (time.perf_counter() - began) / (model.num_timesteps - before)

    return measure


def sb3_learner(envs, **sizes):
    """Return SB3's PPO over some environments."""
    return silent(stable_baselines3.PPO("MlpPolicy", envs, seed=0, device="cpu", **sizes))


def our_learner(scene: Scene, n_envs: int, **sizes):
    """Return our PPO over as many environments, by value."""
    env = TradingVecEnv(scene.batch(n_envs))
    return silent(PPO("MlpPolicy", env, seed=0, device="cpu", **sizes))


def matrix_rate(batch: int, threads: int) -> float:
    """Return the operations per second of a plain product (128, 90) @ (90, batch)."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    one = rng.standard_normal((128, OBSERVATION)).astype(np.float32)
    other = rng.standard_normal((OBSERVATION, batch)).astype(np.float32)
    out, best, repeats = np.empty((128, batch), np.float32), np.inf, 200
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(repeats):
            np.matmul(one, other, out=out)
        best = min(best, (time.perf_counter() - began) / repeats)
    return 2 * one.size * batch / best
