"""Kernels with a state that decides, run over a trailing window. In: columns. Out: a column.

A stop follows the price and turns at a touch, so its value depends on where its run began: it is
defined as that of a run which starts at the oldest of the last n bars. The runs that end at many
rows are taken on together, bar by bar and without a branch, so that vector units take several.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column

LANES = 256
PARABOLIC_STEP = 0.02
PARABOLIC_LIMIT = 0.2
# Prices are whole ticks and often touch a stop that is one of them: what differs by less than this
# share is the same price, whatever the rounding errors of its unit.
TIE = 1e-9
# The states of parabolic runs lie in one array, at distances that the compiler knows: with an array
# each it would have to ask of all pairs whether they overlap, and give up.
SIDE, STOP, BEST, PACE, VALUE = (np.uint64(part * LANES) for part in range(5))


@njit(**OPTIONS)
def _advance_stops(
    states: tuple[Column, Column, Column],
    bands: tuple[Column, Column],
    closes: tuple[Column, Column],
) -> None:
    """Take (upper band, lower band, 1 in an up trend) of every run to its next bar."""
    (above, below, rising), (high_band, low_band), (before, now) = states, bands, closes
    for i in range(len(above)):
        broken = above[i] if before[i] <= above[i] else np.inf
        upper = high_band[i] if high_band[i] < broken else broken
        upper = high_band[i] if before[i] > broken else upper
        held = below[i] if before[i] >= below[i] else -np.inf
        lower = low_band[i] if low_band[i] > held else held
        stays = 1.0 if now[i] >= lower else 0.0
        turns = 1.0 if now[i] > upper else 0.0
        rising[i] = stays if rising[i] == 1.0 else turns
        above[i], below[i] = upper, lower


@njit(**OPTIONS)
def trailing_stop(
    bands: tuple[Column, Column], close: Column, n: int, out: Column, start: int
) -> None:
    """Return the Supertrend line of a run over the last n bars, which starts in an up trend.

    `bands` is (upper, lower). A band moves only towards the price until a close breaks it; the
    line is the lower band in an up trend, which ends on a close below it, else the upper band.
    """
    upper, lower = bands
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    lanes = np.empty((3, min(LANES, rows - start)))
    for low in range(max(start, n - 1), rows, LANES):
        oldest, width = low - n + 1, min(low + LANES, rows) - low
        above, below, rising = lanes[0, :width], lanes[1, :width], lanes[2, :width]
        above[:] = upper[oldest : oldest + width]
        below[:] = lower[oldest : oldest + width]
        rising[:] = 1.0
        for j in range(oldest + 1, low + 1):
            both = upper[j : j + width], lower[j : j + width]
            closes = close[j - 1 : j - 1 + width], close[j : j + width]
            _advance_stops((above, below, rising), both, closes)
        own = out[low : low + width]
        for i in range(width):
            own[i] = below[i] if rising[i] == 1.0 else above[i]


@njit(**OPTIONS)
def _first_parabolics(
    highs: tuple[Column, Column], lows: tuple[Column, Column], lanes: Column
) -> None:
    """Write the states of runs that start at a bar, as known at the next one."""
    (old_high, high), (old_low, low) = highs, lows
    for i in range(np.uint64(len(high))):
        fall, rise = old_low[i] - low[i], high[i] - old_high[i]
        tie = TIE * high[i]
        short = (fall > tie) & (fall - rise > tie)
        lanes[i + SIDE] = -1.0 if short else 1.0
        lanes[i + STOP] = -old_high[i] if short else old_low[i]
        lanes[i + BEST] = -low[i] if short else high[i]
        lanes[i + PACE] = PARABOLIC_STEP


@njit(**OPTIONS)
def _advance_parabolics(
    highs: tuple[Column, Column], lows: tuple[Column, Column], lanes: Column
) -> None:
    """Take the states of runs to their next bar and write their stops at that bar.

    `highs` and `lows` are those of the last bar and of this one. A short position is kept mirrored
    (prices with their sign changed), so that one rule serves both.
    """
    (old_high, high), (old_low, low) = highs, lows
    for i in range(np.uint64(len(high))):
        side, stop, best, pace = lanes[i + SIDE], lanes[i + STOP], lanes[i + BEST], lanes[i + PACE]
        long = side > 0.0
        top, old_top = high[i] if long else -low[i], old_high[i] if long else -old_low[i]
        bottom, old_bottom = low[i] if long else -high[i], old_low[i] if long else -old_high[i]
        ceiling = top if top > old_top else old_top
        floor = bottom if bottom < old_bottom else old_bottom
        turned = bottom <= stop + TIE * abs(stop)
        reached = best if best > ceiling else ceiling
        value = reached if turned else stop
        is_best = top > best + TIE * abs(best)
        faster = pace + PARABOLIC_STEP
        faster = faster if faster < PARABOLIC_LIMIT else PARABOLIC_LIMIT
        pace_on = faster if is_best else pace
        best_on = top if is_best else best
        stop_on = value + pace_on * (best_on - value)
        stop_on = stop_on if stop_on < floor else floor
        stop_off = value + PARABOLIC_STEP * (bottom - value)
        stop_off = stop_off if stop_off > ceiling else ceiling
        lanes[i + VALUE] = value * side
        lanes[i + PACE] = PARABOLIC_STEP if turned else pace_on
        lanes[i + BEST] = -bottom if turned else best_on
        lanes[i + STOP] = -stop_off if turned else stop_on
        lanes[i + SIDE] = -side if turned else side


@njit(**OPTIONS)
def trailing_parabolic(high: Column, low: Column, n: int, out: Column, start: int) -> None:
    """Return Wilder's parabolic stop and reverse of a run over the last n bars, n at least 2.

    The first direction is that of the larger move from the oldest bar to the next.
    """
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    lanes = np.empty(5 * LANES)
    for base in range(max(start, n - 1), rows, LANES):
        oldest, width = base - n + 1, min(base + LANES, rows) - base
        highs = high[oldest : oldest + width], high[oldest + 1 : oldest + 1 + width]
        lows = low[oldest : oldest + width], low[oldest + 1 : oldest + 1 + width]
        _first_parabolics(highs, lows, lanes)
        for j in range(oldest + 1, base + 1):
            # At the second bar of a run no bar before it counts.
            before = max(j - 1, oldest + 1)
            highs = high[before : before + width], high[j : j + width]
            lows = low[before : before + width], low[j : j + width]
            _advance_parabolics(highs, lows, lanes)
        out[base : base + width] = lanes[4 * LANES : 4 * LANES + width]
