"""The machine: runs a program over sorted segments. In: columns. Out: a matrix or columns.

A program is a table of instructions, each of which makes one column of a segment from others. The
machine is compiled once; what it computes is data. It holds no state and does not need Python's
lock while it runs. All of it is one compiled function, so that what a program is run for (columns
or a matrix) costs no second compilation.

An instruction is a row of int64: code, place, n, feature, warm-up, places of its inputs. A place
is a column of the memory. A feature of 0 or more sends the column to the output, NaN in its
warm-up and where it is not finite.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels import opcodes as op
from ploutos.features.kernels.arrays import (
    OPTIONS,
    Column,
    Integers,
    Matrix,
    Memory,
    Table,
    entry,
)
from ploutos.features.kernels.elementwise import (
    arithmetic,
    bound,
    choose,
    compare,
    compare_number,
    extreme,
    transform,
    with_number,
)
from ploutos.features.kernels.joins import (
    deviation,
    join_age,
    join_extreme,
    join_fourth,
    join_gap,
    join_products,
    join_squares,
    join_sum,
    join_third,
    join_trend,
    lag_pair,
    standard_moment,
)
from ploutos.features.kernels.order import window_median, window_rank, window_spread
from ploutos.features.kernels.recursion import exponential, product, trailing_average
from ploutos.features.kernels.runs import trailing_parabolic, trailing_stop

CODE, TARGET, BARS, FEATURE, WARM_UP, FIRST_INPUT = range(6)
TILE_ROWS = 16
LARGEST_SINGLE = float(np.finfo(np.float32).max)
LARGEST_DOUBLE = float(np.finfo(np.float64).max)


@njit(**OPTIONS)
def _input(step: Integers, number: int, memory: Memory, count: int) -> Column:
    """Return the newest `count` values of an input."""
    values, ends = memory
    end = ends[step[FIRST_INPUT + number]]
    return values[end - count : end]


@njit(**OPTIONS)
def _pair(
    step: Integers, number: int, memory: Memory, count: int, stride: int
) -> tuple[Column, Column]:
    """Return the newest values of an input, and those n rows before of the input after it."""
    values, ends = memory
    new_end = ends[step[FIRST_INPUT + number]]
    old_end = ends[step[FIRST_INPUT + number + 1]] - step[BARS] * stride
    return values[new_end - count : new_end], values[old_end - count : old_end]


@njit(**OPTIONS)
def row_by_row(step: Integers, number: float, memory: Memory, out: Column) -> None:
    """Fill `out`, whose values depend on the inputs' values of their own row alone."""
    code, count = step[CODE], len(out)
    group = code // op.GROUP
    x, y = _input(step, 0, memory, count), _input(step, 1, memory, count)
    if group == 0:
        arithmetic(code, x, y, out)
    elif group == 1:
        compare(code, x, y, out)
    elif code == op.WHERE:
        choose(x, y, _input(step, 2, memory, count), out)
    elif group == 2:
        extreme(code, x, y, out)
    elif group == 3:
        with_number(code, x, number, out)
    elif group == 4:
        bound(code, x, number, out)
    elif group == 5:
        compare_number(code, x, number, out)
    elif group == 6:
        transform(code, x, out)
    elif code == op.DEVIATION:
        deviation(x, y, step[BARS], number, out)
    else:
        standard_moment(code, x, y, _input(step, 2, memory, count), step[BARS], out)


@njit(**OPTIONS)
def join(step: Integers, number: float, memory: Memory, out: Column, stride: int) -> None:
    """Fill `out` from pairs of columns, of which the second is read `lag` rows before.

    `stride` is how far apart the values of neighbouring rows stand.
    """
    code, lag, count = step[CODE], float(step[BARS]), len(out)
    new, old = _pair(step, 0, memory, count, stride)
    if code < op.JOIN_SUM:
        lag_pair(code, new, old, out)
    elif code == op.JOIN_SUM:
        join_sum(new, old, number, out)
    elif code == op.JOIN_GAP:
        join_gap(new, old, (1.0 / lag, 1.0 / number), out)
    elif code == op.JOIN_SQUARES:
        factor = lag * number / (lag + number)
        join_squares(new, old, _input(step, 2, memory, count), factor, out)
    elif code == op.JOIN_TREND:
        join_trend(new, old, _input(step, 2, memory, count), 0.5 * lag * number, out)
    elif code == op.JOIN_PRODUCTS:
        gaps = _input(step, 2, memory, count), _input(step, 3, memory, count)
        join_products((new, old), gaps, lag * number / (lag + number), out)
    elif code == op.JOIN_THIRD:
        squares, gap = _pair(step, 2, memory, count, stride), _input(step, 4, memory, count)
        join_third((new, old), squares, gap, (lag, number), out)
    elif code == op.JOIN_FOURTH:
        cubes, squares = (
            _pair(step, 2, memory, count, stride),
            _pair(step, 4, memory, count, stride),
        )
        gap = _input(step, 6, memory, count)
        join_fourth((new, old), (*cubes, *squares), gap, (lag, number), out)
    elif code == op.JOIN_AGE:
        join_age((new, old), _pair(step, 2, memory, count, stride), step[BARS], out)
    else:
        join_extreme(code, new, old, out)


