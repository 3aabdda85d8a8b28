"""Environments to compare ours with. In: prices and features as arrays. Out: Gymnasium envs.

Two published packages on one symbol, and the leanest environment that NumPy allows on the shape of
the V9 document: the yardstick of the scalar environment, so every call of its `step` is weighed.
"""

import math
import warnings

import gymnasium as gym
import numpy as np
from numpy import add, divide, minimum, multiply, subtract

HOLD, BUY, SELL = 0, 1, 2
HALF_SPREAD, COMMISSION = 2e-4, 1e-4
# Of the open: what a bought share costs, what a sold one brings.
COST, PROCEEDS = (1 + HALF_SPREAD) * (1 + COMMISSION), (1 - HALF_SPREAD) * (1 - COMMISSION)
INITIAL_CASH_USD = 100_000.0
BUY_FRACTION = 0.25
MAXIMUM_DRAWDOWN = 0.5
REWARD_SCALE = 100.0
ACCOUNT_FIXED, ACCOUNT_PER_SYMBOL = 4, 4
# What an action means, a column per action: rows are one symbol's numbers in the account, times
# `kept`, plus `traded`. Four rows each: age, last action, shares, USD paid.
SOLD = [[0.0, 0.0, 1.0]]
KEPT = [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
TRADED = [[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
MEANING = np.array(SOLD + KEPT + TRADED)  # (9, 3)
FLOAT32 = np.dtype(np.float32)


def anytrading_env(prices, features):
    """Return gym-anytrading's stock environment on closes (T,) and features (T, F) float32.

    An observation is (1, F), an episode the whole data: T - 2 steps. All its environments share
    the arrays.
    """
    # It imports matplotlib's pyplot: not for a worker that only needs the environment below.
    from gym_anytrading.envs import StocksEnv  # noqa: PLC0415

    class Stocks(StocksEnv):
        def _process_data(self):
            return prices, self.df

    return Stocks(features, window_size=1, frame_bound=(1, len(prices)))


def gym_trading_env(prices, features):
    """Return gym-trading-env's environment on closes (T,) and features (T, F) float32.

    An observation is (F,), an episode the whole data: T - 1 steps. Every environment copies the
    data twice.
    """
    import pandas as pd  # noqa: PLC0415 - see above

    # Its import turns every warning of the process into an error; leave them as they were.
    with warnings.catch_warnings():
        from gym_trading_env.environments import TradingEnv  # noqa: PLC0415

    frame = pd.DataFrame(
        features,
        columns=[f"feature_{f}" for f in range(features.shape[1])],
        index=pd.date_range("2000-01-01", periods=len(prices), freq="h"),
    ).assign(close=prices)
    return TradingEnv(
        frame,
        positions=[0, 1],
        # Its two dynamic features would be observed on top of the F.
        dynamic_feature_functions=[],
        windows=None,
        trading_fees=HALF_SPREAD + COMMISSION,
        # "random" would draw from NumPy's global generator.
        initial_position=0,
        verbose=0,
        render_mode=None,
    )


class MinimalEnv(gym.Env):
    """Trade N symbols in plain NumPy: decide at a close, fill at the next open, mark at its close.

    Actions are 0 hold, 1 buy (add `BUY_FRACTION` of equity; all buys shrink pro rata to the cash)
    and 2 sell (the whole position; sells fill first). A symbol without an open is not traded. An
    account that has lost `MAXIMUM_DRAWDOWN` from its peak is stopped: it sells whatever it holds.
    The reward is `REWARD_SCALE` times the log return of equity, an episode `episode_bars` steps
    from a random row.

    An observation is a row of `observation_matrix`, then cash fraction, drawdown, gross exposure,
    stopped flag; then of all symbols the weight, of all the unrealised return on the opens paid,
    age (closes since the first fill, as a fraction of the episode), last action (buy 1, sell -1).

    Parameters
    ----------
    observation_matrix : (T, D) float32
        Scaled features, macro values and validity flags: what is seen of the market.
    opens, closes : (T, N) float64
        Prices in USD: NaN where a symbol has no open, the last known close everywhere.
    episode_bars : int
        Steps of an episode, less than T.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, observation_matrix, opens, closes, episode_bars):
        n_rows, n_symbols = closes.shape
        if not 0 < episode_bars < n_rows:
            raise ValueError(f"expected 0 < episode_bars < {n_rows} rows, received {episode_bars}")
        self._matrix, self._opens, self._closes = observation_matrix, opens, closes
        self._all_open = bytes(np.isfinite(opens).all(axis=1))
        self._episode_bars, self._first_rows = episode_bars, n_rows - episode_bars
        self._width = observation_matrix.shape[1]

        # One block of numbers; the names below are views of it. The first part is observed.
        length = ACCOUNT_FIXED + ACCOUNT_PER_SYMBOL * n_symbols
        self._block = np.zeros(length + 2 * n_symbols)
        self._account = self._block[:length]
        rows = self._block[ACCOUNT_FIXED:].reshape(-1, n_symbols)  # (6N,) -> (6, N)
        self._seen = rows[:2]  # weight, unrealised return
        self._held = rows[2:]  # age, last action, shares, USD paid
        self._shares, self._paid = rows[4:]

        self._meaning = np.zeros((len(MEANING), n_symbols))
        self._sold, self._kept, self._traded = (
            self._meaning[0],
            self._meaning[1:5],
            self._meaning[5:],
        )
        self._ageing, _, self._bought, self._spent = self._traded
        self._numerator, self._divisor = np.zeros((2, 2, n_symbols))  # of what is seen
        self._values, self._gain = self._numerator
        self._equities, self._basis = self._divisor
        # A Python float costs a call of NumPy half as much again as an array of no dimensions.
        self._number = np.zeros(())
        self._bar = np.full(n_symbols, 1.0 / episode_bars)
        self._nearly_zero = np.full(n_symbols, 1e-9)
        self._sell_all = np.full(n_symbols, SELL)

        self._size = self._width + length
        self.action_space = gym.spaces.MultiDiscrete([3] * n_symbols)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self._size,), np.float32)

    def reset(self, *, seed=None, options=None):
        """Start at a random row with nothing but cash."""
        super().reset(seed=seed, options=options)
        self._row = int(self.np_random.integers(self._first_rows))
        self._stop_row = self._row + self._episode_bars
        self._marks = self._closes[self._row]
        self._block.fill(0.0)
        self._account[0] = 1.0
        self._cash = self._equity = self._peak = INITIAL_CASH_USD
        self._stopped = False
        return self._observe(), {"row": self._row, "equity_usd": self._equity}

    def step(self, action):
        """Trade at the next open, mark at the next close.

        One function, arrays named before they are used, no attribute looked up on `np`: a tenth
        faster than three methods that do the same.
        """
        row = self._row + 1
        opens, closes, marks = self._opens[row], self._marks, self._closes[row]
        if self._stopped:
            action = self._sell_all
        if not self._all_open[row]:
            has_open = np.isfinite(opens)
            action = np.where(has_open, action, HOLD)
            opens = np.where(has_open, opens, 0.0)
        MEANING.take(action, 1, self._meaning, "clip")  # (9, 3), (N,) -> (9, N)
        shares, paid, held, before = self._shares, self._paid, self._held, self._equity

        sold = self._sold
        multiply(sold, shares, sold)
        cash = self._cash + float(sold.dot(opens)) * PROCEEDS
        multiply(held, self._kept, held)
        # What is still held ages by a bar (a holding of less than a cent by a little less).
        minimum(paid, self._bar, out=self._ageing)

        bought = self._bought
        divide(bought, closes, bought)  # shares that one USD buys at the close
        price = float(bought.dot(opens)) * COST
        if price > 0.0:
            number, wanted = self._number, BUY_FRACTION * before
            if wanted * price <= cash:
                number[()] = wanted
                cash -= wanted * price
            else:
                number[()] = cash / price
                cash = 0.0
            multiply(bought, number, bought)
            multiply(bought, opens, self._spent)
        add(held, self._traded, held)

        values = self._values
        multiply(shares, marks, values)
        subtract(values, paid, self._gain)
        exposure = float(shares.dot(marks))
        equity = cash + exposure
        peak = self._peak if self._peak > equity else equity
        drawdown = 1.0 - equity / peak
        if drawdown >= MAXIMUM_DRAWDOWN:
            self._stopped = True
        self._equities.fill(equity)
        add(paid, self._nearly_zero, self._basis)  # where nothing is held: 0, not NaN
        divide(self._numerator, self._divisor, self._seen)
        account = self._account
        account[0] = cash / equity
        account[1] = drawdown
        account[2] = exposure / equity
        account[3] = self._stopped

        self._row, self._marks = row, marks
        self._cash, self._equity, self._peak = cash, equity, peak
        reward = REWARD_SCALE * math.log(equity / before)
        info = {"row": row, "equity_usd": equity}
        return self._observe(), reward, False, row == self._stop_row, info

    def _observe(self):
        observation = np.empty(self._size, FLOAT32)
        observation[: self._width] = self._matrix[self._row]
        observation[self._width :] = self._account
        return observation
