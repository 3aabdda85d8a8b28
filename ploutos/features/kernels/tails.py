"""The machine for one more row. In: the tail of every column of a program. Out: the next values.

The tail of a column holds as many of its newest values as its readers look back on, so that one
more value costs one window instead of a history. `layout` is (offsets, lengths) of the tails, of
the input columns first and of the registers after them, in one line of `tails` per symbol.
"""

from collections.abc import Callable

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import ENTRY, OPTIONS, Column, Integers, Matrix, Table
from ploutos.features.kernels.machine import (
    CODE,
    FEATURE,
    TARGET,
    WARM_UP,
    X,
    execute,
    run_step,
    source_number,
)

Layout = tuple[Integers, Integers]


@njit(**OPTIONS)
def _keep(values: Column, tail: Column) -> None:
    """Copy the newest values; what is older than the history is missing."""
    tail[:] = np.nan
    count = min(len(values), len(tail))
    tail[len(tail) - count :] = values[len(values) - count :]


@njit(**OPTIONS)
def _keep_all(columns: Matrix, registers: Matrix, layout: Layout, line: Column) -> None:
    offsets, lengths = layout
    for place in range(len(offsets)):
        tail = line[offsets[place] : offsets[place] + lengths[place]]
        if place < len(columns):
            _keep(columns[place], tail)
        else:
            _keep(registers[place - len(columns)], tail)


@njit(**OPTIONS)
def _push(tail: Column, value: float) -> None:
    for i in range(len(tail) - 1):
        tail[i] = tail[i + 1]
    tail[-1] = value


@njit(**OPTIONS)
def _newest(line: Column, layout: Layout, source: int, n_columns: int, count: int) -> Column:
    place = -1 - source if source < 0 else n_columns + source
    end = layout[0][place] + layout[1][place]
    return line[end - count : end]


@njit(**OPTIONS)
def _next_value(program: Table, k: int, needs: Integers, line: Column, layout: Layout) -> float:
    """Execute instruction k for the newest row only; return the value that it makes."""
    step, count, n_columns = program[0][k], needs[k], len(layout[0]) - program[2]
    x = _newest(line, layout, step[X], n_columns, count)
    if step[CODE] < 0:
        return x[-1]
    y = _newest(line, layout, step[X + 1], n_columns, count)
    z = _newest(line, layout, step[X + 2], n_columns, count)
    out = np.empty(count)
    own = _newest(line, layout, step[TARGET], n_columns, 1)
    if count > 1:
        out[count - 2] = own[0]
    execute(step, program[1][k], (x, y, z), out, count - 1)
    place = n_columns + step[TARGET]
    first = layout[0][place]
    _push(line[first : first + layout[1][place]], out[-1])
    return out[-1]


def _compile(source: int) -> tuple[Callable[..., int], Callable[..., int]]:
    @njit(**ENTRY)
    def remember(
        program: Table, columns: Matrix, bounds: Integers, layout: Layout, tails: Matrix
    ) -> int:
        """Run whole histories and keep the tail of every column; return `source`."""
        steps, _, n_registers = program
        registers = np.empty((n_registers, np.max(bounds[1:] - bounds[:-1])))
        for part in range(len(bounds) - 1):
            low, high = bounds[part], bounds[part + 1]
            for k in range(len(steps)):
                run_step(program, k, registers, columns, (low, high))
            _keep_all(columns[:, low:high], registers[:, : high - low], layout, tails[part])
        return source

    @njit(**ENTRY)
    def advance(
        program: Table,
        needs: Integers,
        columns: Matrix,
        layout: Layout,
        state: tuple[Matrix, Integers, Integers],
        out: Matrix,
    ) -> int:
        """Append one row to each symbol of `state` = (tails, ages, symbols); return `source`."""
        steps = program[0]
        tails, ages, symbols = state
        for i in range(len(symbols)):
            line, age = tails[symbols[i]], ages[symbols[i]]
            for c in range(len(columns)):
                first = layout[0][c]
                _push(line[first : first + layout[1][c]], columns[c, i])
            for k in range(len(steps)):
                value = _next_value(program, k, needs, line, layout)
                if steps[k, FEATURE] >= 0:
                    known = age >= steps[k, WARM_UP] and value - value == 0.0
                    out[steps[k, FEATURE], i] = value if known else np.nan
        return source

    return remember, advance


remember, advance = _compile(source_number())
