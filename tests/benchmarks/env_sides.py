"""Both sides of the environment's benchmarks. In: a front. Out: nanoseconds per step.

Random actions, environment only: no policy is in the loop. Actions are drawn before the clock runs.
"""

import time
from collections.abc import Callable

import numpy as np

from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env import EnvConfig
from ploutos.env.batch import Batch
from ploutos.env.market import Market, market_of
from ploutos.env.scaler import Scaler, fit_scaler
from ploutos.folds import Rows
from ploutos.panel import Panel
from tests.panels import random_panel

BARS = 3000
# The shape of the V9 document, and that of one symbol.
V9 = {"symbols": 15, "features": 85, "macro": 36}
ONE = {"symbols": 1, "features": 87, "macro": 0}


class Scene:
    """A panel with what environments over it need."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.rows = Rows(start=panel.meta.first_row, stop=panel.n_rows)
        self.scaler: Scaler = fit_scaler(panel, self.rows, 5.0)
        self.market: Market = market_of(panel)

    def batch(self, n_envs: int, n_threads: int = 1, by_reference: bool = False) -> Batch:
        config = EnvConfig(by_reference=by_reference)
        batch = Batch(self.market, self.scaler, config, self.rows, n_envs, n_threads)
        batch.seed(0)
        batch.reset()
        return batch

    def vec_env(self, n_envs: int, n_threads: int = 1, by_reference: bool = False) -> TradingVecEnv:
        env = TradingVecEnv(self.batch(n_envs, n_threads, by_reference))
        env.seed(0)
        env.reset()
        return env


def scene(shape: dict[str, int], bars: int = BARS) -> Scene:
    return Scene(random_panel(bars=bars, **shape))


def random_actions(n_steps: int, n_envs: int, n_symbols: int) -> np.ndarray:
    """Return hold, buy, sell at random, (n_steps, E, N) int64."""
    return np.random.default_rng(0).integers(0, 3, (n_steps, n_envs, n_symbols))


def stepping(step: Callable[[np.ndarray], object], actions: np.ndarray) -> Callable[[], float]:
    """Return a measurement: nanoseconds per step of one environment, over all `actions`."""
    for action in actions[:3]:
        step(action)

    def measure() -> float:
        began = time.perf_counter()
        for action in actions:
            step(action)
        return (time.perf_counter() - began) * 1e9 / actions[..., 0].size

    return measure
