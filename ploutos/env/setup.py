"""A config in the kernel's terms, and the spaces it implies. In: a form. Out: numbers, spaces."""

import gymnasium as gym
import numpy as np

from ploutos.compiled import compiled
from ploutos.env.config import EnvConfig
from ploutos.env.kernel import Setup
from ploutos.env.market import Market
from ploutos.env.observe import LARGEST_WEIGHT, MOST_ROWS, account_length, observation_length
from ploutos.env.reward import reward_weights
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.panel import Panel
from ploutos.portfolio.config import OrderActions, initial_cash_micro, rules_of


def setup_of(config: EnvConfig, rows: Rows) -> Setup:
    """Put the config and the rows `[start, stop)` into the kernel's units.

    The decision rows are `[start, stop - 1)`: the last row only marks the last fill.

    Raises
    ------
    EnvironmentConfigError
        If there are fewer than two rows.
    """
    if rows.stop - rows.start < 2:
        raise EnvironmentConfigError(
            f"expected at least 2 rows (a decision and the bar that fills it), received "
            f"[{rows.start}, {rows.stop}). Give the environment a longer range of rows."
        )
    cash = initial_cash_micro(config.portfolio)
    return Setup(
        rules=rules_of(config.portfolio),
        reward=reward_weights(config.reward),
        initial_cash_micro=cash,
        ruin_micro=float(int(cash * config.ruin_fraction)),
        first_row=rows.start,
        stop_row=rows.stop - 1,
        episode_bars=config.episode_bars or 0,
        window_bars=config.window_bars,
        by_reference=config.by_reference,
    )


def check_market(market: Market, config: EnvConfig, rows: Rows) -> None:
    """Refuse rows outside the market, and a market that the config cannot trade in.

    Raises
    ------
    EnvironmentConfigError
        If so.
    """
    n_rows = market.mark.shape[0]
    if not 0 <= rows.start < rows.stop <= n_rows:
        raise EnvironmentConfigError(
            f"expected rows inside [0, {n_rows}), received "
            f"[{rows.start}, {rows.stop}). Use a fold of this panel."
        )
    if config.by_reference and n_rows > MOST_ROWS:
        raise EnvironmentConfigError(
            f"expected at most {MOST_ROWS} rows for observations by reference (a float32 holds no "
            f"larger row number), received {n_rows}. Observe by value, or split the panel."
        )
    costs = config.portfolio.costs
    needs_volume = costs.maximum_participation is not None
    if needs_volume and not market.volume[rows.start : rows.stop].any():
        raise EnvironmentConfigError(
            "expected volumes, because maximum_participation limits an order to a part of them; "
            f"received none in rows [{rows.start}, {rows.stop}), so nothing could ever be filled. "
            "Set costs.maximum_participation to null to trade without this limit."
        )


def observation_space(market: Market | Panel, config: EnvConfig) -> gym.spaces.Box:
    """Return the bounds of an observation, (D,) float32."""
    bound = max(config.clip, LARGEST_WEIGHT)
    if not config.by_reference:
        length = observation_length(market, config.window_bars)
        return gym.spaces.Box(-bound, bound, (length,), np.float32)
    n_rows, n_symbols = market.features.shape[:2]
    low = np.full(1 + account_length(n_symbols), -bound, np.float32)
    high = -low
    low[0], high[0] = 0, n_rows - 1
    return gym.spaces.Box(low, high, dtype=np.float32)


def action_space(config: EnvConfig, n_symbols: int) -> gym.spaces.MultiDiscrete | gym.spaces.Box:
    """Return the actions: hold, buy, sell per symbol, or a target weight per symbol."""
    if isinstance(config.portfolio.actions, OrderActions):
        return gym.spaces.MultiDiscrete([3] * n_symbols)
    least = 0.0 if config.portfolio.margin is None else -1.0
    return gym.spaces.Box(least, 1.0, (n_symbols,), np.float32)


def check_actions(action: np.ndarray, n_envs: int, n_symbols: int, by_weight: float) -> np.ndarray:
    """Return the actions as row-major (E, N) int64 or float64; a copy only if they are neither.

    Raises
    ------
    EnvironmentConfigError
        If the actions have the wrong shape, a value other than 0, 1, 2, or a weight that is not
        finite. Weights outside their range are the kernel's to clip.
    """
    given = np.asarray(action)
    if given.shape != (n_envs, n_symbols):
        raise EnvironmentConfigError(
            f"expected actions of shape ({n_envs}, {n_symbols}), "
            f"received {given.shape}: one row per environment, one action per symbol."
        )
    if by_weight != 0.0:
        action = np.ascontiguousarray(given, np.float64)
        if not np.isfinite(action).all():
            raise EnvironmentConfigError(f"expected finite target weights, received {given}.")
        return action
    if given.dtype.kind not in "iu":
        raise EnvironmentConfigError(
            f"expected integer actions 0 (hold), 1 (buy) or 2 (sell), received {given.dtype}."
        )
    action = np.ascontiguousarray(given, np.int64)
    bad = first_bad_action(action)
    if bad >= 0:
        e, n = divmod(bad, n_symbols)
        raise EnvironmentConfigError(
            f"expected actions 0 (hold), 1 (buy) or 2 (sell), received {action[e, n]} for symbol "
            f"{n} of environment {e}."
        )
    return action


@compiled
def first_bad_action(action: np.ndarray) -> int:
    """Return the flat index of the first action that is not 0, 1 or 2; -1 if there is none."""
    flat, bad = action.ravel(), 0
    # To count them all is quicker than to ask of each whether to go on.
    for i in range(flat.shape[0]):
        bad += (flat[i] < 0) | (flat[i] > 2)
    if bad == 0:
        return -1
    at = 0
    while 0 <= flat[at] <= 2:
        at += 1
    return at
