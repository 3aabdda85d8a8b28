"""Gymnasium's vector front. In: a block ref, a panel or a frame. Out: `TradingVectorEnv`."""

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ploutos.env.bind import bind, row_option
from ploutos.env.buffers import Buffers
from ploutos.env.config import EnvConfig
from ploutos.env.scaler import Scaler
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio.config import MICRO

if TYPE_CHECKING:
    from ploutos.env.bind import Data


class TradingVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """E trading environments in one compiled call; spaces, rewards and ends are `TradingEnv`'s.

    Environment e behaves bit for bit as a `TradingEnv` seeded `seed + e`. One that ends is reset in
    the same step (`AutoresetMode.SAME_STEP`): `infos["final_obs"]` holds its last observation.

    Parameters
    ----------
    num_envs : int
        E.
    data, config, rows, scaler
        As for `TradingEnv`.
    n_threads : int
        Threads that step slices of the environments; the results do not depend on it.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        num_envs: int,
        data: "Data",
        config: EnvConfig | None = None,
        rows: Rows | None = None,
        scaler: Scaler | None = None,
        n_threads: int = 1,
    ) -> None:
        self.num_envs = num_envs
        self.batch, self._block = bind(data, config, rows, scaler, (num_envs, n_threads))
        self.single_action_space = self.batch.action_space
        self.single_observation_space = self.batch.observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._buffers = Buffers((num_envs, self.batch.length))
        self._seeded = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode everywhere; environment e is seeded `seed + e`, or `seed[e]`.

        `options={"row": t}` lets all of them start at row t.
        """
        super().reset(seed=seed if isinstance(seed, int) else None, options=options)
        if isinstance(seed, int):
            self.batch.seed(seed)
        elif not self._seeded:
            self.batch.seed(int(self.np_random.integers(2**62)))
        if isinstance(seed, list):
            self._seed_each(seed)
        self._seeded = True
        self.batch.observe_into(self._buffers.take())
        observation = self.batch.reset()
        if options:
            self.batch.move_to(row_option(options))
        return observation, self._infos()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Trade one bar everywhere. The arrays returned are the caller's to keep."""
        batch = self.batch
        batch.observe_into(self._buffers.take())
        reached = batch.episodes.row + 1
        outcome = batch.step(actions)
        terminated, truncated = outcome.terminated.astype(bool), outcome.truncated.astype(bool)
        infos = self._infos()
        ended = terminated | truncated
        if ended.any():
            infos |= self._final_infos(ended, reached)
        return outcome.observation, outcome.reward.astype(float), terminated, truncated, infos

    def action_masks(self) -> np.ndarray:
        """Return which actions can do anything: (E, 3N) bool."""
        return self.batch.masks().reshape(self.num_envs, -1)  # (E, N, 3) -> (E, 3N)

    def close_extras(self, **_: Any) -> None:
        """End the threads and detach from the block."""
        self.batch.close()
        if self._block is not None:
            del self.batch
            self._block.close()
            self._block = None

    def _seed_each(self, seeds: list[int | None]) -> None:
        if len(seeds) != self.num_envs:
            raise EnvironmentConfigError(
                f"expected {self.num_envs} seeds, one per environment, received {len(seeds)}."
            )
        for e, own in enumerate(seeds):
            if own is not None:
                self.batch.seed_one(e, own)

    def _infos(self) -> dict[str, Any]:
        everywhere = np.ones(self.num_envs, bool)
        return {
            "row": self.batch.episodes.row.copy(),
            "_row": everywhere,
            "equity_usd": self.batch.accounts.equity / MICRO,
            "_equity_usd": everywhere,
        }

    def _final_infos(self, ended: np.ndarray, reached: np.ndarray) -> dict[str, Any]:
        """Return what Gymnasium's own vector environments tell of an end."""
        outcome = self.batch.outcome
        last = np.full(self.num_envs, None, dtype=object)
        for e in np.flatnonzero(ended):
            last[e] = outcome.final_observation[e].copy()
        final = {
            "row": np.where(ended, reached, 0),
            "_row": ended,
            "equity_usd": np.where(ended, outcome.equity / MICRO, 0.0),
            "_equity_usd": ended,
        }
        return {"final_obs": last, "_final_obs": ended, "final_info": final, "_final_info": ended}
