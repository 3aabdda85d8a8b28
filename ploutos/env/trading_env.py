"""The scalar Gymnasium front. In: a block ref, a panel or a frame. Out: `TradingEnv`."""

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from ploutos.env.bind import bind, row_option
from ploutos.env.config import EnvConfig
from ploutos.env.scaler import Scaler
from ploutos.folds import Rows
from ploutos.portfolio.config import MICRO

if TYPE_CHECKING:
    from ploutos.env.bind import Data


class TradingEnv(gym.Env[np.ndarray, np.ndarray]):
    """Trade N symbols bar by bar: decide at a close, fill at the next open, pay the costs.

    **Action space**, by `config.portfolio.actions`:

    - `orders` (default): `MultiDiscrete([3] * N)`: per symbol 0 hold, 1 buy (add `buy_fraction` of
      equity within the limits), 2 sell (the whole position). With margin, 2 on a flat symbol sells
      short and 1 on a short position covers it. `action_masks()` tells which can do anything.
    - `weights`: `Box(0, 1, (N,))`, with margin `Box(-1, 1, (N,))`: target weights.

    A symbol without a valid bar is not traded whatever the action says.

    **Observation space**: `Box(-b, b, (D,), float32)` with b = max(clip, 2). For each of
    `window_bars` rows, the oldest first: N*F scaled features, M scaled macro features, N + M
    validity flags. Then the account, 4 + 4N values:

    | value | range | count |
    |---|---|---|
    | cash, fraction of equity | [0, 1], with margin [-2, 2] | 1 |
    | drawdown from the episode's peak, at closes | [0, 1] | 1 |
    | value of all positions, fraction of equity | [0, 1], with margin [0, 2] | 1 |
    | 1 once the drawdown stop was reached | {0, 1} | 1 |
    | weight | [0, 1], with margin [-2, 2] | N |
    | return of the position since its average entry | [-1, 1] | N |
    | age `held / (held + 20)` of the position, in bars | [0, 1) | N |
    | last action: buy 1, sell -1, hold 0; or the target weight | [-1, 1] | N |

    With `by_reference` the market part is the row's number alone, at index 0.

    **Reward**: the weighted sum of `config.reward`; by default 100 times the log return of equity
    from close to close, after all costs.

    **Start state**: a window of `episode_bars` decisions that starts anywhere in the rows (each
    decision row is equally likely to be visited), all in cash. `reset(options={"row": t})` starts
    at row t.

    **End of episode**: `truncated` at the end of the window; `terminated` when equity falls to
    `ruin_fraction` of the initial cash.

    **Info**: `row` (of the observation), `equity_usd`.

    **Version**: v0.

    Parameters
    ----------
    data : BlockRef, Panel, or a pandas or Polars frame of OHLCV
        The market. A ref is attached read-only: any number of environments share one copy. Of a
        frame the features are computed first, as `ploutos.features.FeatureEngineer` does.
    config : EnvConfig
        Account, actions, costs, episode, reward, observation.
    rows : Rows, optional
        Half-open range of panel rows to stay inside; default: all rows after the warm-up.
    scaler : Scaler, optional
        Default: fitted on `rows`. For validation pass the policy's own.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        data: "Data",
        config: EnvConfig | None = None,
        rows: Rows | None = None,
        scaler: Scaler | None = None,
    ) -> None:
        self.batch, self._block = bind(data, config, rows, scaler, (1, 1))
        self.action_space = self.batch.action_space
        self.observation_space = self.batch.observation_space
        self._seeded = False
        self._restarted = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; `seed` starts the environment's random stream anew.

        Raises
        ------
        EnvironmentConfigError
            If `options` holds something else than a decision row of the environment's rows.
        """
        super().reset(seed=seed, options=options)
        if seed is not None or not self._seeded:
            self.batch.seed(int(self.np_random.integers(2**62)) if seed is None else seed)
            self._seeded, self._restarted = True, False
        # The kernel has already started the next episode when the last one ended; drawing again
        # would leave the random stream that the vector fronts follow.
        if not self._restarted:
            self.batch.reset()
        self._restarted = False
        if options:
            self.batch.move_to(row_option(options))
        return self.batch.outcome.observation[0].copy(), self._info(self.batch.accounts.equity[0])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Trade one bar. After an end the caller resets, as Gymnasium asks."""
        batch = self.batch
        row = int(batch.episodes.row[0])
        outcome = batch.step(np.asarray(action)[None])  # (N,) -> (1, N)
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._restarted = terminated or truncated
        source = outcome.final_observation if self._restarted else outcome.observation
        info = {"row": row + 1, "equity_usd": float(outcome.equity[0]) / MICRO}
        return source[0].copy(), float(outcome.reward[0]), terminated, truncated, info

    def action_masks(self) -> np.ndarray:
        """Return which actions can do anything, (3N,) bool: hold, buy, sell of each symbol."""
        return self.batch.masks().reshape(-1)  # (1, N, 3) -> (3N,)

    def close(self) -> None:
        """Detach from the block."""
        if self._block is not None:
            del self.batch
            self._block.close()
            self._block = None

    def _info(self, equity: float) -> dict[str, Any]:
        return {"row": int(self.batch.episodes.row[0]), "equity_usd": float(equity) / MICRO}
