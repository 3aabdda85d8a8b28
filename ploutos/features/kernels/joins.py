"""Kernels that join two adjacent windows. In: columns of window results. Out: those of the union.

A window of n bars is the union of its newest `lag` bars, whose result stands in the same row, and
of its oldest n - lag bars, whose result stands `lag` rows before. Sums, central moments and
extremes of a union follow from those of its parts (Chan, Golub and LeVeque, Updating Formulae and
a Pairwise Algorithm for Computing Sample Variances, 1979; Pebay, Formulas for Robust One-Pass
Parallel Computation of Covariances and Arbitrary-Order Statistical Moments, 2008). Nothing that
entered is ever subtracted again, so a large or missing value leaves no trace once it has left the
window; the value does not depend on where the history starts; and every row is computed alike, so
that vector units take several at once.

Each kernel gets, besides the lag, the number of the oldest bars. `new` and `old` are (rows,) views
that are aligned already: row i of `old` is what stands `lag` rows before row i of `new`.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels import opcodes as op
from ploutos.features.kernels.arrays import OPTIONS, Column

# A window counts as constant when its deviation is below 1e-9 of its root mean square.
TINY_SQUARED = 1e-18


@njit(**OPTIONS)
def lag_pair(code: int, new: Column, old: Column, out: Column) -> None:
    """Take the value of before, or the difference to it."""
    if code == op.SHIFT:
        for i in range(len(out)):
            out[i] = old[i]
    else:
        for i in range(len(out)):
            out[i] = new[i] - old[i]


@njit(**OPTIONS)
def join_sum(new: Column, old: Column, scale: float, out: Column) -> None:
    """Return scale times the sum of both."""
    for i in range(len(out)):
        out[i] = (new[i] + old[i]) * scale


@njit(**OPTIONS)
def join_gap(new: Column, old: Column, shares: tuple[float, float], out: Column) -> None:
    """Return mean of the newest - mean of the oldest, from their sums and 1 / their numbers."""
    share_new, share_old = shares
    for i in range(len(out)):
        out[i] = new[i] * share_new - old[i] * share_old


@njit(**OPTIONS)
def join_squares(new: Column, old: Column, gap: Column, factor: float, out: Column) -> None:
    """Return the sum of squares about the mean; factor = lag oldest / n."""
    for i in range(len(out)):
        out[i] = new[i] + old[i] + factor * (gap[i] * gap[i])


@njit(**OPTIONS)
def join_trend(new: Column, old: Column, gap: Column, factor: float, out: Column) -> None:
    """Return the sum of (bar - mean bar) times value; factor = lag oldest / 2."""
    for i in range(len(out)):
        out[i] = new[i] + old[i] + factor * gap[i]


@njit(**OPTIONS)
def join_products(
    parts: tuple[Column, Column], gaps: tuple[Column, Column], factor: float, out: Column
) -> None:
    """Return the sum of products about both means; factor = lag oldest / n."""
    (new, old), (gap_x, gap_y) = parts, gaps
    for i in range(len(out)):
        out[i] = new[i] + old[i] + factor * (gap_x[i] * gap_y[i])


@njit(**OPTIONS)
def join_third(
    cubes: tuple[Column, Column],
    squares: tuple[Column, Column],
    gap: Column,
    sizes: tuple[float, float],
    out: Column,
) -> None:
    """Return the sum of cubes about the mean."""
    (new, old), (new_two, old_two), (n_new, n_old) = cubes, squares, sizes
    n = n_new + n_old
    first, second = n_new * n_old * (n_old - n_new) / (n * n), 3.0 / n
    for i in range(len(out)):
        d = gap[i]
        mixed = n_old * new_two[i] - n_new * old_two[i]
        out[i] = new[i] + old[i] + d * (first * (d * d) + second * mixed)


@njit(**OPTIONS)
def join_fourth(
    fourths: tuple[Column, Column],
    lower: tuple[Column, Column, Column, Column],
    gap: Column,
    sizes: tuple[float, float],
    out: Column,
) -> None:
    """Return the sum of fourth powers about the mean; `lower` is the cubes and the squares."""
    (new, old), (n_new, n_old) = fourths, sizes
    new_three, old_three, new_two, old_two = lower
    n = n_new + n_old
    first = n_new * n_old * (n_old * n_old - n_old * n_new + n_new * n_new) / n**3
    second, third = 6.0 / (n * n), 4.0 / n
    for i in range(len(out)):
        d = gap[i]
        squares = n_old * n_old * new_two[i] + n_new * n_new * old_two[i]
        cubes = n_old * new_three[i] - n_new * old_three[i]
        own = d * (d * (first * (d * d) + second * squares) + third * cubes)
        out[i] = new[i] + old[i] + own


@njit(**OPTIONS)
def join_extreme(code: int, new: Column, old: Column, out: Column) -> None:
    """Return the larger or the smaller, missing where one is; the two windows may overlap."""
    if code == op.JOIN_MAXIMUM:
        for i in range(len(out)):
            larger = new[i] if new[i] >= old[i] else old[i]
            out[i] = new[i] if new[i] != new[i] else larger
    else:
        for i in range(len(out)):
            smaller = new[i] if new[i] <= old[i] else old[i]
            out[i] = new[i] if new[i] != new[i] else smaller


@njit(**OPTIONS)
def join_age(
    ages: tuple[Column, Column], largest: tuple[Column, Column], lag: int, out: Column
) -> None:
    """Return how many bars ago the largest was, the newest of several equal."""
    (new, old), (new_largest, old_largest) = ages, largest
    for i in range(len(out)):
        age = new[i] if new_largest[i] >= old_largest[i] else old[i] + lag
        # What is missing in either window makes its age missing.
        out[i] = age + 0.0 * (new[i] + old[i])


@njit(**OPTIONS)
def deviation(squares: Column, sums: Column, n: int, freedom: float, out: Column) -> None:
    """Return sqrt(squares / freedom), NaN where the window's values are constant."""
    share, spread = 1.0 / n, 1.0 / freedom if freedom > 0.0 else np.nan
    for i in range(len(out)):
        tiny = TINY_SQUARED * (squares[i] + sums[i] * sums[i] * share)
        out[i] = np.sqrt(squares[i] * spread if squares[i] > tiny else np.nan)


@njit(**OPTIONS)
def standard_moment(
    code: int, powers: Column, squares: Column, sums: Column, n: int, out: Column
) -> None:
    """Return the skewness or the excess kurtosis, biased; NaN where the values are constant."""
    share = 1.0 / n
    for i in range(len(out)):
        tiny = TINY_SQUARED * (squares[i] + sums[i] * sums[i] * share)
        second = squares[i] * share if squares[i] > tiny else np.nan
        if code == op.SKEWNESS:
            out[i] = powers[i] * share / (second * np.sqrt(second))
        else:
            out[i] = powers[i] * share / (second * second) - 3.0
