"""Runs expressions over sorted segments, on every core. In: columns. Out: a matrix or columns.

The machine releases Python's lock, so segments are shared out to threads; what a row holds does
not depend on how they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.expression import Expression
from ploutos.features.kernels.machine import run
from ploutos.features.kernels.universe import (
    group_mean,
    group_numbers,
    group_rank,
    members,
    same_instants,
)
from ploutos.features.program import Output, Program, compile_program, cross_inputs

Columns = Mapping[str, NDArray[np.float64]]
# A (F, rows) float64 array, or a float32 matrix and the row in it of each row.
Target = tuple[NDArray[np.float32], NDArray[np.int64]]
Outputs = tuple[NDArray[np.float64], Target]

NO_COLUMNS = np.empty((0, 0))
NO_MATRIX: Target = (np.empty((0, 0), np.float32), np.empty(0, np.int64))

_NS_PER_DAY = 86_400_000_000_000
_ROWS_PER_CHUNK = 65_536
_FEWEST_ROWS = 4_096


class Segments:
    """Rows sorted by (symbol, instant): where each symbol's begin, and which share an instant.

    Parameters
    ----------
    bounds
        (S + 1,) int64: the rows of segment s are `bounds[s]` to `bounds[s + 1]`, excluded.
    instants
        (rows,) int64 nanoseconds, ascending in each segment.
    """

    def __init__(self, bounds: NDArray[np.int64], instants: NDArray[np.int64]) -> None:
        self.bounds = bounds
        self.instants = instants
        self._groups: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distinct instants, ascending, and the place of each row's among them."""
        if self._groups is None:
            aligned = len(self.bounds) > 1 and same_instants(self.instants, self.bounds)
            distinct = self.instants[: self.bounds[1]] if aligned else np.unique(self.instants)
            places = np.empty(len(self.instants), dtype=np.int64)
            group_numbers(self.instants, self.bounds, distinct, places)
            self._groups = distinct, places
        return self._groups

    def elapsed_days(self) -> NDArray[np.float64]:
        """Return the days since the bar before, NaN at a segment's first."""
        days = np.diff(self.instants, prepend=self.instants[:1]) / _NS_PER_DAY
        days[self.bounds[:-1]] = np.nan
        return days