@njit(**OPTIONS)
def window(step: Integers, number: float, memory: Memory, out: Column, start: int) -> None:
    """Fill `out[start:]`; what reads its own value of before finds it in `out[start - 1]`."""
    code, n, count = step[CODE], step[BARS], len(out)
    x, y = _input(step, 0, memory, count), _input(step, 1, memory, count)
    if code == op.WINDOW_RANK:
        window_rank(x, n, out, start)
    elif code == op.WINDOW_MEDIAN:
        window_median(x, n, out, start)
    elif code == op.WINDOW_SPREAD:
        window_spread(x, y, n, out, start)
    elif code == op.EXPONENTIAL:
        exponential(x, number, out, start)
    elif code == op.PRODUCT:
        product(x, out, start)
    elif code == op.TRAILING_AVERAGE:
        trailing_average(x, y, n, out, start)
    elif code == op.TRAILING_STOP:
        trailing_stop((x, y), _input(step, 2, memory, count), n, out, start)
    else:
        trailing_parabolic(x, y, n, out, start)


@njit(**OPTIONS)
def execute(step: Integers, number: float, memory: Memory, count: int, start: int) -> None:
    """Fill the newest `count - start` values of the instruction's column.

    The newest `count` values of its inputs are read, and none before these.
    """
    values, ends = memory
    end = ends[step[TARGET]]
    if step[CODE] < op.SHIFT:
        row_by_row(step, number, memory, values[end - count + start : end])
    elif step[CODE] < op.WINDOW_RANK:
        first = min(max(start, step[BARS]), count)
        values[end - count + start : end - count + first] = np.nan
        if first < count:
            join(step, number, memory, values[end - count + first : end], 1)
    else:
        window(step, number, memory, values[end - count : end], start)


@njit(**OPTIONS)
def _emit(values: Column, warm_up: int, largest: float, out: Column) -> None:
    """Copy the values of a feature: NaN in its warm-up and where its magnitude is too large."""
    out[:warm_up] = np.nan
    own, to = values[warm_up:], out[warm_up:]
    for i in range(len(to)):
        to[i] = own[i] if abs(own[i]) <= largest else np.nan


@njit(**OPTIONS)
def _transpose(stage: Matrix, matrix: Matrix, rows: Integers) -> None:
    """Write stage (F, rows) to the given rows of the matrix, tile by tile.

    Numbers without a sign need no check for an index that counts from the end.
    """
    values, flat = stage.reshape(-1), matrix.reshape(-1)
    width, stride = np.uint64(matrix.shape[1]), np.uint64(stage.shape[1])
    for low in range(0, len(rows), TILE_ROWS):
        for i in range(low, min(low + TILE_ROWS, len(rows))):
            to, source = np.uint64(rows[i]) * width, np.uint64(i)
            for _ in range(width):
                flat[to] = values[source]
                to += np.uint64(1)
                source += stride


@entry
def run(
    program: Table,
    memory: tuple[Column, Integers, Integers],
    parts: tuple[Integers, Integers, Integers],
    wide: Matrix,
    target: tuple[Matrix, Integers],
) -> None:
    """Run a program over the parts of its memory, and give out its features.

    Parameters
    ----------
    program
        Instructions and their constants.
    memory
        Values; for each place where its column ends, and how much further per unit of a part's
        offset.
    parts
        (P,) each: offset; number of rows; number of the first one in `wide` or `rows`.
    wide
        (F, rows) float64, the features where `target` is empty.
    target
        The float32 matrix to fill, F columns, and (rows,) its rows.
    """
    steps, numbers = program
    values, anchors, moves = memory
    offsets, counts, firsts = parts
    matrix, rows = target
    to_matrix = matrix.shape[1] > 0
    ends = np.empty(len(anchors), np.int64)
    stage = np.empty((matrix.shape[1], np.max(counts)), np.float32)
    for part in range(len(offsets)):
        ends[:] = anchors + moves * offsets[part]
        count, first = counts[part], firsts[part]
        for k in range(len(steps)):
            step = steps[k]
            if step[CODE] >= 0:
                execute(step, numbers[k], (values, ends), count, 0)
            if step[FEATURE] < 0:
                continue
            end, hidden = ends[step[TARGET]], step[WARM_UP]
            own = values[end - count : end]
            if to_matrix:
                _emit(own, hidden, LARGEST_SINGLE, stage[step[FEATURE], :count])
            else:
                _emit(own, hidden, LARGEST_DOUBLE, wide[step[FEATURE], first : first + count])
        if to_matrix:
            _transpose(stage, matrix, rows[first : first + count])
