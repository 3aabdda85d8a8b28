"""Both sides of RecurrentPPO's benchmarks. In: a scene. Out: learners, timed parts of theirs."""

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sb3_contrib
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env import EnvConfig
from ploutos.env.batch import Batch
from tests.benchmarks.env_sides import Scene

# Nearly twice a rollout of sb3-contrib's default length: half of the sequences hold a start.
EPISODE_BARS = 252
Model = sb3_contrib.RecurrentPPO


def trading(one: Scene, n_envs: int) -> VecEnv:
    """Return environments whose first episodes end at staggered times."""
    config = EnvConfig(episode_bars=EPISODE_BARS)
    return TradingVecEnv(Batch(one.market, one.scaler, config, one.rows, n_envs))


def default_learner(cls: type[Model], env: VecEnv, **arguments: Any) -> Model:
    """Return a learner with sb3-contrib's defaults: two LSTMs of 256 before two layers of 64."""
    return ready(cls("MlpLstmPolicy", env, seed=0, device="cpu", **arguments))


def ready(model: Model) -> Model:
    """Return the model, ready to collect without `learn`."""
    model.set_logger(Logger(None, []))
    model._setup_learn(10**9, None)
    return model


class _Silent(BaseCallback):
    def _on_step(self) -> bool:
        return True


def collect(model: Model) -> None:
    """Fill the learner's buffer."""
    callback = _Silent()
    callback.init_callback(model)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)


def give(buffer: Any, *models: Model, starts: bool = True) -> None:
    """Give learners copies of a buffer; without `starts` no episode of it starts in the middle."""
    for model in models:
        model.rollout_buffer = copy.deepcopy(buffer)
        if not starts:
            model.rollout_buffer.episode_starts[:] = 0.0


def train(model: Model) -> None:
    """Update the policy, in minibatches that are the same for every learner."""
    np.random.seed(0)  # noqa: NPY002 - sb3-contrib draws from the global generator
    model.train()


def timed(part: Callable[[], None], n_threads: int) -> Callable[[], float]:
    """Return a measurement: seconds that a part takes with so many threads of torch."""

    def measure() -> float:
        torch.set_num_threads(n_threads)
        began = time.perf_counter()
        part()
        return time.perf_counter() - began

    return measure


def at_its_best(part: Callable[[], None]) -> tuple[Callable[[], float], int]:
    """Return the measurement with the number of threads that is faster, 1 or 2, and the number."""
    part()
    took = {n: min(timed(part, n)() for _ in range(2)) for n in (1, 2)}
    best = min(took, key=lambda n: took[n])
    return timed(part, best), best
