"""Kernels whose value depends on the one before. In: float64 columns. Out: a column.

Exponential means run over the whole segment. The adaptive mean, whose memory has no bound, is
defined on a trailing window of n bars: the value is that of a run which starts at the window's
oldest bar.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column


# One product of the sum may be fused with it, to halve the wait for the last mean. The other one is
# taken before: which of two is fused would be for the compiler to say, anew in every copy it makes.
@njit(fastmath={"contract"}, **OPTIONS)
def _accumulate(state: float, rest: float, out: Column) -> None:
    for i in range(len(out)):
        # A branch, not a choice between two numbers: nothing then waits but the mean itself.
        if out[i] - out[i] == 0.0:
            state = out[i] + rest * state
        out[i] = state


@njit(**OPTIONS)
def exponential(x: Column, weight: float, out: Column, start: int) -> None:
    """Return the exponential mean, started on the first value and kept where x is missing."""
    state = out[start - 1] if start > 0 else np.nan
    own, to = x[start:], out[start:]
    first = 0
    while np.isnan(state) and first < len(own):
        if own[first] - own[first] == 0.0:
            state = own[first]
        to[first] = state
        first += 1
    own, to = own[first:], to[first:]
    for i in range(len(own)):
        to[i] = weight * own[i]
    _accumulate(state, 1.0 - weight, to)


@njit(**OPTIONS)
def product(x: Column, out: Column, start: int) -> None:
    """Return the running product."""
    state = out[start - 1] if start > 0 else 1.0
    own, to = x[start:], out[start:]
    for i in range(len(own)):
        state *= own[i]
        to[i] = state


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
