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

from ploutos.agent.extractor import MarketExtractor
from ploutos.agent.market_rows import MarketSource
from ploutos.agent.recurrent_minibatches import whole_sequences
from ploutos.agent.recurrent_ppo import RecurrentPPO
from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env import EnvConfig
from ploutos.env.batch import Batch
from tests.benchmarks.env_sides import Scene

# Nearly twice a rollout of sb3-contrib's default length: half of the sequences hold a start.
EPISODE_BARS = 252
WIDTH = 64
Model = sb3_contrib.RecurrentPPO


def trading(one: Scene, n_envs: int, n_threads: int = 1, by_reference: bool = False) -> VecEnv:
    """Return environments whose first episodes end at staggered times."""
    config = EnvConfig(episode_bars=EPISODE_BARS, by_reference=by_reference)
    return TradingVecEnv(Batch(one.market, one.scaler, config, one.rows, n_envs, n_threads))


def default_learner(cls: type[Model], env: VecEnv, **arguments: Any) -> Model:
    """Return a learner with sb3-contrib's defaults: two LSTMs of 256 before two layers of 64."""
    return _ready(cls("MlpLstmPolicy", env, seed=0, device="cpu", **arguments))


def planned_learner(one: Scene, n_envs: int, lstm_hidden_size: int, n_threads: int) -> Model:
    """Return ours as it is planned: by reference, many environments, whole sequences."""
    env = trading(one, n_envs, n_threads, by_reference=True)
    source = MarketSource(one.market, one.scaler, 1)
    model = RecurrentPPO(
        "MlpLstmPolicy",
        env,
        minibatches=whole_sequences,
        n_steps=63,
        batch_size=n_envs * 63 // 8,
        n_epochs=4,
        seed=0,
        device="cpu",
        policy_kwargs={
            "lstm_hidden_size": lstm_hidden_size,
            "features_extractor_class": MarketExtractor,
            "features_extractor_kwargs": {"width": WIDTH, "source": source},
        },
    )
    return _ready(model)


def _ready(model: Model) -> Model:
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
