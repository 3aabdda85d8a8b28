"""The newest values of a program's columns. In: its memory, or one more row. Out: the tails.

The tail of a column holds as many of its newest values as its readers look back on, so that one
more row costs one window instead of a history. A symbol's tails stand one after the other in a
line; `ends` and `lengths` tell where.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import ENTRY, Column, Integers, Matrix

Layout = tuple[Integers, Integers]


@njit(**ENTRY)
def keep_tails(values: Column, ends: Integers, count: int, layout: Layout, line: Column) -> None:
    """Copy the newest of the `count` values of every column; what is older is missing."""
    for place in range(len(ends)):
        end, length = layout[0][place], layout[1][place]
        kept = min(count, length)
        line[end - length : end - kept] = np.nan
        line[end - kept : end] = values[ends[place] - kept : ends[place]]


@njit(**ENTRY)
def make_room(tails: Matrix, layout: Layout, symbols: Integers, columns: Matrix) -> None:
    """Move the tails of the symbols by one value; write the inputs' (C, rows) newest ones."""
    ends, lengths = layout
    for i in range(len(symbols)):
        line = tails[symbols[i]]
        for place in range(len(ends)):
            last = ends[place] - 1
            tail = line[last + 1 - lengths[place] : last + 1]
            for j in range(len(tail) - 1):
                tail[j] = tail[j + 1]
            if place < len(columns):
                line[last] = columns[place, i]
