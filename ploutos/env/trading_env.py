"""The scalar Gymnasium front. In: a block ref or a panel. Out: `TradingEnv`."""

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from ploutos.block import Block, BlockRef, attach
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.env.scaler import Scaler, fit_scaler
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.panel import Panel
from ploutos.portfolio.config import MICRO

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class TradingEnv(gym.Env[np.ndarray, np.ndarray]):
    """Trade N symbols bar by bar: decide at a close, fill at the next open, pay the costs.

    **Action space**: `MultiDiscrete([3] * N)`: per symbol 0 hold, 1 buy (add `buy_fraction` of
    equity within `maximum_weight`), 2 sell (the whole position). A symbol without a valid bar is
    not traded whatever the action says.

    **Observation space**: `Box(-clip, clip, (D,), float32)`, in this order: N*F scaled features,
    M scaled macro features, N + M validity flags, then the account (2 + 4N values, all bounded):

    | value | range | |
    |---|---|---|
    | cash fraction of equity | [0, 1] | once |
    | drawdown from the episode's peak | [0, 1] | once |
    | weight | [0, 1] | per symbol |
    | unrealised return since the average entry | [-1, 1] | per symbol |
    | age `held / (held + 20)` of the holding, in bars | [0, 1) | per symbol |
    | last action: hold 0, buy 1, sell -1 | {-1, 0, 1} | per symbol |

    **Reward**: `reward_scale * ln(equity_{t+1} / equity_t)`, equity marked at closes, after costs.

    **Start state**: a window of at most `episode_bars` decisions that starts anywhere in the rows
    (each decision row is equally likely to be visited), all in cash.

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
        Account, costs, episode, reward.
    rows : Rows, optional
        Half-open range of panel rows to stay inside; default: all rows after the warm-up.
    scaler : Scaler, optional
        Default: fitted on `rows`. For validation pass the policy's own.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        data: "BlockRef | Panel | pd.DataFrame | pl.DataFrame",
        config: EnvConfig | None = None,
        rows: Rows | None = None,
        scaler: Scaler | None = None,
    ) -> None:
        config = config or EnvConfig()
        self._block: Block | None = attach(data) if isinstance(data, BlockRef) else None
        panel = self._block.panel if self._block is not None else _panel_of(data)
        rows = rows or Rows(start=panel.meta.first_row, stop=panel.n_rows)
        scaler = scaler or fit_scaler(panel, rows, config.clip)
        self.batch = Batch(market_of(panel), scaler, config, rows, 1)
        self.action_space = gym.spaces.MultiDiscrete([3] * panel.n_symbols)
        bound = max(config.clip, 1.0)
        self.observation_space = gym.spaces.Box(-bound, bound, (self.batch.length,), np.float32)
        self._seeded = False
        self._restarted = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; `seed` starts the environment's random stream anew."""
        super().reset(seed=seed, options=options)
        if seed is not None or not self._seeded:
            self.batch.seed(int(self.np_random.integers(2**62)) if seed is None else seed)
            self._seeded, self._restarted = True, False
        # The kernel has already started the next episode when the last one ended; drawing again
        # would leave the random stream that the vector fronts follow.
        observation = self.batch.outcome.observation if self._restarted else self.batch.reset()
        self._restarted = False
        return observation[0].copy(), self._info(self.batch.setup.initial_cash_micro)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Trade one bar. After an end the caller resets, as Gymnasium asks."""
        row = int(self.batch.episodes.row[0])
        outcome = self.batch.step(np.asarray(action).reshape(1, -1))
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        ended = terminated or truncated
        source = outcome.final_observation if ended else outcome.observation
        info = self._info(int(outcome.equity_micro[0]))
        info["row"] = row + 1
        self._restarted = ended
        return source[0].copy(), float(outcome.reward[0]), terminated, truncated, info

    def close(self) -> None:
        """Detach from the block."""
        if self._block is not None:
            del self.batch
            self._block.close()
            self._block = None

    def _info(self, equity_micro: int) -> dict[str, Any]:
        return {"row": int(self.batch.episodes.row[0]), "equity_usd": equity_micro / MICRO}


def _panel_of(data: Any) -> Panel:
    if isinstance(data, Panel):
        return data
    if not hasattr(data, "columns"):
        raise EnvironmentConfigError(
            f"expected a BlockRef, a Panel or a frame as data, received {type(data).__name__}."
        )
    # Only here, because workers that attach a block must not load Polars and pandas.
    from ploutos.panel.frame import panel_of_frame  # noqa: PLC0415

    return panel_of_frame(data)
