"""The machine for one more row of many symbols. In: the tail of every column. Out: the next values.

The tail of a column holds as many of its newest values as its readers look back on, so that one
more row costs one window instead of a history. Tails stand one below the other, oldest value first,
with one column of the array per symbol: what is computed row by row, or joined from two rows, is
computed for all symbols at once.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels import opcodes as op
from ploutos.features.kernels.arrays import OPTIONS, Column, Integers, Matrix, Memory, Table, entry
from ploutos.features.kernels.machine import (
    CODE,
    FEATURE,
    FIRST_INPUT,
    TARGET,
    WARM_UP,
    join,
    row_by_row,
    window,
)

# (places,) row after the newest value of each tail, and (places,) number of its values.
Layout = tuple[Integers, Integers]
MOST_WINDOW_INPUTS = 3


@entry
def keep_tails(memory: Memory, count: int, layout: Layout, tails: Matrix, symbol: int) -> None:
    """Copy the newest of the `count` values of every column; what is older is missing."""
    values, ends = memory
    for place in range(len(ends)):
        end, length = layout[0][place], layout[1][place]
        for age in range(length):
            known = age < count
            tails[end - 1 - age, symbol] = values[ends[place] - 1 - age] if known else np.nan


@njit(**OPTIONS)
def _one_by_one(
    step: Integers, number: float, memory: Memory, need: int, shape: tuple[int, int]
) -> None:
    """Compute a window for one symbol after the other, on a copy of its own values."""
    values, ends = memory
    n_symbols, n_places = shape
    spare = np.empty((MOST_WINDOW_INPUTS + 1) * need)
    spare_ends = np.zeros(n_places, np.int64)
    target = ends[step[TARGET]]
    own = spare[MOST_WINDOW_INPUTS * need :]
    for s in range(n_symbols):
        for number_of_input in range(MOST_WINDOW_INPUTS):
            place, first = step[FIRST_INPUT + number_of_input], number_of_input * need
            for i in range(need):
                spare[first + i] = values[ends[place] - (need - i) * n_symbols + s]
            spare_ends[place] = first + need
        if need > 1:
            own[need - 2] = values[target - 2 * n_symbols + s]
        window(step, number, (spare, spare_ends), own, need - 1)
        values[target - n_symbols + s] = own[need - 1]


@njit(**OPTIONS)
def _append(values: Column, layout: Layout, columns: Matrix) -> None:
    """Move every tail by one row, and write the inputs' newest values."""
    ends, lengths = layout
    n_symbols = columns.shape[1]
    for place in range(len(ends)):
        newest = (ends[place] - 1) * n_symbols
        tail = values[(ends[place] - lengths[place]) * n_symbols : newest + n_symbols]
        after = tail[n_symbols:]
        for i in range(len(after)):
            tail[i] = after[i]
        if place < len(columns):
            values[newest : newest + n_symbols] = columns[place]


@entry
def advance(
    program: Table,
    needs: Integers,
    tails: tuple[Matrix, Layout],
    inputs: tuple[Matrix, Integers],
    wide: Matrix,
) -> None:
    """Append a row for every symbol of the tails.

    Parameters
    ----------
    program, needs
        Instructions, and how many values of its inputs each one needs to give one.
    tails
        (rows, S) float64 and its layout.
    inputs
        (C, S) newest values of the input columns, and (S,) rows that each symbol had before.
    wide
        (F, S), written: the features of the new row, NaN in their warm-up and where not finite.
    """
    steps, numbers = program
    (rows, layout), (columns, ages) = tails, inputs
    values, n_symbols = rows.reshape(-1), rows.shape[1]
    ends = layout[0] * n_symbols
    _append(values, layout, columns)
    for k in range(len(steps)):
        step, end = steps[k], ends[steps[k, TARGET]]
        own = values[end - n_symbols : end]
        if step[CODE] < 0:
            pass
        elif step[CODE] < op.SHIFT:
            row_by_row(step, numbers[k], (values, ends), own)
        elif step[CODE] < op.WINDOW_RANK:
            join(step, numbers[k], (values, ends), own, n_symbols)
        else:
            _one_by_one(step, numbers[k], (values, ends), needs[k], (n_symbols, len(ends)))
        if step[FEATURE] >= 0:
            for s in range(n_symbols):
                known = ages[s] >= step[WARM_UP] and own[s] - own[s] == 0.0
                wide[step[FEATURE], s] = own[s] if known else np.nan
