"""What a rollout keeps. In: steps of environments. Out: SB3's rollout buffer, filled.

By reference an observation is a row number and the account: a window of any length costs four
bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from ploutos.agent.fused.advantage import advantages


class KeptRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer, with arrays that are kept from one rollout to the next.

    Fresh arrays of many megabytes cost as much as filling them.
    """

    def reset(self) -> None:
        """Begin a rollout; the values of the last one are still there until they are written."""
        if self.generator_ready or not hasattr(self, "rewards"):
            super().reset()
        self.pos, self.full = 0, False

    def compute_returns_and_advantage(self, last_values: torch.Tensor, dones: np.ndarray) -> None:
        """Compute generalised advantages and returns, as SB3 does."""
        last = last_values.clone().cpu().numpy().reshape(-1), dones.astype(np.float32)
        discounts = (float(self.gamma), float(self.gae_lambda))
        arrays = (self.rewards, self.values, self.episode_starts)
        advantages(*arrays, last, discounts, self.advantages)
        np.add(self.advantages, self.values, out=self.returns)


def truncated_of(ended: np.ndarray, infos: Sequence[dict[str, Any]]) -> list[int]:
    """Return which of the environments `ended`, whose episodes have ended, were cut off by time."""
    return [
        e
        for e in ended.tolist()
        if infos[e].get("TimeLimit.truncated", False)
        and infos[e].get("terminal_observation") is not None
    ]


class Truncations:
    """Episodes of a rollout that were cut off by time, whose rest is worth what the critic says."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._envs: list[int] = []
        self._observations: list[np.ndarray] = []

    def note(self, step: int, ended: np.ndarray, infos: Sequence[dict[str, Any]]) -> None:
        """Note those of the environments `ended`, whose episodes ended at a step, that were cut."""
        cut = truncated_of(ended, infos)
        self._steps += [step] * len(cut)
        self._envs += cut
        self._observations += [infos[e]["terminal_observation"] for e in cut]

    def add_values(
        self, rewards: np.ndarray, gamma: float, value_of: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """Add the discounted values of last observations to the rewards (S, E) of their steps."""
        if self._steps:
            values = value_of(np.stack(self._observations).astype(np.float32, copy=False))
            rewards[self._steps, self._envs] += np.float32(gamma) * values


def random_order(buffer: RolloutBuffer) -> np.ndarray:
    """Return the samples of a rollout in SB3's random order, as time-major numbers, (S,) int64.

    SB3 numbers them environment by environment, and draws from numpy's global generator.
    """
    n_steps, n_envs = buffer.rewards.shape
    order = np.random.permutation(n_steps * n_envs)  # noqa: NPY002 - as SB3 does
    return order % n_steps * n_envs + order // n_steps


def order_by_row(buffer: RolloutBuffer) -> np.ndarray:
    """Return the samples of a rollout by reference row by row, the rows in a random order.

    A minibatch then has as few distinct rows as can be, and computes their market part once each.
    """
    rows = buffer.observations[..., 0].reshape(-1).astype(np.int64)
    ranks = np.random.permutation(int(rows.max()) + 1)  # noqa: NPY002 - what SB3 seeds
    return np.argsort(ranks[rows], kind="stable")
