"""Kernels of the order inside a trailing window. In: float64 columns. Out: a column.

A window is NaN until it holds n values. The loop over rows is the inner one, so that several rows
are compared at once.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column

LANES = 256


@njit(**OPTIONS)
def last_missing(x: Column, start: int) -> int:
    """Return the newest row up to `start` at which x is missing, -1 where there is none."""
    for i in range(start, -1, -1):
        if x[i] != x[i]:
            return i
    return -1


@njit(**OPTIONS)
def _hide_short_windows(x: Column, n: int, out: Column, start: int) -> None:
    gap = last_missing(x, min(start, len(x) - 1))
    for i in range(start, len(out)):
        if x[i] != x[i]:
            gap = i
        if i - gap < n:
            out[i] = np.nan


@njit(**OPTIONS)
def window_rank(x: Column, n: int, out: Column, start: int) -> None:
    """Return the mid-rank of the newest value among the last n, (average rank - 0.5) / n."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    count = np.empty(LANES)
    for low in range(max(start, n - 1), rows, LANES):
        high = min(low + LANES, rows)
        width = high - low
        now = x[low:high]
        count[:] = 0.0
        for lag in range(1, n):
            old = x[low - lag : high - lag]
            for i in range(width):
                count[i] += (1.0 if old[i] < now[i] else 0.0) + (1.0 if old[i] <= now[i] else 0.0)
        for i in range(width):
            out[low + i] = (0.5 * count[i] + 0.5) / n
    _hide_short_windows(x, n, out, start)


@njit(**OPTIONS)
def window_spread(x: Column, mean: Column, n: int, out: Column, start: int) -> None:
    """Return the mean of |value - mean| over the last n values, `mean` being theirs."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    for low in range(max(start, n - 1), rows, LANES):
        high = min(low + LANES, rows)
        width = high - low
        centre, total = mean[low:high], out[low:high]
        total[:] = 0.0
        for lag in range(n):
            old = x[low - lag : high - lag]
            for i in range(width):
                total[i] += abs(old[i] - centre[i])
        for i in range(width):
            total[i] /= n


@njit(**OPTIONS)
def _place(ordered: Column, size: int, value: float) -> int:
    """Count the values below; over so few, comparing all beats a search that branches."""
    below = 0
    for j in range(size):
        below += 1 if ordered[j] < value else 0
    return below


@njit(**OPTIONS)
def window_median(x: Column, n: int, out: Column, start: int) -> None:
    """Return the median of the last n values."""
    ordered = np.empty(n + 1)
    size = 0
    begin = max(start - n + 1, 0)
    for i in range(begin, len(out)):
        if i - n >= begin and x[i - n] == x[i - n]:
            size -= 1
            for j in range(_place(ordered, size + 1, x[i - n]), size):
                ordered[j] = ordered[j + 1]
        if x[i] == x[i]:
            at = _place(ordered, size, x[i])
            for j in range(size, at, -1):
                ordered[j] = ordered[j - 1]
            ordered[at] = x[i]
            size += 1
        if i >= start:
            middle = 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
            out[i] = middle if size == n else np.nan


@njit(**OPTIONS)
def window_age(x: Column, n: int, out: Column, start: int) -> None:
    """Return how many rows ago the largest of the last n values was, the newest of several."""
    best = -1
    for i in range(max(start - n + 1, 0), len(out)):
        oldest = max(i - n + 1, 0)
        if best < oldest:
            best = oldest
            for j in range(oldest, i):
                if x[j] >= x[best]:
                    best = j
        if x[i] >= x[best]:
            best = i
        if i >= start:
            out[i] = i - best if i >= n - 1 else np.nan
    _hide_short_windows(x, n, out, start)
