"""Refusing numbers that nothing can be learned from. In: a rollout. Out: nothing, or the culprit.

The bounds are far beyond what a sound market, account or network gives:

| number | must lie within |
|---|---|
| observation | the bounds of the observation space, which the environment clips to |
| reward | `scale * (40 * (weights of the terms) + 1e6 * weight of the Sharpe term)` |
| value, advantage | 1,000 times that, and the last reward of an episode, which holds a value, too |
| log probability | 1e6 |

40 is more than the log return of losing a billion dollars down to the last micro-dollar (34.5).
Every check is a maximum and a minimum, which a NaN does not pass either.
"""

# SB3 has no public names for the state of its training loop.
# pyright: reportPrivateUsage=false

from typing import Any, NamedTuple

import numpy as np

from ploutos.agent.culprits import UNKNOWN_ROW, column_name, moved_most, row_name, rows_of
from ploutos.agent.learner import Learner
from ploutos.env.batch import Batch
from ploutos.env.reward import RewardWeights
from ploutos.errors import DivergedError
from ploutos.panel import Panel

LARGEST_GROWTH = 40.0
LARGEST_SHARPE = 1e6
VALUE_IN_REWARDS = 1_000.0
LARGEST_LOG_PROB = 1e6


class Scene(NamedTuple):
    """What is needed to judge a rollout and to name what is wrong with it.

    low, high (D,) float32: bounds of observations. reward, value: bounds of their size.
    """

    panel: Panel
    batch: Batch
    low: np.ndarray
    high: np.ndarray
    reward: float
    value: float


def scene_of(panel: Panel, batch: Batch) -> Scene:
    """Return the bounds that the environments of a batch imply."""
    space: Any = batch.observation_space
    reward = largest_reward(batch.setup.reward)
    return Scene(panel, batch, space.low, space.high, reward, VALUE_IN_REWARDS * reward)


def largest_reward(weights: RewardWeights) -> float:
    """Return the size beyond which a reward is absurd; see the module."""
    plain = weights.log_return + weights.benchmark_return + weights.drawdown + weights.turnover
    sharpe = LARGEST_SHARPE * weights.differential_sharpe
    return weights.scale * (LARGEST_GROWTH * plain + sharpe)


def check_rollout(model: Learner, scene: Scene, first_row: np.ndarray) -> None:
    """Refuse the rollout in the learner's buffer, as far as it is filled, if a number is no good.

    Parameters
    ----------
    model : PPO or RecurrentPPO
        After a rollout, before it learns from it; or inside a rollout that failed.
    scene : Scene
        Bounds and names.
    first_row : (E,) int64
        Rows at which the environments stood when the rollout began.

    Raises
    ------
    DivergedError
        Naming the environment, the bar, and the symbol or feature.
    """
    buffer = model.rollout_buffer
    filled = slice(0, buffer.pos)
    ended = np.asarray(model._last_episode_starts, np.bool_)[None]
    starts = np.concatenate([np.asarray(buffer.episode_starts[filled]) != 0, ended])  # (S+1, E)
    observed = Bounds("observations", scene.low, scene.high)
    rewarded = scene.reward + scene.value * starts[1:]  # (S, E)
    found = [
        _first_outside(buffer.observations[filled], observed),
        _first_outside(np.asarray(model._last_obs)[None], observed, buffer.pos),
        _first_outside(buffer.values[filled], _within("values", scene.value)),
        _first_outside(buffer.log_probs[filled], _within("log_probs", LARGEST_LOG_PROB)),
        _first_outside(buffer.rewards[filled], _within("rewards", rewarded)),
    ]
    if buffer.full and not any(found):
        # Looked at last: one bad reward spoils the advantages of all steps before it.
        found = [_first_outside(buffer.advantages, _within("advantages", 2 * scene.value))]
    bad = min((one for one in found if one is not None), key=lambda one: one.at[0], default=None)
    if bad is not None:
        now = scene.batch.episodes.row
        rows = rows_of(starts, first_row, now if _stands_behind(model, scene) else None)
        if scene.batch.setup.by_reference:
            seen = np.asarray(buffer.observations[filled])[:, :, 0]
            rows = np.where(np.isfinite(seen) & (rows == UNKNOWN_ROW), seen, rows)
        raise DivergedError(_sentence(bad, scene, np.concatenate([rows, now[None]])))


class Bounds(NamedTuple):
    """What an array is called, and bounds that are broadcast against it."""

    name: str
    low: Any
    high: Any


class Outside(NamedTuple):
    """The first number outside its bounds; at (step, environment, ...)."""

    bounds: Bounds
    at: tuple[int, ...]
    value: float


def _within(name: str, size: Any) -> Bounds:
    return Bounds(name, -size, size)


def _first_outside(values: Any, bounds: Bounds, first_step: int = 0) -> Outside | None:
    """Return the first of (S, E, ...) values that is not inside its bounds, or None."""
    values = np.asarray(values)
    axes = tuple(range(values.ndim - np.ndim(bounds.low)))
    if values.size == 0 or (
        np.all(values.max(axes) <= bounds.high) and np.all(values.min(axes) >= bounds.low)
    ):
        return None
    outside = ~((values >= bounds.low) & (values <= bounds.high))
    index = tuple(int(i) for i in np.argwhere(outside)[0])
    return Outside(bounds, (index[0] + first_step, *index[1:]), float(values[index]))


def _stands_behind(model: Learner, scene: Scene) -> bool:
    """Tell whether the environments stand where the buffer ends, and not a step further."""
    taken = (model.num_timesteps - model._num_timesteps_at_start) // scene.batch.n_envs
    return (taken - model.rollout_buffer.pos) % model.rollout_buffer.buffer_size == 0


def _sentence(bad: Outside, scene: Scene, rows: np.ndarray) -> str:
    step, e = bad.at[:2]
    name, row = bad.bounds.name, int(rows[step, e])
    where = f"environment {e}, step {step} of the rollout, {row_name(scene.panel, row)}"
    if name == "observations":
        where += f", {column_name(scene.panel, scene.batch.setup, bad.at[2])}"
    elif name == "rewards":
        where += f"; {moved_most(scene.panel, scene.batch.market, row)}"
    return (
        f"expected sound {name}, received {bad.value:.6g}: {where}. Nothing was learned from this "
        "rollout."
    )
