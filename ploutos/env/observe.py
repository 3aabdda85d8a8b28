"""The observation: market rows, masks, account. In: a row and an account. Out: float32 numbers.

The same functions serve training, validation and paper trading. By value, the (D,) vector is the
market part of each of the W rows of the window, the oldest first, and then the account:

| part | length | value |
|---|---|---|
| features | W * (N*F | scaled, clipped; 0 where missing |
| macro | + M | scaled, clipped; 0 where missing |
| validity of symbols | + N | 1 tradable, 0 masked |
| validity of macro | + M) | 1 known, 0 missing |
| account | 4 + 4N | see `observe_accounts` |

By reference it is the row's number, exact in float32 below 2**24, and the same account part: all
else is a function of the row alone, and whoever holds the market can gather it
(`ploutos.agent.extractor`). A window that begins before row 0 has zeros there.
"""

import numpy as np

from ploutos.compiled import compiled, compiled_apart
from ploutos.env.market import Market
from ploutos.env.memory import LINE_BYTES, flat_row, prefetch, readable_at, writable_at
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
# Values that are scaled at a time.
PART = 64


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


@compiled_apart
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
def _write_features(
    features: np.ndarray, rows: tuple[int, int], scaling: Scaling, out: np.ndarray
) -> None:
    """Scale one row of features (T, N, F) into `out`, (N*F,).

    `rows` are the row, and one that will be read soon: a part of it is asked for with each part
    that is written, so that it is there in time. All at once would keep this row's own waiting.
    """
    row, then = rows
    values, clip, length = flat_row(features, row), scaling.clip[0], out.shape[0]
    # Addresses are unsigned: added to a signed number they would become a float.
    here, there = np.int64(values.ctypes.data), np.int64(out.ctypes.data)
    step = np.int64(PART * features.itemsize)
    ahead = np.int64(features.ctypes.data) + then * length * np.int64(features.itemsize)
    for first in range(0, length, PART):
        for line in range(0, step, LINE_BYTES):
            # The compiler itself fills in the first argument of an intrinsic.
            prefetch(ahead + line)  # pyright: ignore[reportCallIssue]
        last = min(first + PART, length)
        center, inverse = scaling.center[first:last], scaling.inverse[first:last]
        if last - first == PART:
            # Arrays whose length the compiler knows: their loop has no leftovers.
            part = readable_at(here, (PART,), np.float32)
            _write_scaled(part, center, inverse, clip, writable_at(there, (PART,), np.float32))
        else:
            _write_scaled(values[first:last], center, inverse, clip, out[first:last])
        here, there, ahead = here + step, there + step, ahead + step


@compiled
def observe_row(market: Market, scaling: Scaling, rows: tuple[int, int], out: np.ndarray) -> None:
    """Write the market part of one row into `out`, float32; zeros for a row before the first.

    `rows` are the row, and one that will be observed soon (a hint without effect on the result).
    """
    row, then = rows
    if row < 0:
        out[:] = np.float32(0.0)
        return
    n_symbols, n_features = market.features.shape[1], market.features.shape[2]
    n_macro, n_values = market.macro.shape[1], n_symbols * n_features
    _write_features(market.features, (row, max(then, 0)), scaling, out[:n_values])
    rest, macro, clip = out[n_values:], market.macro[row], scaling.clip[0]
    _write_scaled(macro, scaling.macro_center, scaling.macro_inverse, clip, rest[:n_macro])
    flags = rest[n_macro:]
    _write_flags(market.valid[row], flags[:n_symbols])
    _write_flags(market.macro_valid[row], flags[n_symbols : n_symbols + n_macro])


@compiled_apart
def _write_flags(flags: np.ndarray, out: np.ndarray) -> None:
    """Write flags, uint8, as float32."""
    for i in range(out.shape[0]):
        out[i] = flags[i]


@compiled
def observe_window(
    market: Market,
    scaling: Scaling,
    rows: tuple[int, int],
    window_bars: int,
    out: np.ndarray,
) -> int:
    """Write the market part of the window that ends at a row, and return its length.

    `rows` are the row, and one whose window will be observed soon, as in `observe_row`.
    """
    n_symbols, n_features = market.features.shape[1], market.features.shape[2]
    length = n_symbols * (n_features + 1) + 2 * market.macro.shape[1]
    first, then = rows[0] - window_bars + 1, rows[1] - window_bars + 1
    for w in range(window_bars):
        after = first + w + 1 if w + 1 < window_bars else then
        observe_row(market, scaling, (first + w, after), out[w * length : (w + 1) * length])
    return window_bars * length


@compiled
def observe_rows(market: Market, scaling: Scaling, rows: np.ndarray, out: np.ndarray) -> None:
    """Write the market parts of rows (R,) int64 into `out`, (R, K) float32, as by value."""
    for i in range(rows.shape[0]):
        then = rows[min(i + 1, rows.shape[0] - 1)]
        observe_row(market, scaling, (rows[i], then), out[i])


@compiled
def observe_windows(
    market: Market, scaling: Scaling, rows: np.ndarray, window_bars: int, out: np.ndarray
) -> None:
    """Write the market parts of the windows that end at rows (R,) int64 into `out`, (R, W*K)."""
    for i in range(rows.shape[0]):
        then = rows[min(i + 1, rows.shape[0] - 1)]
        observe_window(market, scaling, (rows[i], then), window_bars, out[i])


@compiled_apart
def observe_accounts(
    account: Account,
    mark: np.ndarray,
    last_action: np.ndarray,
    room: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the account parts of L accounts, 4 + 4N float32 values each, bounded, free of scale.

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
        The accounts at the close.
    mark : (N, L) float64
        Last known close, USD.
    last_action : (N, L) float64
        As it is shown.
    room : (2 or more, L) float64
        Overwritten: room for sums.
    out : (4 + 4N, L) float32
        Written.
    """
    n_symbols, n_lanes = mark.shape
    gross, inverse = room[0], room[1]
    for lane in range(n_lanes):
        gross[lane], inverse[lane] = 0.0, 1.0 / max(account.equity[lane], 1.0)
    for n in range(n_symbols):
        for lane in range(n_lanes):
            quantity = account.quantity[n, lane]
            weight = quantity * mark[n, lane] * inverse[lane]
            gross[lane] += abs(weight)
            # Without a position there is no entry price either, and the side is 0.
            entry = account.entry_price[n, lane] if account.entry_price[n, lane] > 0.0 else 1.0
            side = 1.0 * (quantity > 0.0) - 1.0 * (quantity < 0.0)
            change = side * (mark[n, lane] / entry - 1.0)
            held = account.held_bars[n, lane]
            out[4 + n, lane] = min(max(weight, -LARGEST_WEIGHT), LARGEST_WEIGHT)
            out[4 + n_symbols + n, lane] = min(max(change, -1.0), 1.0)
            out[4 + 2 * n_symbols + n, lane] = held / (held + HALF_AGE_BARS)
            out[4 + 3 * n_symbols + n, lane] = min(max(last_action[n, lane], -1.0), 1.0)
    for lane in range(n_lanes):
        cash = account.cash[lane] * inverse[lane]
        drawdown = 1.0 - account.equity[lane] / account.peak[lane]
        out[0, lane] = min(max(cash, -LARGEST_WEIGHT), LARGEST_WEIGHT)
        out[1, lane] = min(max(drawdown, 0.0), 1.0)
        out[2, lane] = min(gross[lane], LARGEST_WEIGHT)
        out[3, lane] = account.stopped[lane]
