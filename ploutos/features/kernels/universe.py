"""Kernels over the symbols of one bar. In: a column, the group of each row. Out: a column."""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column, Integers, entry

PAIRWISE = 512


@entry
def same_instants(instants: Integers, bounds: Integers) -> bool:
    """Tell whether every segment has the instants of the first."""
    length = bounds[1]
    for part in range(1, len(bounds) - 1):
        if bounds[part + 1] - bounds[part] != length:
            return False
        for i in range(length):
            if instants[bounds[part] + i] != instants[i]:
                return False
    return True


@entry
def group_numbers(
    instants: Integers, bounds: Integers, distinct: Integers, groups: Integers
) -> None:
    """Write for each row where its instant stands among the distinct ones, all sorted."""
    for part in range(len(bounds) - 1):
        at = np.searchsorted(distinct, instants[bounds[part]])
        for i in range(bounds[part], bounds[part + 1]):
            while distinct[at] < instants[i]:
                at += 1
            groups[i] = at


@entry
def members(groups: Integers, n_groups: int) -> tuple[Integers, Integers]:
    """Return (bounds, rows): the rows of group g are `rows[bounds[g]:bounds[g + 1]]`, in order."""
    bounds = np.zeros(n_groups + 1, np.int64)
    for group in groups:
        bounds[group + 1] += 1
    for g in range(n_groups):
        bounds[g + 1] += bounds[g]
    place = bounds[:-1].copy()
    rows = np.empty(len(groups), np.int64)
    for i in range(len(groups)):
        rows[place[groups[i]]] = i
        place[groups[i]] += 1
    return bounds, rows


@entry
def group_mean(x: Column, groups: Integers, n_groups: int, out: Column) -> None:
    """Write the mean of each row's group, NaN where the group has no value."""
    total, count = np.zeros(n_groups), np.zeros(n_groups)
    for i in range(len(x)):
        if x[i] - x[i] == 0.0:
            total[groups[i]] += x[i]
            count[groups[i]] += 1.0
    for i in range(len(x)):
        out[i] = total[groups[i]] / count[groups[i]]


@njit(**OPTIONS)
def _count_pairs(values: Column, ranks: Integers) -> None:
    """Compare all pairs, several at once; faster than a sort up to `PAIRWISE` values."""
    ranks[:] = -1
    for other in values:
        for j in range(len(values)):
            ranks[j] += np.int64(other < values[j]) + np.int64(other <= values[j])


@njit(**OPTIONS)
def _sort_values(values: Column, ranks: Integers) -> None:
    order = np.argsort(values)
    first = 0
    while first < len(values):
        last = first
        while last + 1 < len(values) and values[order[last + 1]] == values[order[first]]:
            last += 1
        ranks[order[first : last + 1]] = first + last
        first = last + 1


@entry
def group_rank(x: Column, bounds: Integers, rows: Integers, out: Column) -> None:
    """Write (average rank - 0.5) / number of the values in each group, NaN where x is missing."""
    widest = np.max(bounds[1:] - bounds[:-1])
    values = np.empty(widest)
    ranks, known = np.empty(widest, np.int64), np.empty(widest, np.int64)
    for g in range(len(bounds) - 1):
        count = 0
        for row in rows[bounds[g] : bounds[g + 1]]:
            out[row] = np.nan
            if x[row] - x[row] == 0.0:
                values[count], known[count] = x[row], row
                count += 1
        if count <= PAIRWISE:
            _count_pairs(values[:count], ranks[:count])
        else:
            _sort_values(values[:count], ranks[:count])
        for j in range(count):
            out[known[j]] = (0.5 * ranks[j] + 0.5) / count
