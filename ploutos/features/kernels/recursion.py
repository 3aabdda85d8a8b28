"""Kernels whose value depends on the one before. In: float64 columns. Out: a column.

Exponential means run over the whole segment. The adaptive mean, whose memory has no bound, is
defined on a trailing window of n bars: the value is that of a run which starts at the window's
oldest bar.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column


# One product of a sum may be fused with it, to halve the wait for the last mean. No sum has two of
# them: which one is fused would be for the compiler to say, anew in every copy it makes.
@njit(fastmath={"contract"}, **OPTIONS)
def _accumulate_few(state: float, powers: tuple[float, float, float, float], out: Column) -> float:
    """Do what `_accumulate` does for up to four values, of which some may be missing."""
    rest, before, chain, sound = powers[0], state, 0.0, True
    for k in range(len(out)):
        if out[k] - out[k] != 0.0:
            sound = False
        elif sound:
            chain = out[k] + rest * chain
            state = chain + powers[k] * before
        else:
            state = out[k] + rest * state
        out[k] = state
    return state


@njit(fastmath={"contract"}, **OPTIONS)
def _accumulate(state: float, rest: float, out: Column) -> None:
    """Add to each value `rest` times the sum so far, four values to a step.

    Four values are chained without the sum before them, which comes in by powers of `rest`: only
    every fourth value waits for one of the same kind. A value is made of the past alone, and in
    the same way whatever follows.
    """
    square = rest * rest
    powers = rest, square, square * rest, square * square
    whole = len(out) // 4 * 4
    for base in range(np.uint64(0), np.uint64(whole), np.uint64(4)):
        at_1, at_2, at_3 = base + np.uint64(1), base + np.uint64(2), base + np.uint64(3)
        first, second, third, fourth = out[base], out[at_1], out[at_2], out[at_3]
        total = first + second + third + fourth
        if total - total == 0.0:
            second = second + rest * first
            third = third + rest * second
            fourth = fourth + rest * third
            out[base] = first + powers[0] * state
            out[at_1] = second + powers[1] * state
            out[at_2] = third + powers[2] * state
            state = fourth + powers[3] * state
            out[at_3] = state
        else:
            state = _accumulate_few(state, powers, out[base : base + np.uint64(4)])
    _accumulate_few(state, powers, out[whole:])


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
