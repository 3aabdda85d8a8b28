"""Kernels whose value depends on the one before. In: float64 columns. Out: a column.

Exponential means run over the whole segment. Those with a state that decides (the trailing stop,
the parabolic) or a memory without bound (the adaptive mean) are defined on a trailing window of n
bars: the value is that of a run which starts at the window's oldest bar.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column

LANES = 256
PARABOLIC_STEP = 0.02
PARABOLIC_LIMIT = 0.2


@njit(fastmath={"contract"}, **OPTIONS)
def exponential(x: Column, weight: float, out: Column, start: int) -> None:
    """Return the exponential mean, started on the first value; NaN where x is missing."""
    state = out[start - 1] if start > 0 else np.nan
    rest = 1.0 - weight
    for i in range(start, len(out)):
        if x[i] - x[i] != 0.0:
            out[i] = np.nan
            continue
        state = weight * x[i] + rest * state if not np.isnan(state) else x[i]
        out[i] = state


@njit(**OPTIONS)
def product(x: Column, out: Column, start: int) -> None:
    """Return the running product."""
    state = out[start - 1] if start > 0 else 1.0
    for i in range(start, len(out)):
        state *= x[i]
        out[i] = state


@njit(**OPTIONS)
def trailing_average(x: Column, weight: Column, n: int, out: Column, start: int) -> None:
    """Return y, y += weight_t (x_t - y), started with y = x at the oldest of the last n bars.

    Each bar maps y to (1 - weight) y + weight x; the maps are composed in blocks as sums are.
    """
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    tail = np.zeros(n + 1)
    border = start // n * n
    while border < rows:
        slope, level = 1.0, 0.0
        for j in range(1, min(n, border + 1)):
            i = border - j
            tail[n - j] = slope * x[i] + level
            level += slope * weight[i] * x[i]
            slope *= 1.0 - weight[i]
        slope, level = 1.0, 0.0
        first = max(start, n - 1) - border
        for j in range(min(n, rows - border)):
            i = border + j
            keep = 1.0 - weight[i]
            slope *= keep
            level = keep * level + weight[i] * x[i]
            if j == n - 1 and j >= first:
                out[i] = _average_of_block(x, weight, border, n)
            elif j >= first:
                out[i] = slope * tail[j + 1] + level
        border += n


@njit(**OPTIONS)
def _average_of_block(x: Column, weight: Column, border: int, n: int) -> float:
    state = x[border]
    for i in range(border + 1, border + n):
        state += weight[i] * (x[i] - state)
    return state


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
    above, below, rising = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for low in range(max(start, n - 1), rows, LANES):
        width = min(low + LANES, rows) - low
        oldest = low - n + 1
        above[:width] = upper[oldest : oldest + width]
        below[:width] = lower[oldest : oldest + width]
        rising[:] = 1.0
        for step in range(1, n):
            high_band = upper[oldest + step : oldest + step + width]
            low_band = lower[oldest + step : oldest + step + width]
            now = close[oldest + step : oldest + step + width]
            before = close[oldest + step - 1 : oldest + step - 1 + width]
            for i in range(width):
                broken = above[i] if before[i] <= above[i] else np.inf
                above[i] = high_band[i] if high_band[i] < broken else broken
                above[i] = high_band[i] if before[i] > broken else above[i]
                held = below[i] if before[i] >= below[i] else -np.inf
                below[i] = low_band[i] if low_band[i] > held else held
                stays = 1.0 if now[i] >= below[i] else 0.0
                turns = 1.0 if now[i] > above[i] else 0.0
                rising[i] = stays if rising[i] == 1.0 else turns
        for i in range(width):
            line = below[i] if rising[i] == 1.0 else above[i]
            out[low + i] = line


@njit(**OPTIONS)
def trailing_parabolic(high: Column, low: Column, n: int, out: Column, start: int) -> None:
    """Return Wilder's parabolic stop and reverse of a run over the last n bars.

    A short position is kept mirrored (prices with their sign changed), so that one rule serves
    both; the first direction is that of the larger move from the oldest bar to the next.
    """
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    side, stop, best, pace = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for base in range(max(start, n - 1), rows, LANES):
        width = min(base + LANES, rows) - base
        for i in range(width):
            j = base + i - n + 1
            fall, rise = low[j] - low[j + 1], high[j + 1] - high[j]
            short = fall > 0.0 and rise < fall
            side[i] = -1.0 if short else 1.0
            stop[i] = -high[j] if short else low[j]
            best[i] = -low[j + 1] if short else high[j + 1]
            pace[i] = PARABOLIC_STEP
        for step in range(1, n):
            first = base - n + 1 + step
            tops, bottoms = high[first : first + width], low[first : first + width]
            lag = first - 1 if step > 1 else first
            old_tops, old_bottoms = high[lag : lag + width], low[lag : lag + width]
            for i in range(width):
                long = side[i] > 0.0
                top = tops[i] if long else -bottoms[i]
                bottom = bottoms[i] if long else -tops[i]
                old_top = old_tops[i] if long else -old_bottoms[i]
                old_bottom = old_bottoms[i] if long else -old_tops[i]
                ceiling = top if top > old_top else old_top
                floor = bottom if bottom < old_bottom else old_bottom
                turned = bottom <= stop[i]
                reversed_at = best[i] if best[i] > ceiling else ceiling
                value = reversed_at if turned else stop[i]
                new_best = top > best[i]
                faster = pace[i] + PARABOLIC_STEP
                faster = faster if faster < PARABOLIC_LIMIT else PARABOLIC_LIMIT
                pace_on = faster if new_best else pace[i]
                best_on = top if new_best else best[i]
                stop_on = value + pace_on * (best_on - value)
                stop_on = stop_on if stop_on < floor else floor
                stop_off = value + PARABOLIC_STEP * (bottom - value)
                stop_off = stop_off if stop_off > ceiling else ceiling
                out[base + i] = value * side[i]
                pace[i] = PARABOLIC_STEP if turned else pace_on
                best[i] = -bottom if turned else best_on
                stop[i] = -stop_off if turned else stop_on
                side[i] = -side[i] if turned else side[i]
