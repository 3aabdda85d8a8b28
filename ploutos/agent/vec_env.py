"""The Stable-Baselines3 front. In: a `Batch`. Out: a `VecEnv` over it, one compiled call a step."""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from ploutos.env.batch import Batch


class TradingVecEnv(VecEnv):
    """E trading environments as one SB3 vector environment, in this process.

    Environment e behaves bit for bit as `TradingEnv` seeded `seed + e`. The spaces are those of
    `TradingEnv`. Infos hold `terminal_observation` and `TimeLimit.truncated` at an end.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.render_mode = None
        bound = max(float(batch.scaler.clip[0]), 1.0)
        super().__init__(
            batch.n_envs,
            gym.spaces.Box(-bound, bound, (batch.length,), np.float32),
            gym.spaces.MultiDiscrete([3] * batch.n_symbols),
        )
        self._actions = np.zeros((batch.n_envs, batch.n_symbols), np.int64)
        batch.seed(0)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed environment e with `seed + e`; without a seed, draw one."""
        seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self.batch.seed(seed)
        return [seed + e for e in range(self.num_envs)]

    def reset(self) -> VecEnvObs:
        """Start an episode everywhere."""
        return self.batch.reset().copy()

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions; the work is done in `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments. The arrays returned are the caller's to keep."""
        outcome = self.batch.step(self._actions)
        dones = (outcome.terminated | outcome.truncated).astype(bool)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for e in np.flatnonzero(dones):
            infos[e]["terminal_observation"] = outcome.final_observation[e].copy()
            infos[e]["TimeLimit.truncated"] = bool(outcome.truncated[e])
        return outcome.observation.copy(), outcome.reward.copy(), dones, infos

    def close(self) -> None:
        """Nothing to close: the block belongs to whoever attached it."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return the attribute, which all environments share."""
        return [getattr(self, attr_name)] * len(self._chosen(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set the attribute, which all environments share."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call the method once: all environments share it."""
        result = getattr(self, method_name)(*args, **kwargs)
        return [result] * len(self._chosen(indices))

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return False for every environment: there is no wrapper inside a batch."""
        return [False] * len(self._chosen(indices))

    def _chosen(self, indices: VecEnvIndices) -> list[int]:
        if indices is None:
            return list(range(self.num_envs))
        return [indices] if isinstance(indices, int) else list(_integers(indices))


def _integers(indices: Iterable[int]) -> Iterable[int]:
    return (int(index) for index in indices)
