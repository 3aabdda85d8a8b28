"""Kernels of the order inside a trailing window. In: float64 columns. Out: a column.

A window is NaN until it holds n values. The loop over rows is the inner one, so that several rows
are compared at once.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column, Integers

LANES = 256


@njit(**OPTIONS)
def _last_missing(x: Column, row: int) -> int:
    """Return the newest row up to `row` at which x is missing, -1 where there is none."""
    for i in range(row, -1, -1):
        if x[i] != x[i]:
            return i
    return -1


@njit(**OPTIONS)
def _hide_short_windows(x: Column, n: int, out: Column, start: int) -> None:
    gap = _last_missing(x, min(start, len(x) - 1))
    for i in range(start, len(out)):
        if x[i] != x[i]:
            gap = i
        if i - gap < n:
            out[i] = np.nan


@njit(**OPTIONS)
def _count_below(old: Column, now: Column, twice: Integers) -> None:
    """Add to `twice` 2 where an old value is below the one of now, 1 where it is equal."""
    for i in range(len(twice)):
        twice[i] += np.int64(old[i] < now[i]) + np.int64(old[i] <= now[i])


@njit(**OPTIONS)
def _count_four(old: tuple[Column, Column, Column, Column], now: Column, twice: Integers) -> None:
    """Do what `_count_below` does for four values, reading and writing the count once."""
    a, b, c, d = old
    for i in range(len(twice)):
        v = now[i]
        first = np.int64(a[i] < v) + np.int64(a[i] <= v) + np.int64(b[i] < v) + np.int64(b[i] <= v)
        last = np.int64(c[i] < v) + np.int64(c[i] <= v) + np.int64(d[i] < v) + np.int64(d[i] <= v)
        twice[i] += first + last


@njit(**OPTIONS)
def window_rank(x: Column, n: int, out: Column, start: int) -> None:
    """Return the mid-rank of the newest value among the last n, (average rank - 0.5) / n."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    lanes = np.empty(min(LANES, rows - start), np.int64)
    for low in range(max(start, n - 1), rows, LANES):
        high = min(low + LANES, rows)
        now, twice = x[low:high], lanes[: high - low]
        twice[:] = 0
        lag = 1
        while lag + 3 < n:
            four = (
                x[low - lag : high - lag],
                x[low - lag - 1 : high - lag - 1],
                x[low - lag - 2 : high - lag - 2],
                x[low - lag - 3 : high - lag - 3],
            )
            _count_four(four, now, twice)
            lag += 4
        while lag < n:
            _count_below(x[low - lag : high - lag], now, twice)
            lag += 1
        own = out[low:high]
        for i in range(len(own)):
            own[i] = (0.5 * twice[i] + 0.5) / n
    _hide_short_windows(x, n, out, start)


@njit(**OPTIONS)
def window_spread(x: Column, mean: Column, n: int, out: Column, start: int) -> None:
    """Return the mean of |value - mean| over the last n values, `mean` being theirs."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    for low in range(max(start, n - 1), rows, LANES):
        high = min(low + LANES, rows)
        centre, total = mean[low:high], out[low:high]
        total[:] = 0.0
        for lag in range(n):
            old = x[low - lag : high - lag]
            for i in range(len(total)):
                total[i] += abs(old[i] - centre[i])
        for i in range(len(total)):
            total[i] /= n


@njit(**OPTIONS)
def _replace(ordered: Column, old: float, new: float) -> None:
    """Take one value out of the ascending list and put another in, moving what lies between."""
    at, to = np.uint64(0), np.uint64(0)
    # Over so few, comparing all beats a search that branches.
    for value in ordered:
        at += np.uint64(value < old)
        to += np.uint64(value < new)
    one = np.uint64(1)
    if to > at:
        while at + one < to:
            ordered[at] = ordered[at + one]
            at += one
    else:
        while at > to:
            ordered[at] = ordered[at - one]
            at -= one
    ordered[at] = new


@njit(**OPTIONS)
def window_median(x: Column, n: int, out: Column, start: int) -> None:
    """Return the median of the last n values; what is missing is kept as an infinity."""
    ordered = np.full(n, np.inf)
    low, high = (n - 1) // 2, n // 2
    first = max(start - n + 1, 0)
    missing = n
    for i in range(first, len(out)):
        new, old = x[i], x[i - n] if i - n >= first else np.nan
        missing += int(np.isnan(new)) - int(np.isnan(old))
        _replace(ordered, np.inf if np.isnan(old) else old, np.inf if np.isnan(new) else new)
        if i >= start:
            out[i] = 0.5 * (ordered[low] + ordered[high]) if missing == 0 else np.nan
