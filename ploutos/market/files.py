"""The source `files`. In: a folder of the user's CSV or Parquet files. Out: bars, macro series.

Files are read strictly: every value that is not what its column says is refused by name, dates must
ascend, and nothing is guessed, filled or dropped.
"""

from datetime import time
from pathlib import Path

import polars as pl

from ploutos.calendar import INSTANT, NEW_YORK
from ploutos.errors import DataError, SourceError
from ploutos.market.clock import (
    DXY_RELEASED,
    TREASURY_RELEASED,
    VIX_RELEASED,
    release_series,
    stamp_bars,
)
from ploutos.market.config import FilesSource
from ploutos.market.data import MACRO_SERIES, FetchTerms, MarketData
from ploutos.market.schema import SHOWN, describe_rows, empty_bars, empty_macro
from ploutos.store import digest_file

SUFFIXES = (".csv", ".parquet")
MACRO_FILE = "macro"
REQUIRED = ("date", "open", "high", "low", "close", "volume")
OPTIONAL = {"split_ratio": 1.0, "cash_dividend": 0.0}
RELEASED = {"VIX": VIX_RELEASED, "TNX": TREASURY_RELEASED, "DXY": DXY_RELEASED}


def fetch_files(source: FilesSource, terms: FetchTerms) -> MarketData:
    """Read a folder with one CSV or Parquet file per symbol.

    The file name without suffix is the symbol. Dates are sessions of the exchange, ascending, each
    once. Prices, volumes and dividends are as traded; a file without `split_ratio` and
    `cash_dividend` declares that there were none. Further columns are ignored and named in the
    provenance. A macro file with `date` in place of `released_at` is released at the times of
    `ploutos.market.clock`.

    Raises
    ------
    SourceError
        If the folder is missing or holds no such file, or a symbol occurs twice.
    DataError
        If a file lacks a column, a value does not parse, dates do not ascend or occur twice, or a
        date is not a session.
    """
    paths = _list_files(source.folder)
    macro_path = paths.pop(MACRO_FILE, None)
    if not paths:
        raise _nothing(source.folder)
    unknown = sorted(set(source.references) - set(paths))
    if unknown:
        raise SourceError(f"{source.folder} has no file for the references {unknown}")
    bars: list[pl.DataFrame] = []
    references: list[pl.DataFrame] = []
    ignored: dict[str, list[str]] = {}
    for symbol, path in sorted(paths.items()):
        dated, extra = _read_bars(symbol, path)
        if extra:
            ignored[path.name] = extra
        stamped = stamp_bars(dated, terms.exchange, str(path))
        (references if symbol in source.references else bars).append(stamped)
    macro = _read_macro(macro_path) if macro_path else empty_macro()
    return MarketData(
        name=source.folder.resolve().name or "files",
        bars=pl.concat([empty_bars(), *bars]),
        macro=macro,
        reference=pl.concat([empty_bars(), *references]),
        missing_series=tuple(s for s in MACRO_SERIES if s not in set(macro["series"])),
        exchange=terms.exchange,
        provenance={
            "origin": "files of the user",
            "as_of": max(day for frame in (*bars, *references) for day in _last_day(frame)),
            "price_basis": "as traded, as the owner of the files declares",
            "files": {path.name: digest_file(path) for path in _all(paths, macro_path)},
            "ignored_columns": ignored,
        },
    )


def _last_day(bars: pl.DataFrame) -> list[str]:
    return bars["closed_at"].tail(1).dt.date().cast(pl.String).to_list()


def _list_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SourceError(f"expected a folder with one file per symbol, found none at {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise SourceError(
                f"{folder}: both {found[path.stem].name} and {path.name} are there for "
                f"{path.stem}. Remove one."
            )
        found[path.stem] = path
    if not found:
        raise _nothing(folder)
    return found


def _nothing(folder: Path) -> SourceError:
    return SourceError(
        f"expected SYMBOL.csv or SYMBOL.parquet in {folder}, found no file of a symbol. Put one "
        f"file per symbol there, with the columns {', '.join(REQUIRED)}."
    )


def _all(paths: dict[str, Path], macro_path: Path | None) -> list[Path]:
    return [*paths.values(), *([macro_path] if macro_path else [])]


def _read_bars(symbol: str, path: Path) -> tuple[pl.DataFrame, list[str]]:
    raw = _read_table(path)
    _require(raw, REQUIRED, path)
    wanted = [*REQUIRED, *OPTIONAL]
    extra = [column for column in raw.columns if column not in wanted]
    if raw.is_empty():
        raise DataError(f"{path}: expected bars, received a header without rows")
    days = _parse_dates(raw["date"], path)
    numbers = [
        _parse_numbers(raw[column], days, path) for column in wanted[1:] if column in raw.columns
    ]
    dated = pl.DataFrame([days, *numbers]).with_columns(symbol=pl.lit(symbol))
    for column, neutral in OPTIONAL.items():
        if column not in raw.columns:
            dated = dated.with_columns(pl.lit(neutral).alias(column))
    _check_ascending(days, path)
    return dated, extra


