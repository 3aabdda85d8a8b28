"""One more session without recomputing the past. In: a history, then sessions. Out: their rows.

The state of a symbol is the newest values of every intermediate column, as many as its readers
look back on, and those of the recursive means. A step is the machine's own kernels applied to
these tails; there is no second formula.
"""

import itertools

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.bars import read_bars
from ploutos.features.catalog import check_catalog
from ploutos.features.engine import calendar_columns
from ploutos.features.evaluate import (
    NO_COLUMNS,
    NO_MATRIX,
    Columns,
    Segments,
    across_symbols,
    lay_out,
    share,
    with_universe,
)
from ploutos.features.expression import Expression
from ploutos.features.feature import Feature, outputs_of
from ploutos.features.kernels.machine import run
from ploutos.features.kernels.tails import advance, keep_tails
from ploutos.features.kernels.universe import members
from ploutos.features.program import (
    FEATURE,
    FIRST_INPUT,
    TARGET,
    Output,
    Program,
    compile_program,
    cross_inputs,
)

_NS_PER_DAY = 86_400_000_000_000
# A row of so many values is worth a loop of its own, and their tails fit a cache.
_SYMBOLS_PER_BLOCK = 256


class _Tails:
    """The state of one program: the newest values of every column, in blocks of symbols."""

    def __init__(self, program: Program, columns: Columns, bounds: NDArray[np.int64]) -> None:
        self.program = program
        self.needs = program.needs
        lengths = _lengths(program, self.needs)
        self.layout = (np.cumsum(lengths), lengths)
        n_symbols = len(bounds) - 1
        width = max(1, min(n_symbols, _SYMBOLS_PER_BLOCK))
        n_blocks = -(-n_symbols // width)
        self.tails = np.full((n_blocks, int(lengths.sum()), width), np.nan)
        self.ages = np.zeros(n_blocks * width, np.int64)
        self.ages[:n_symbols] = np.diff(bounds)
        steps, numbers = program.table
        silent = steps.copy()
        silent[:, FEATURE] = -1

        def work(low: int, _: int, own: NDArray[np.int64]) -> None:
            values, anchors, moves = lay_out(program, columns, low, own)
            first, zero = int(np.searchsorted(bounds, low)), np.zeros(1, np.int64)
            for part, (begin, end) in enumerate(itertools.pairwise(own.tolist())):
                parts = (zero + end, zero + end - begin, zero)
                run((silent, numbers), (values, anchors, moves), parts, NO_COLUMNS, NO_MATRIX)
                block, place = divmod(first + part, width)
                memory = (values, anchors + moves * end)
                keep_tails(memory, end - begin, self.layout, self.tails[block], place)

        share(bounds, work)

    def advance(
        self, columns: Columns, symbols: NDArray[np.int64], n_outputs: int
    ) -> NDArray[np.float64]:
        """Append a row to the given symbols and return the outputs, (F, rows)."""
        n_blocks, _, width = self.tails.shape
        names = self.program.columns
        inputs = np.full((n_blocks, len(names), width), np.nan)
        for number, name in enumerate(names):
            inputs[symbols // width, number, symbols % width] = columns[name]
        present = np.zeros(n_blocks * width, bool)
        present[symbols] = True
        wide = np.empty((n_blocks, n_outputs, width))

        def work(low: int, high: int, _: NDArray[np.int64]) -> None:
            for block in range(low, high):
                own = slice(block * width, (block + 1) * width)
                tails, absent = self.tails[block], ~present[own]
                # Whoever has no bar today is left as it was.
                kept = tails[:, absent]
                state, newest = (tails, self.layout), (inputs[block], self.ages[own])
                advance(self.program.table, self.needs, state, newest, wide[block])
                tails[:, absent] = kept

        share(np.arange(n_blocks + 1), work, 1)
        self.ages[symbols] += 1
        return wide[symbols // width, :, symbols % width].T  # (rows, F) -> (F, rows)


class LiveFeatures:
    """Features of a universe that goes on: a history once, then one session after the other.

    Parameters
    ----------
    history
        Bars as `compute_features` takes them: every symbol that will have a later bar.
    features
        Rows of the catalog. A Polars expression must be one of the calendar (`over="instant"`).

    Raises
    ------
    FeatureError
        If the bars are not fit, or a row is a Polars expression over bars or symbols.
    """

    def __init__(self, history: pl.DataFrame, features: tuple[Feature, ...]) -> None:
        check_catalog(features)
        slow = [
            feature.name
            for feature in features
            if not isinstance(feature.expression, Expression) and feature.over != "instant"
        ]
        if slow:
            raise FeatureError(
                f"the features {slow} are Polars expressions, which keep no state; write them as "
                "`Expression`, or compute the whole history with `compute_features`."
            )
        columns, segments = read_bars(history)
        self.features = features
        self.symbols = history["symbol"].cast(pl.String)[segments.bounds[:-1].tolist()].to_list()
        self._number = {symbol: number for number, symbol in enumerate(self.symbols)}
        self._closed_at = segments.instants[segments.bounds[1:] - 1].copy()
        self._outputs = outputs_of(features)
        self._across = cross_inputs(self._outputs)
        self._operands = [Output(one.inputs[0]) for one in self._across]
        columns = {**columns, "elapsed_days": segments.elapsed_days()}
        columns, given = with_universe(columns, segments, self._outputs)
        self._first = (
            _Tails(compile_program(self._operands, keep=True), columns, segments.bounds)
            if self._across
            else None
        )
        program = compile_program(self._outputs, given, keep=True)
        self._second = _Tails(program, columns, segments.bounds)

    def advance(self, session: pl.DataFrame) -> NDArray[np.float32]:
        """Append one session and return its features.

        Parameters
        ----------
        session
            At most one bar of each symbol, in the columns of the history, sorted by symbol, later
            than the symbol's last one. A symbol without a bar is left out.

        Returns
        -------
        (rows, F) float32, what `compute_matrix` gives for these rows of the longer history, to a
        relative 1e-6; NaN where that is.

        Raises
        ------
        FeatureError
            If a symbol is unknown, occurs twice or is not later than its last bar.
        """
        columns, segments = read_bars(session)
        symbols = self._find(session, segments)
        elapsed = segments.instants - self._closed_at[symbols]
        if len(elapsed) and elapsed.min() <= 0:
            late = self.symbols[int(symbols[int(np.argmin(elapsed))])]
            raise FeatureError(f"the session's bar of {late} is not later than its last bar")
        columns = {**columns, "elapsed_days": elapsed / _NS_PER_DAY}
        if self._first is not None:
            columns |= self._across_columns(columns, segments, symbols, self._first)
        computed = self._second.advance(columns, symbols, len(self._outputs))
        self._closed_at[symbols] = segments.instants
        return self._gather(computed, segments)

    def _find(self, session: pl.DataFrame, segments: Segments) -> NDArray[np.int64]:
        names = session["symbol"].cast(pl.String).to_list()
        unknown = sorted(set(names) - set(self._number))
        if unknown or len(segments.bounds) - 1 != len(names):
            raise FeatureError(
                f"expected one bar of each symbol of the history; unknown: {unknown}, rows "
                f"{len(names)}, symbols {len(segments.bounds) - 1}. Begin anew with the longer "
                "history where the universe grows."
            )
        return np.array([self._number[name] for name in names], dtype=np.int64)

    def _across_columns(
        self, columns: Columns, segments: Segments, symbols: NDArray[np.int64], tails: _Tails
    ) -> dict[str, NDArray[np.float64]]:
        operands = tails.advance(columns, symbols, len(self._operands))
        distinct, places = segments.groups()
        groups = (places, *members(places, len(distinct)))
        return {
            f"across {number}": across_symbols(one, operand, groups)
            for number, (one, operand) in enumerate(zip(self._across, operands, strict=True))
        }

    def _gather(self, computed: NDArray[np.float64], segments: Segments) -> NDArray[np.float32]:
        out = np.empty((computed.shape[1], len(self.features)), dtype=np.float32)
        calendar = [row for row in self.features if not isinstance(row.expression, Expression)]
        by_date = calendar_columns(segments, calendar)
        compiled = iter(computed)
        with np.errstate(over="ignore"):
            for place, feature in enumerate(self.features):
                own = by_date.get(feature.name)
                out[:, place] = next(compiled) if own is None else own
        out[np.isinf(out)] = np.nan
        return out


def _lengths(program: Program, needs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many values each column's readers look back on, and its own computation."""
    lengths = np.ones(program.n_places, dtype=np.int64)
    for step, need in zip(program.steps, needs, strict=True):
        for place in (int(step[TARGET]), *step[FIRST_INPUT:].tolist()):
            lengths[place] = max(lengths[place], need)
    return lengths
