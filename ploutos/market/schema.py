"""The border: what may enter. In: frames from any source. Out: canonical frames, or a DataError.

Column types are checked with pandera, values by one table of row rules. Nothing is repaired and
nothing is dropped: a bad row is refused by name. What may be set aside is decided before, in
`ploutos.market.quality`, by the same rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from ploutos.calendar import INSTANT
from ploutos.errors import DataError
from ploutos.market.data import MACRO_SERIES
from ploutos.market.grid import Interval, bar_grid, period_start

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema

BAR_TYPES: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "closed_at": INSTANT,
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "split_ratio": pl.Float64(),
    "cash_dividend": pl.Float64(),
}
MACRO_TYPES: dict[str, pl.DataType] = {
    "series": pl.String(),
    "released_at": INSTANT,
    "value": pl.Float64(),
}
PRICES = ("open", "high", "low", "close")
SHOWN = 5


@dataclass(frozen=True)
class RowRule:
    """What a column must fulfil in every row."""

    column: str
    expected: str
    holds: pl.Expr


def check_bars(
    bars: pl.DataFrame, exchange: str, name: str, interval: Interval = "1d"
) -> pl.DataFrame:
    """Check bars and return them in canonical order.

    Parameters
    ----------
    bars
        Columns of `BAR_TYPES`, rows in any order.
    exchange
        Every `closed_at` must be the close of one of its sessions, or of a bar inside one.
    name
        What to call the data in a message.
    interval
        Length of a bar.

    Returns
    -------
    pl.DataFrame
        The same rows sorted by (symbol, closed_at), columns in the order of `BAR_TYPES`.

    Raises
    ------
    DataError
        If a column is missing, superfluous or of another type, or if a row has a null, a price that
        is not finite and > 0, low > open or close, high < open or close, a negative volume, a split
        ratio <= 0, a negative dividend, a key that occurs twice, or no session.
    """
    _check_types(bars, BAR_TYPES, name)
    _check_rows(bars, bar_rules(), ("symbol", "closed_at"), name)
    _check_unique(bars, ("symbol", "closed_at"), name)
    _check_sessions(bars, exchange, name, interval)
    return bars.select(list(BAR_TYPES)).sort("symbol", "closed_at")


def check_macro(macro: pl.DataFrame, name: str) -> pl.DataFrame:
    """Check macro series and return them in canonical order.

    Returns
    -------
    pl.DataFrame
        The same rows sorted by (series, released_at), columns in the order of `MACRO_TYPES`.

    Raises
    ------
    DataError
        If a column is missing, superfluous or of another type, or if a row has a null, a series
        that is not known, a value that is not finite, or a key that occurs twice.
    """
    _check_types(macro, MACRO_TYPES, name)
    _check_rows(macro, _macro_rules(), ("series", "released_at"), name)
    _check_unique(macro, ("series", "released_at"), name)
    return macro.select(list(MACRO_TYPES)).sort("series", "released_at")


def empty_bars() -> pl.DataFrame:
    """Return bars without a row."""
    return pl.DataFrame(schema=BAR_TYPES)


def empty_macro() -> pl.DataFrame:
    """Return macro series without a row."""
    return pl.DataFrame(schema=MACRO_TYPES)


def describe_rows(rows: Sequence[str], count: int) -> str:
    """Join the first few descriptions of bad rows and say how many there are in all."""
    shown = "; ".join(rows[:SHOWN])
    return f"{shown} ({count} in all)" if count > SHOWN else shown


def bar_rules() -> tuple[RowRule, ...]:
    """Return what every bar must fulfil."""
    positive = [
        RowRule(column, "a finite price > 0", pl.col(column).is_finite() & (pl.col(column) > 0))
        for column in PRICES
    ]
    return (
        RowRule("symbol", "a name", pl.col("symbol").str.len_chars() > 0),
        RowRule("closed_at", "an instant", pl.col("closed_at").is_not_null()),
        *positive,
        RowRule(
            "low", "low <= open and close", pl.col("low") <= pl.min_horizontal("open", "close")
        ),
        RowRule(
            "high", "high >= open and close", pl.col("high") >= pl.max_horizontal("open", "close")
        ),
        _at_least_zero("volume"),
        RowRule(
            "split_ratio",
            "a finite ratio > 0",
            pl.col("split_ratio").is_finite() & (pl.col("split_ratio") > 0),
        ),
        _at_least_zero("cash_dividend"),
    )


def _macro_rules() -> tuple[RowRule, ...]:
    return (
        RowRule("series", f"one of {MACRO_SERIES}", pl.col("series").is_in(MACRO_SERIES)),
        RowRule("released_at", "an instant", pl.col("released_at").is_not_null()),
        RowRule("value", "a finite number", pl.col("value").is_finite()),
    )


def _at_least_zero(column: str) -> RowRule:
    value = pl.col(column)
    return RowRule(column, "a finite number >= 0", value.is_finite() & (value >= 0))


@cache
def _pandera_schema(types: tuple[tuple[str, pl.DataType], ...]) -> "DataFrameSchema":
    import pandera.polars as pandera  # noqa: PLC0415  (a second of import, needed here only)

    # Nulls are the row rules' business: they name the row.
    columns = {column: pandera.Column(kind, nullable=True) for column, kind in types}
    return pandera.DataFrameSchema(columns, strict=True)


def _check_types(frame: pl.DataFrame, types: dict[str, pl.DataType], name: str) -> None:
    from pandera.errors import SchemaErrors  # noqa: PLC0415  (as above)

    try:
        _pandera_schema(tuple(types.items())).validate(frame, lazy=True)
    except SchemaErrors as error:
        expected = {column: str(kind) for column, kind in types.items()}
        received = {column: str(kind) for column, kind in frame.schema.items()}
        wrong = [
            f"column {column!r}: expected {expected.get(column, 'no such column')}, "
            f"received {received.get(column, 'nothing')}"
            for column in sorted(expected.keys() | received.keys())
            if expected.get(column) != received.get(column)
        ]
        raise DataError(
            f"{name}: {'; '.join(wrong)}. Name and type the columns as in ploutos.market.schema."
        ) from error


def _check_rows(
    frame: pl.DataFrame, rules: tuple[RowRule, ...], key: tuple[str, str], name: str
) -> None:
    broken = frame.select(
        (~rule.holds.fill_null(False)).alias(str(number)) for number, rule in enumerate(rules)
    )
    found: list[str] = []
    count = 0
    for number, rule in enumerate(rules):
        bad = frame.filter(broken[str(number)])
        count += bad.height
        found += [
            f"{row[key[0]]} {row[key[1]]} {rule.column}: expected {rule.expected}, "
            f"received {_received(row, rule)}"
            for row in bad.head(SHOWN).iter_rows(named=True)
        ]
    if count:
        raise DataError(
            f"{name}: {describe_rows(found, count)}. "
            "Correct or remove these rows at their origin; nothing was stored."
        )


def _received(row: dict[str, object], rule: RowRule) -> str:
    names = dict.fromkeys(rule.holds.meta.root_names())
    values = [row[column] for column in names]
    if len(values) == 1:
        return str(values[0])
    return ", ".join(f"{column} {row[column]}" for column in names)


def _check_unique(frame: pl.DataFrame, key: tuple[str, str], name: str) -> None:
    twice = frame.group_by(key).len().filter(pl.col("len") > 1).sort(key)
    if twice.height:
        rows = [f"{row[0]} {row[1]} occurs {row[2]} times" for row in twice.head(SHOWN).iter_rows()]
        raise DataError(
            f"{name}: expected each ({key[0]}, {key[1]}) once, "
            f"received {describe_rows(rows, twice.height)}. Remove the duplicates at their origin."
        )


def _check_sessions(bars: pl.DataFrame, exchange: str, name: str, interval: Interval) -> None:
    if bars.is_empty():
        return
    days = bars.select(
        first=pl.col("closed_at").min().dt.date(), last=pl.col("closed_at").max().dt.date()
    ).row(0)
    # The bar that closes on the first day may have started earlier, or on the day before in UTC.
    first = period_start(exchange, interval, days[0]) - timedelta(days=1)
    known = bar_grid(exchange, interval, first, days[1]).select("closed_at")
    strange = bars.join(known, on="closed_at", how="anti").sort("symbol", "closed_at")
    if strange.height:
        rows = [f"{row[0]} {row[1]}" for row in strange.head(SHOWN).iter_rows()]
        expected = "a session" if interval == "1d" else f"a {interval} bar"
        raise DataError(
            f"{name}: expected each closed_at to be the close of {expected} of {exchange}, "
            f"received {describe_rows(rows, strange.height)}. "
            "Remove these rows, or name the exchange that traded then."
        )
