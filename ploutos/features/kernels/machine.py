"""The machine: runs a program over sorted segments. In: columns. Out: a matrix or columns.

A program is a table of instructions, each of which makes one column of a segment from others and
leaves it in a register. The machine is compiled once; what it computes is data. It holds no state
and does not need Python's lock while it runs.

An instruction is a row of int64: code, target, x, y, z, n, feature, warm-up. A source of 0 or more
is a register, below 0 the input column -1 - source. A feature of 0 or more sends the column to
the output, NaN in its warm-up and where it is not finite.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from ploutos.features.kernels import opcodes as op
from ploutos.features.kernels.arrays import ENTRY, OPTIONS, Column, Integers, Matrix, Table
from ploutos.features.kernels.elementwise import (
    arithmetic,
    bound,
    choose,
    compare,
    compare_number,
    extreme,
    lag,
    transform,
    with_number,
)
from ploutos.features.kernels.order import window_age, window_median, window_rank, window_spread
from ploutos.features.kernels.recursion import (
    exponential,
    product,
    trailing_average,
    trailing_parabolic,
    trailing_stop,
)
from ploutos.features.kernels.windows import (
    window_covariance,
    window_deviation,
    window_extreme,
    window_moment,
    window_slope,
    window_sum,
)

FIELDS = 8
CODE, TARGET, X, Y, Z, BARS, FEATURE, WARM_UP = range(FIELDS)
TILE_ROWS = 16
LARGEST_SINGLE = float(np.finfo(np.float32).max)
LARGEST_DOUBLE = float(np.finfo(np.float64).max)


@njit(**OPTIONS)
def _window(
    step: Integers, number: float, inputs: tuple[Column, Column, Column], out: Column, start: int
) -> None:
    code, n, x = step[CODE], step[BARS], inputs[0]
    if code == op.WINDOW_SUM:
        window_sum(x, n, number, out, start)
    elif code == op.WINDOW_MAXIMUM:
        window_extreme(x, n, 1.0, out, start)
    elif code == op.WINDOW_MINIMUM:
        window_extreme(x, n, -1.0, out, start)
    elif code == op.WINDOW_DEVIATION:
        window_deviation(x, n, number, out, start)
    elif code == op.WINDOW_MOMENT:
        window_moment(x, n, number, out, start)
    elif code == op.WINDOW_COVARIANCE:
        window_covariance(x, inputs[1], n, out, start)
    else:
        window_slope(x, n, out, start)


@njit(**OPTIONS)
def _order(step: Integers, inputs: tuple[Column, Column, Column], out: Column, start: int) -> None:
    code, n, x = step[CODE], step[BARS], inputs[0]
    if code == op.WINDOW_RANK:
        window_rank(x, n, out, start)
    elif code == op.WINDOW_MEDIAN:
        window_median(x, n, out, start)
    elif code == op.WINDOW_SPREAD:
        window_spread(x, inputs[1], n, out, start)
    else:
        window_age(x, n, out, start)


@njit(**OPTIONS)
def _recursion(
    step: Integers, number: float, inputs: tuple[Column, Column, Column], out: Column, start: int
) -> None:
    code, n = step[CODE], step[BARS]
    x, y, z = inputs
    if code == op.EXPONENTIAL:
        exponential(x, number, out, start)
    elif code == op.PRODUCT:
        product(x, out, start)
    elif code == op.TRAILING_AVERAGE:
        trailing_average(x, y, n, out, start)
    elif code == op.TRAILING_STOP:
        trailing_stop((x, y), z, n, out, start)
    else:
        trailing_parabolic(x, y, n, out, start)


@njit(**OPTIONS)
def _row_by_row(
    step: Integers, number: float, inputs: tuple[Column, Column, Column], out: Column, start: int
) -> None:
    code = step[CODE]
    group = code // op.GROUP
    x, y, z = inputs
    if group == 0:
        arithmetic(code, x, y, out, start)
    elif group == 1:
        compare(code, x, y, out, start)
    elif code == op.WHERE:
        choose(x, y, z, out, start)
    elif group == 2:
        extreme(code, x, y, out, start)
    elif group == 3:
        with_number(code, x, number, out, start)
    elif group == 4:
        bound(code, x, number, out, start)
    elif group == 5:
        compare_number(code, x, number, out, start)
    else:
        transform(code, x, out, start)


@njit(**OPTIONS)
def execute(
    step: Integers, number: float, inputs: tuple[Column, Column, Column], out: Column, start: int
) -> None:
    """Fill `out[start:]` by one instruction; `out[start - 1]` is read by the recursive ones."""
    group = step[CODE] // op.GROUP
    if group < 7:
        _row_by_row(step, number, inputs, out, start)
    elif group == 7:
        lag(step[CODE], inputs[0], step[BARS], out, start)
    elif group == 8:
        _window(step, number, inputs, out, start)
    elif group == 9:
        _order(step, inputs, out, start)
    else:
        _recursion(step, number, inputs, out, start)


@njit(**OPTIONS)
def _source(registers: Matrix, columns: Matrix, source: int, low: int, high: int) -> Column:
    if source < 0:
        return columns[-1 - source, low:high]
    return registers[source, : high - low]


@njit(**OPTIONS)
def _emit(values: Column, warm_up: int, largest: float, out: Column) -> None:
    """Copy the values of a feature: NaN in its warm-up and where its magnitude is too large."""
    for i in range(min(warm_up, len(values))):
        out[i] = np.nan
    for i in range(warm_up, len(values)):
        value = values[i]
        out[i] = value if abs(value) <= largest else np.nan


@njit(**OPTIONS)
def _transpose(stage: Matrix, places: Integers, rows: Integers, matrix: Matrix) -> None:
    """Write stage (F, rows) to the given rows and columns of the matrix, tile by tile."""
    for low in range(0, len(rows), TILE_ROWS):
        for i in range(low, min(low + TILE_ROWS, len(rows))):
            line = matrix[rows[i]]
            for k in range(len(places)):
                line[places[k]] = stage[k, i]


@njit(**OPTIONS)
def run_step(
    program: Table, k: int, registers: Matrix, columns: Matrix, rows: tuple[int, int]
) -> Column:
    """Execute instruction k of a segment; return the column that it made."""
    steps, numbers, _ = program
    step, (low, high) = steps[k], rows
    x = _source(registers, columns, step[X], low, high)
    if step[CODE] < 0:
        return x
    y = _source(registers, columns, step[Y], low, high)
    z = _source(registers, columns, step[Z], low, high)
    out = registers[step[TARGET], : high - low]
    execute(step, numbers[k], (x, y, z), out, 0)
    return out


def _compile(source: int) -> tuple[Callable[..., int], Callable[..., int]]:
    """Compile the two entries. Numba's cache looks at one file only: `source` makes it see all."""

    @njit(**ENTRY)
    def run_rows(
        program: Table,
        columns: Matrix,
        segments: tuple[Integers, Integers],
        places: Integers,
        matrix: Matrix,
    ) -> int:
        """Fill the rows of `matrix` that `segments` = (bounds, rows) names; return `source`."""
        steps, _, n_registers = program
        bounds, rows = segments
        longest = np.max(bounds[1:] - bounds[:-1])
        registers = np.empty((n_registers, longest))
        stage = np.empty((len(places), longest), np.float32)
        for part in range(len(bounds) - 1):
            low, high = bounds[part], bounds[part + 1]
            for k in range(len(steps)):
                values = run_step(program, k, registers, columns, (low, high))
                if steps[k, FEATURE] >= 0:
                    own = stage[steps[k, FEATURE], : high - low]
                    _emit(values, steps[k, WARM_UP], LARGEST_SINGLE, own)
            _transpose(stage, places, rows[low:high], matrix)
        return source

    @njit(**ENTRY)
    def run_columns(
        program: Table, columns: Matrix, segments: tuple[Integers, int], wide: Matrix
    ) -> int:
        """Fill `wide` (features, rows) from the row of `segments` = (bounds, row) on."""
        steps, _, n_registers = program
        bounds, first = segments
        registers = np.empty((n_registers, np.max(bounds[1:] - bounds[:-1])))
        for part in range(len(bounds) - 1):
            low, high = bounds[part], bounds[part + 1]
            for k in range(len(steps)):
                values = run_step(program, k, registers, columns, (low, high))
                if steps[k, FEATURE] >= 0:
                    own = wide[steps[k, FEATURE], first + low : first + high]
                    _emit(values, steps[k, WARM_UP], LARGEST_DOUBLE, own)
        return source

    return run_rows, run_columns


def source_number() -> int:
    """Return a number of the compiled source files, other when one of them is."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return int(digest[:15], 16)


run_rows, run_columns = _compile(source_number())