def _read_macro(path: Path) -> pl.DataFrame:
    raw = _read_table(path)
    stamp = "released_at" if "released_at" in raw.columns else "date"
    _require(raw, ("series", stamp, "value"), path)
    series = raw["series"].cast(pl.String)
    strange = sorted({str(name) for name in series} - set(MACRO_SERIES))
    if strange:
        raise DataError(f"{path}: expected the series {MACRO_SERIES}, received {strange}")
    if stamp == "released_at":
        released = _parse_instants(raw[stamp], path)
        value = _parse_numbers(raw["value"], released, path)
        return pl.DataFrame([series, released, value])
    days = _parse_dates(raw["date"], path)
    dated = pl.DataFrame([series, days, _parse_numbers(raw["value"], days, path)])
    parts = [
        release_series(dated.filter(pl.col("series") == name), name, _release_time(name))
        for name in sorted(set(series))
    ]
    return pl.concat([empty_macro(), *parts])


def _release_time(series: str) -> time:
    return RELEASED[series]


def _read_table(path: Path) -> pl.DataFrame:
    try:
        if path.suffix.lower() == ".csv":
            # Every cell as text: what does not parse can then be shown as it was written.
            frame = pl.read_csv(path, infer_schema=False)
        else:
            frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: it cannot be read: {error}") from error
    names = [column.strip().lower() for column in frame.columns]
    if len(set(names)) < len(names):
        raise DataError(f"{path}: expected each column once, received {frame.columns}")
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _require(frame: pl.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(
            f"{path}: expected the columns {', '.join(columns)}; missing is {', '.join(missing)}; "
            f"received {', '.join(frame.columns)}. Add or rename the column."
        )


def _parse_numbers(column: pl.Series, stamps: pl.Series, path: Path) -> pl.Series:
    try:
        numbers = column.cast(pl.Float64, strict=False)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{path} {column.name}: expected numbers, received {column.dtype}"
        ) from error
    _check_parsed(numbers, column, path, "a number", stamps)
    return numbers


def _parse_dates(column: pl.Series, path: Path) -> pl.Series:
    days = column
    if column.dtype == pl.String:
        days = column.str.strip_chars().str.to_date("%Y-%m-%d", strict=False)
    elif isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is None:
        days = column.dt.date().set(column != column.dt.truncate("1d"), None)
    elif column.dtype != pl.Date:
        raise DataError(f"{path} date: expected dates (YYYY-MM-DD), received {column.dtype}")
    _check_parsed(days, column, path, "a date (YYYY-MM-DD)")
    return days


def _parse_instants(column: pl.Series, path: Path) -> pl.Series:
    instants = column
    if column.dtype == pl.String:
        # The time zone must be written: a naive instant is ambiguous. pandas writes a blank
        # where ISO 8601 has a T, and the latter has Z for UTC.
        text = column.str.strip_chars().str.replace(" ", "T", literal=True)
        instants = text.str.replace(r"Z$", "+00:00").str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="ns", strict=False
        )
    elif not isinstance(column.dtype, pl.Datetime) or column.dtype.time_zone is None:
        raise DataError(
            f"{path} released_at: expected instants with a time zone, received {column.dtype} "
            f"(zone {NEW_YORK} or UTC, for example). Convert them, or give a date."
        )
    _check_parsed(instants, column, path, "an instant such as 2020-01-31T21:15:00+00:00")
    return instants.dt.convert_time_zone("UTC").cast(INSTANT)


def _check_parsed(
    parsed: pl.Series, column: pl.Series, path: Path, expected: str, stamps: pl.Series | None = None
) -> None:
    bad = parsed.is_null().arg_true()
    if len(bad):
        rows = [
            f"row {row + 1}{'' if stamps is None else f' ({stamps[row]})'} {column.name}: "
            f"expected {expected}, received {column[row]!r}"
            for row in bad.head(SHOWN).to_list()
        ]
        raise DataError(
            f"{path}: {describe_rows(rows, len(bad))}. Correct these rows or leave them out."
        )


def _check_ascending(days: pl.Series, path: Path) -> None:
    steps = days.diff().dt.total_days()
    for wrong, problem, advice in (
        (steps == 0, "occurs twice", "Remove the duplicates"),
        (steps < 0, "comes after a later date", "Sort the file by date"),
    ):
        bad = wrong.fill_null(value=False).arg_true()
        if len(bad):
            rows = [f"row {row + 1} {days[row]} {problem}" for row in bad.head(SHOWN).to_list()]
            raise DataError(
                f"{path}: expected ascending dates, each once; {describe_rows(rows, len(bad))}. "
                f"{advice}."
            )
