"""What a rollout buffer holds of a step: observations by reference against those by value."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer

from ploutos.env.config import EnvConfig
from ploutos.env.setup import action_space, observation_space
from ploutos.panel import Panel
from tests.panels import random_panel

STEPS, ENVS = 64, 4


def run() -> Iterator[Mapping[str, Any]]:
    """Yield `buffer.bytes`."""
    panel = random_panel(bars=100, symbols=15, features=85, macro=36)
    ours = _bytes_per_step(panel, EnvConfig(window_bars=60, by_reference=True))
    peer = _bytes_per_step(panel, EnvConfig(window_bars=60))
    yield {
        "name": "buffer.bytes",
        "value": round(peer / ours, 1),
        "unit": "times",
        "ours": round(ours, 1),
        "peer": round(peer, 1),
        "spread": [round(peer / ours, 1)] * 2,
        "detail": "bytes per step of all arrays of SB3's RolloutBuffer (observations, actions, "
        "rewards, values, ...) at a window of 60 bars of 15 symbols, 85 features and 36 "
        "macro features: the same buffer over observations by reference and by value",
    }


def _bytes_per_step(panel: Panel, config: EnvConfig) -> float:
    """Return what a filled buffer's arrays take, over its steps."""
    actions = action_space(config, panel.n_symbols)
    buffer = RolloutBuffer(STEPS, observation_space(panel, config), actions, "cpu", n_envs=ENVS)
    arrays = [value for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    if len(arrays) < 8:
        raise RuntimeError(f"expected the 8 arrays of a rollout buffer, received {len(arrays)}")
    return sum(array.nbytes for array in arrays) / (STEPS * ENVS)
