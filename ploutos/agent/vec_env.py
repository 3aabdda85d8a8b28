"""The Stable-Baselines3 front. In: a `Batch`, or workers. Out: a `VecEnv` over it."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from ploutos.agent.infos import Infos
from ploutos.env.batch import Batch
from ploutos.env.buffers import Buffers
from ploutos.env.kernel import Outcome
from ploutos.errors import EnvironmentConfigError


class Environments(Protocol):
    """E environments that are stepped together: a `Batch`, or workers that step batches."""

    n_envs: int
    n_symbols: int

    @property
    def action_space(self) -> gym.Space[Any]:
        """Space of one environment's action."""
        ...

    @property
    def observation_space(self) -> gym.Space[Any]:
        """Space of one environment's observation, (D,) float32."""
        ...

    @property
    def outcome(self) -> Outcome:
        """What the last step wrote."""
        ...

    def seed(self, seed: int) -> None:
        """Give environment e the stream of `seed + e`."""
        ...

    def reset(self) -> np.ndarray:
        """Start an episode everywhere; return the (E, D) observations."""
        ...

    def step(self, action: np.ndarray) -> Outcome:
        """Step all environments."""
        ...

    def masks(self) -> np.ndarray:
        """Return which of hold, buy, sell can do anything: (E, N, 3) bool."""
        ...

    def close(self) -> None:
        """End threads or processes."""
        ...


class TradingVecEnv(VecEnv):
    """E trading environments as one SB3 vector environment.

    Environment e behaves bit for bit as `TradingEnv` seeded `seed + e`; the spaces are those of
    `TradingEnv`. Infos are empty but for an end: `terminal_observation`, `TimeLimit.truncated`, and
    `episode` as SB3's monitors have it (`r` return, `l` length, `t` seconds since the start); they
    come as a sequence that makes a dict when it is asked for. Arrays that `reset` and `step` return
    are the caller's to keep.

    To SB3's questions about single environments (`env_method`, `get_attr`) they answer with what
    they have in common, with values that `set_attr` gave them, and each with its own
    `action_masks()`, (3N,) bool: what sb3-contrib's MaskablePPO asks for.

    Parameters
    ----------
    envs : Batch, or workers
        The environments. A batch writes its observations straight into what the caller gets.

    Attributes
    ----------
    episode_returns, episode_lengths : (E,) float32, (E,) int32
        Sum of rewards and number of steps of the running episodes.
    """

    def __init__(self, envs: Environments) -> None:
        self.envs = envs
        self._batch = envs if isinstance(envs, Batch) else None
        self.render_mode = None
        self._own: dict[str, dict[int, Any]] = {}
        super().__init__(envs.n_envs, envs.observation_space, envs.action_space)
        self._buffers = Buffers((envs.n_envs, *(envs.observation_space.shape or ())))
        self._actions = np.zeros((envs.n_envs, envs.n_symbols))
        self._is_seeded = False
        self._began = time.monotonic()
        self.episode_returns = np.zeros(envs.n_envs, np.float32)
        self.episode_lengths = np.zeros(envs.n_envs, np.int32)

    def reset(self) -> VecEnvObs:
        """Start an episode everywhere, with the seeds and options that were given for it.

        Environments that were never seeded draw a seed.

        Raises
        ------
        EnvironmentConfigError
            If the options are not the same `{"row": t}` for all, or t is no decision row.
        """
        seed = self._seeds[0]
        if seed is None and not self._is_seeded:
            seed = int(np.random.default_rng().integers(2**62))
        if seed is not None:
            self.envs.seed(seed)
            self._is_seeded = True
        options = self._options
        self._reset_seeds()
        self._reset_options()
        self.episode_returns[:], self.episode_lengths[:] = 0.0, 0
        if self._batch is None:
            return self._reset_workers(options)
        self._batch.observe_into(self._buffers.take())
        observation = self._batch.reset()
        if any(options):
            self._batch.move_to(_row_of(options))
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions; the work is done in `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step all environments."""
        if self._batch is not None:
            self._batch.observe_into(self._buffers.take())
        outcome = self.envs.step(self._actions)
        observation = outcome.observation if self._batch is not None else outcome.observation.copy()
        dones = np.bitwise_or(outcome.terminated, outcome.truncated).view(np.bool_)
        self.episode_returns += outcome.reward
        self.episode_lengths += 1
        return observation, outcome.reward.copy(), dones, self._infos(outcome, dones)

    def action_masks(self) -> np.ndarray:
        """Return which actions can do anything: (E, 3N) bool."""
        return self.envs.masks().reshape(self.num_envs, -1)  # (E, N, 3) -> (E, 3N)

    def close(self) -> None:
        """End the threads or processes; the market belongs to whoever attached it."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of each environment; see the class."""
        chosen = self._chosen(indices)
        own = self._own.get(attr_name, {})
        if attr_name == "action_masks":
            return [partial(self._mask_of, e) for e in chosen]
        return [own[e] if e in own else getattr(self, attr_name) for e in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Give environments an attribute, for `get_attr`; it changes nothing else."""
        self._own.setdefault(attr_name, {}).update(dict.fromkeys(self._chosen(indices), value))

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call `action_masks`, or a callable that `set_attr` gave, of each environment.

        Raises
        ------
        AttributeError
            If the environments have no such method: one alone cannot be stepped or reset.
        """
        if method_name == "action_masks":
            masks = self.action_masks()
            return [masks[e] for e in self._chosen(indices)]
        if method_name not in self._own:
            raise AttributeError(
                f"expected action_masks, the one method that single environments of a "
                f"{type(self).__name__} have, received {method_name}. Call step, reset and seed on "
                "the vector environment itself."
            )
        methods: list[Callable[..., Any]] = self.get_attr(method_name, indices)
        return [method(*args, **kwargs) for method in methods]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Return False for every environment: there is no wrapper inside a batch."""
        return [False] * len(self._chosen(indices))

    def _infos(self, outcome: Outcome, dones: np.ndarray) -> Any:
        """Return a sequence; SB3 calls it a list, but its own workers return a tuple."""
        filled: dict[int, dict[str, Any]] = {}
        for e in dones.nonzero()[0].tolist():
            filled[e] = {
                "terminal_observation": outcome.final_observation[e].copy(),
                "TimeLimit.truncated": bool(outcome.truncated[e]),
                "episode": {
                    "r": float(self.episode_returns[e]),
                    "l": int(self.episode_lengths[e]),
                    "t": round(time.monotonic() - self._began, 6),
                },
            }
            self.episode_returns[e], self.episode_lengths[e] = 0.0, 0
        return Infos(self.num_envs, filled)

    def _reset_workers(self, options: list[dict[str, Any]]) -> np.ndarray:
        if any(options):
            raise EnvironmentConfigError(
                f"expected no reset options for environments in workers, received {options[0]}. "
                "Step a batch in this process to start at a certain row."
            )
        return self.envs.reset().copy()

    def _mask_of(self, e: int) -> np.ndarray:
        return self.action_masks()[e]

    def _chosen(self, indices: VecEnvIndices) -> list[int]:
        chosen: Iterable[int] = self._get_indices(indices)
        everyone = range(self.num_envs)
        return [everyone[index] for index in chosen]


def _row_of(options: list[dict[str, Any]]) -> int:
    """Return the row that all environments are to start at."""
    first = options[0]
    if set(first) != {"row"} or any(other != first for other in options):
        raise EnvironmentConfigError(
            f"expected no reset options but the same 'row' for every environment, received "
            f"{options}."
        )
    return int(first["row"])