def evaluate_rows(
    columns: Columns,
    segments: Segments,
    outputs: Sequence[Output],
    target: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> None:
    """Write outputs into the columns of a row-major matrix.

    Parameters
    ----------
    columns
        (rows,) float64 by name, NaN where missing.
    target
        The matrix, float32, and for each row its row in it. Values beyond float32 are NaN.
    """
    columns, given = with_universe(columns, segments, outputs)
    program = _compiled(tuple(outputs), tuple(given.items()))
    if len(outputs):
        run_segments(program, columns, segments, (NO_COLUMNS, target))


def evaluate_columns(
    columns: Columns, segments: Segments, outputs: Sequence[Output]
) -> NDArray[np.float64]:
    """Return outputs as (F, rows) float64, NaN where missing."""
    columns, given = with_universe(columns, segments, outputs)
    program = _compiled(tuple(outputs), tuple(given.items()))
    wide = np.empty((len(outputs), segments.bounds[-1]))
    run_segments(program, columns, segments, (wide, NO_MATRIX))
    return wide


@lru_cache(maxsize=32)
def _compiled(outputs: tuple[Output, ...], given: tuple[tuple[int, str], ...]) -> Program:
    """Compile, or find what was compiled for the very same expressions."""
    return compile_program(outputs, dict(given))


def run_segments(program: Program, columns: Columns, segments: Segments, outputs: Outputs) -> None:
    """Run a program over whole segments, in threads."""
    if "elapsed_days" in program.columns and "elapsed_days" not in columns:
        columns = {**columns, "elapsed_days": segments.elapsed_days()}

    def work(low: int, _: int, own: NDArray[np.int64]) -> None:
        counts = np.diff(own)
        parts = (own[1:], counts, low + own[:-1])
        run(program.table, lay_out(program, columns, low, own), parts, *outputs)

    share(segments.bounds, work)


def with_universe(
    columns: Columns, segments: Segments, outputs: Sequence[Output]
) -> tuple[Columns, dict[int, str]]:
    """Add a column for every operation over the symbols of a bar that the outputs read."""
    across = cross_inputs(outputs)
    if not across:
        return columns, {}
    operands = evaluate_columns(columns, segments, [Output(one.inputs[0]) for one in across])
    distinct, places = segments.groups()
    by_group = members(places, len(distinct))
    added: dict[str, NDArray[np.float64]] = {}
    given: dict[int, str] = {}
    for number, (one, operand) in enumerate(zip(across, operands, strict=True)):
        given[id(one)] = f"across {number}"
        added[f"across {number}"] = across_symbols(one, operand, (places, *by_group))
    return {**columns, **added}, given


def across_symbols(
    one: Expression,
    operand: NDArray[np.float64],
    groups: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Apply an operation over symbols; `groups` is each row's group, and the rows by group."""
    places, bounds, rows = groups
    out = np.empty(len(operand))
    if one.operation == "universe_mean":
        group_mean(operand, places, len(bounds) - 1, out)
        return out

    def work(low: int, high: int, own: NDArray[np.int64]) -> None:
        group_rank(operand, own, rows[low:high], out)

    share(bounds, work)
    return out


def lay_out(
    program: Program, columns: Columns, low: int, bounds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the memory of a program: its input columns, then room for the longest segment.

    Parameters
    ----------
    low
        First row of the columns that is taken; `bounds` counts from there.

    Returns
    -------
    Values; for each place where its column ends, less the end of the segment among the rows; and 1
    for an input column, whose end moves with the segment, 0 for a result.

    Raises
    ------
    FeatureError
        If an expression names a column that is not there.
    """
    unknown = sorted(set(program.columns) - set(columns))
    if unknown:
        raise FeatureError(f"expected columns named {sorted(columns)}, received {unknown}")
    width, room = int(bounds[-1]), int(np.max(np.diff(bounds)))
    n_columns, n_registers = len(program.columns), program.n_registers
    values = np.empty(n_columns * width + n_registers * room)
    for number, name in enumerate(program.columns):
        values[number * width : (number + 1) * width] = columns[name][low : low + width]
    inputs = np.arange(n_columns) * width
    results = n_columns * width + np.arange(1, n_registers + 1) * room
    moves = np.repeat([1, 0], [n_columns, n_registers])
    return values, np.concatenate([inputs, results]), moves


def share(
    bounds: NDArray[np.int64],
    work: Callable[[int, int, NDArray[np.int64]], None],
    fewest_rows: int = _FEWEST_ROWS,
) -> None:
    """Call `work` with (first row, end row, bounds from 0) of chunks of segments, in threads."""
    chunks = list(_chunks(bounds, fewest_rows))
    if len(chunks) == 1:
        work(*chunks[0])
        return
    with ThreadPoolExecutor(min(pl.thread_pool_size(), len(chunks) or 1)) as pool:
        for done in [pool.submit(work, *chunk) for chunk in chunks]:
            done.result()


def _chunks(
    bounds: NDArray[np.int64], fewest_rows: int
) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield (first row, end row, bounds from 0) of chunks of whole segments."""
    even = int(bounds[-1]) // (4 * pl.thread_pool_size()) + 1
    smallest = max(fewest_rows, min(_ROWS_PER_CHUNK, even))
    first = 0
    for last in range(1, len(bounds)):
        if bounds[last] - bounds[first] >= smallest or last == len(bounds) - 1:
            yield int(bounds[first]), int(bounds[last]), bounds[first : last + 1] - bounds[first]
            first = last
