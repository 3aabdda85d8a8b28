"""The observation: market rows, masks, account. In: a row and an account. Out: float32 numbers.

The same functions serve training, validation and paper trading. By value, the (D,) vector is the
market part of each of the W rows of the window, the oldest first, and then the account:

| part | length | value |
|---|---|---|
| features | W * (N*F | scaled, clipped; 0 where missing |
| macro | + M | scaled, clipped; 0 where missing |
| validity of symbols | + N | 1 tradable, 0 masked |
| validity of macro | + M) | 1 known, 0 missing |
| account | 4 + 4N | see `observe_account` |

By reference it is the row's number, exact in float32 below 2**24, and the same account part: all
else is a function of the row alone, and whoever holds the market can gather it
(`ploutos.agent.extractor`). A window that begins before row 0 has zeros there.
"""

import numpy as np

from ploutos.compiled import compiled
from ploutos.env.market import Market
from ploutos.env.memory import flat_row
from ploutos.env.scaler import Scaling
from ploutos.panel import Panel
from ploutos.portfolio.orders import Account

ACCOUNT_FIXED = 4
ACCOUNT_PER_SYMBOL = 4
# A holding of this many bars shows as an age of one half.
HALF_AGE_BARS = 20.0
# Weights beyond this, which only a margin account can reach, show as this.
LARGEST_WEIGHT = 2.0
MOST_ROWS = 2**24


def account_length(n_symbols: int) -> int:
    """Return A, the number of account values in an observation."""
    return ACCOUNT_FIXED + ACCOUNT_PER_SYMBOL * n_symbols


def market_length(market: Market | Panel) -> int:
    """Return the length of one row's market part."""
    n_symbols, n_features = market.features.shape[1:]
    return n_symbols * (n_features + 1) + 2 * market.macro.shape[1]


def observation_length(market: Market | Panel, window_bars: int) -> int:
    """Return D, the length of a by-value observation of a market or of the panel it is bound to."""
    return window_bars * market_length(market) + account_length(market.features.shape[1])


@compiled
def _write_scaled(
    values: np.ndarray, center: np.ndarray, inverse: np.ndarray, clip: float, out: np.ndarray
) -> None:
    """Scale values; NaN becomes 0 (the validity mask says that it is missing)."""
    for i in range(out.shape[0]):
        scaled = (values[i] - center[i]) * inverse[i]
        # In this order a comparison with NaN is false and leaves NaN to the last line.
        scaled = clip if scaled > clip else scaled
        scaled = -clip if scaled < -clip else scaled
        out[i] = scaled if scaled == scaled else np.float32(0.0)  # noqa: PLR0124 - false for NaN


@compiled
def observe_row(market: Market, scaling: Scaling, row: int, out: np.ndarray) -> None:
    """Write the market part of one row into `out`, float32; zeros for a row before the first."""
    if row < 0:
        out[:] = np.float32(0.0)
        return
    n_symbols, n_features = market.features.shape[1], market.features.shape[2]
    n_macro, n_values = market.macro.shape[1], n_symbols * n_features
    clip, features = scaling.clip[0], flat_row(market.features, row)
    _write_scaled(features, scaling.center, scaling.inverse, clip, out[:n_values])
    rest = out[n_values:]
    macro = market.macro[row]
    _write_scaled(macro, scaling.macro_center, scaling.macro_inverse, clip, rest[:n_macro])
    for n in range(n_symbols):
        rest[n_macro + n] = market.valid[row, n]
    for m in range(n_macro):
        rest[n_macro + n_symbols + m] = market.macro_valid[row, m]


@compiled
def observe_window(
    market: Market, scaling: Scaling, row: int, window_bars: int, out: np.ndarray
) -> int:
    """Write the market part of the window that ends at `row`, and return its length."""
    n_symbols, n_features = market.features.shape[1], market.features.shape[2]
    length = n_symbols * (n_features + 1) + 2 * market.macro.shape[1]
    for w in range(window_bars):
        part = out[w * length : (w + 1) * length]
        observe_row(market, scaling, row - window_bars + 1 + w, part)
    return window_bars * length


@compiled
def observe_rows(market: Market, scaling: Scaling, rows: np.ndarray, out: np.ndarray) -> None:
    """Write the market parts of rows (R,) int64 into `out`, (R, K) float32, as by value."""
    for i in range(rows.shape[0]):
        observe_row(market, scaling, rows[i], out[i])


@compiled
def observe_account(
    account: Account, mark: np.ndarray, last_action: np.ndarray, out: np.ndarray
) -> None:
    """Write the account part, 4 + 4N float32 values, all bounded and free of scale.

    | value | range | count |
    |---|---|---|
    | cash, fraction of equity | [0, 1], with margin [-2, 2] | 1 |
    | drawdown from the peak, at closes | [0, 1] | 1 |
    | value of all positions, fraction of equity | [0, 1], with margin [0, 2] | 1 |
    | 1 once the drawdown stop was reached | {0, 1} | 1 |
    | weight | [0, 1], with margin [-2, 2] | N |
    | return since the average entry, of the position | [-1, 1] | N |
    | age `held / (held + 20)`, in bars | [0, 1) | N |
    | last action: buy 1, sell -1, hold 0; or the target weight | [-1, 1] | N |

    Parameters
    ----------
    account : Account
        The account at the close.
    mark : (N,) float64
        Last known close, USD.
    last_action : (N,) float64
        As it is shown.
    out : (4 + 4N,) float32
        Written.
    """
    n_symbols = mark.shape[0]
    inverse = 1.0 / max(account.equity, 1.0)
    weights, returns = out[4 : 4 + n_symbols], out[4 + n_symbols : 4 + 2 * n_symbols]
    ages, actions = out[4 + 2 * n_symbols : 4 + 3 * n_symbols], out[4 + 3 * n_symbols :]
    gross = 0.0
    for n in range(n_symbols):
        quantity = account.quantity[n]
        weight = quantity * mark[n] * inverse
        gross += abs(weight)
        weights[n] = min(max(weight, -LARGEST_WEIGHT), LARGEST_WEIGHT)
        # Without a position there is no entry price either, and the side is 0.
        entry = account.entry_price[n] if account.entry_price[n] > 0.0 else 1.0
        side = 1.0 * (quantity > 0.0) - 1.0 * (quantity < 0.0)
        change = side * (mark[n] / entry - 1.0)
        returns[n] = min(max(change, -1.0), 1.0)
        ages[n] = account.held_bars[n] / (account.held_bars[n] + HALF_AGE_BARS)
        actions[n] = min(max(last_action[n], -1.0), 1.0)
    out[0] = min(max(account.cash * inverse, -LARGEST_WEIGHT), LARGEST_WEIGHT)
    out[1] = min(max(1.0 - account.equity / account.peak, 0.0), 1.0)
    out[2] = min(gross, LARGEST_WEIGHT)
    out[3] = account.stopped
