"""A batch of environments over one market: the state that the thin fronts share.

In: a panel, rows, a scaler, a config. Out: `Batch`, with `seed`, `reset` and `step`.
"""

import numpy as np

from ploutos.env.account import observe, open_accounts
from ploutos.env.config import EnvConfig
from ploutos.env.kernel import (
    Outcome,
    Setup,
    new_episodes,
    new_outcome,
    reset,
    seed_episodes,
    step,
)
from ploutos.env.market import Market
from ploutos.env.observe import observation_length
from ploutos.env.scaler import Scaler
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio.config import initial_cash_micro, rules_of


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
        initial_cash_micro=cash,
        ruin_micro=int(cash * config.ruin_fraction),
        reward_scale=config.reward_scale,
        first_row=rows.start,
        stop_row=rows.stop - 1,
        episode_bars=config.episode_bars,
    )


def check_actions(action: np.ndarray, n_envs: int, n_symbols: int) -> np.ndarray:
    """Return the actions as row-major (E, N) int64; a copy only if they are something else.

    Raises
    ------
    EnvironmentConfigError
        If the actions have the wrong shape or a value other than 0, 1, 2.
    """
    action = np.ascontiguousarray(action, np.int64)
    if action.shape != (n_envs, n_symbols):
        raise EnvironmentConfigError(
            f"expected actions of shape ({n_envs}, {n_symbols}), "
            f"received {action.shape}: one row per environment, one action per symbol."
        )
    if action.min() < 0 or action.max() > 2:
        raise EnvironmentConfigError(
            f"expected actions 0 (hold), 1 (buy) or 2 (sell), received values from "
            f"{action.min()} to {action.max()}."
        )
    return action


class Batch:
    """E environments over one market. Not a Gymnasium class: the fronts are.

    Parameters
    ----------
    market, scaler : Market, Scaler
        What is observed.
    config : EnvConfig
        The episode.
    rows : Rows
        Half-open range of panel rows that episodes stay inside.
    n_envs : int
        E.
    """

    def __init__(
        self, market: Market, scaler: Scaler, config: EnvConfig, rows: Rows, n_envs: int
    ) -> None:
        if not 0 <= rows.start < rows.stop <= market.mark.shape[0]:
            raise EnvironmentConfigError(
                f"expected rows inside [0, {market.mark.shape[0]}), received "
                f"[{rows.start}, {rows.stop}). Use a fold of this panel."
            )
        self.market = market
        self.scaler = scaler
        self.setup = setup_of(config, rows)
        self.n_envs = n_envs
        self.n_symbols = market.mark.shape[1]
        self.length = observation_length(market)
        self.accounts = open_accounts(n_envs, self.n_symbols, self.setup.initial_cash_micro)
        self.episodes = new_episodes(n_envs)
        self.outcome = new_outcome(n_envs, self.length)

    def seed(self, seed: int) -> None:
        """Give environment e the stream that a single environment seeded `seed + e` has."""
        for e in range(self.n_envs):
            seed_episodes(self.episodes, e, seed + e)

    def reset(self) -> np.ndarray:
        """Start an episode everywhere; return the (E, D) observations (a view, overwritten)."""
        for e in range(self.n_envs):
            reset(self.episodes, self.accounts, e, self.setup)
            observe(
                self.market,
                self.scaler,
                self.accounts,
                e,
                self.episodes.row[e],
                self.outcome.observation[e],
            )
        return self.outcome.observation

    def step(self, action: np.ndarray) -> Outcome:
        """Step all environments with (E, N) actions; the outcome is overwritten by the next step.

        Raises
        ------
        EnvironmentConfigError
            If the actions have the wrong shape or a value other than 0, 1, 2.
        """
        action = check_actions(action, self.n_envs, self.n_symbols)
        step(
            (self.market, self.scaler),
            self.episodes,
            self.accounts,
            action,
            self.setup,
            self.outcome,
        )
        return self.outcome
