"""Environments in a wrapper of the user's, stepped in Python. In: actions. Out: an `Outcome`."""

from math import prod
from typing import Any, cast

import gymnasium as gym
import numpy as np

from ploutos.env.kernel import Outcome, new_outcome
from ploutos.env.market import Market
from ploutos.env.trading_env import TradingEnv
from ploutos.env.workers.shared import WorkersSpec
from ploutos.errors import EnvironmentConfigError

# What `TradingEnv` itself tells with every step.
OWN_INFO = frozenset({"row", "equity_usd"})


def wrap(market: Market, spec: WorkersSpec) -> gym.Env[Any, Any]:
    """Return a `TradingEnv` inside the wrapper of the spec, if it has one.

    Raises
    ------
    EnvironmentConfigError
        If the wrapper changes what the actions are, observes something that is no array of numbers,
        or hides the `TradingEnv`.
    """
    inner = TradingEnv(market, spec.config, spec.rows, spec.scaler)
    if spec.wrapper is None:
        return inner
    env = spec.wrapper(inner)
    if env.unwrapped is not inner:
        raise EnvironmentConfigError(
            f"expected the wrapper to return an environment around the one it was given, received "
            f"{env}. Derive it from gymnasium.Wrapper."
        )
    if not isinstance(env.observation_space, gym.spaces.Box):
        raise EnvironmentConfigError(
            f"expected a wrapper whose observations are a Box, received {env.observation_space}."
        )
    own, theirs = inner.action_space, env.action_space
    bounded = isinstance(own, gym.spaces.Box) and isinstance(theirs, gym.spaces.Box)
    if own.shape != theirs.shape if bounded else own != theirs:
        raise EnvironmentConfigError(
            f"expected a wrapper that leaves the actions {own}, received {theirs}: the shared "
            "arrays hold one order or one weight per symbol."
        )
    return env


def flat_space(space: gym.Space[Any]) -> gym.spaces.Box:
    """Return the bounds of a wrapper's observations as they are shared: (D,) float32."""
    box = cast("gym.spaces.Box", space)
    if len(box.shape) == 1 and box.dtype == np.float32:
        return box
    low, high = (bound.reshape(-1).astype(np.float32) for bound in (box.low, box.high))
    return gym.spaces.Box(low, high, dtype=np.float32)


class WrappedEnvs:
    """E wrapped environments, with those methods of `Batch` that a worker calls.

    Environment e behaves as one in this process that is reset with the seed `seed + e`; one that
    ends is reset in the same step (Gymnasium's SAME_STEP).

    Parameters
    ----------
    market, spec : Market, WorkersSpec
        What an environment stands on, and what is around it.
    n_envs : int
        E.

    Attributes
    ----------
    infos : dict of int to dict
        What the wrapper told of the episodes that ended in the last step, by environment.
    """

    def __init__(self, market: Market, spec: WorkersSpec, n_envs: int) -> None:
        self._envs = [wrap(market, spec) for _ in range(n_envs)]
        self._inner = [cast("TradingEnv", env.unwrapped) for env in self._envs]
        self._seeds: list[int | None] = [None] * n_envs
        length = prod(flat_space(self._envs[0].observation_space).shape)
        self.outcome = new_outcome(n_envs, length)
        self.infos: dict[int, dict[str, Any]] = {}

    def write_into(self, outcome: Outcome) -> None:
        """Let reset and step write into these arrays of E environments from now on."""
        self.outcome = outcome

    def seed(self, seed: int) -> None:
        """Let the next reset seed environment e with `seed + e`."""
        self._seeds = [(seed + e) % 2**64 for e in range(len(self._envs))]

    def reset(self) -> np.ndarray:
        """Start an episode everywhere; return the (E, D) observations (a view, overwritten)."""
        for e, env in enumerate(self._envs):
            self._write(self.outcome.observation, e, env.reset(seed=self._seeds[e])[0])
        self._seeds = [None] * len(self._envs)
        return self.outcome.observation

    def advance(self, action: np.ndarray) -> Outcome:
        """Step all environments with (E, N) actions; the next step overwrites the outcome."""
        outcome = self.outcome
        self.infos = {}
        for e, env in enumerate(self._envs):
            # A copy, because a wrapper may keep it and the shared array will be overwritten.
            observation, reward, terminated, truncated, info = env.step(action[e].copy())
            outcome.reward[e] = reward
            outcome.terminated[e], outcome.truncated[e] = terminated, truncated
            outcome.equity[e] = self._inner[e].batch.outcome.equity[0]
            if terminated or truncated:
                self._write(outcome.final_observation, e, observation)
                told = {key: value for key, value in info.items() if key not in OWN_INFO}
                if told:
                    self.infos[e] = told
                observation, _ = env.reset()
            self._write(outcome.observation, e, observation)
        return outcome

    def masks(self) -> np.ndarray:
        """Return which of hold, buy, sell can do anything: (E, N, 3) bool, where all stand now."""
        masks = [env.get_wrapper_attr("action_masks")() for env in self._envs]
        return np.stack(masks).reshape(len(masks), -1, 3)  # (E, 3N) -> (E, N, 3)

    def close(self) -> None:
        """Close every environment, so that a wrapper can put away what it holds."""
        for env in self._envs:
            env.close()

    def _write(self, out: np.ndarray, e: int, observation: Any) -> None:
        # Reshaped, or an observation of one value would fill a whole row.
        out[e] = np.asarray(observation, np.float32).reshape(out.shape[1])
