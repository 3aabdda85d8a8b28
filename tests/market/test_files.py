from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ploutos.errors import DataError, SourceError
from ploutos.market import IngestConfig, MarketData, fetch
from ploutos.market.config import FilesSource

HEADER = "date,open,high,low,close,volume"
ROWS = (
    "2012-11-21,10,12,9,11,1000",
    "2012-11-23,11,13,10,12,500",
    "2012-11-26,12,14,11,13,2000",
)


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def load(folder: Path, symbols: tuple[str, ...] | None = None, **source) -> MarketData:
    return fetch(IngestConfig(source=FilesSource(folder=folder, **source), symbols=symbols))


def test_csv_and_parquet_files_give_the_same_bars(tmp_path: Path):
    csv = write(tmp_path, "AAA.csv", HEADER, *ROWS)
    pl.read_csv(csv, try_parse_dates=True).write_parquet(tmp_path / "BBB.parquet")
    data = load(tmp_path)
    assert data.symbols == ("AAA", "BBB")
    own, other = (data.bars.filter(pl.col("symbol") == symbol) for symbol in data.symbols)
    assert own.drop("symbol").equals(other.drop("symbol"))
    assert own["close"].to_list() == [11.0, 12.0, 13.0]
    assert own["split_ratio"].to_list() == [1.0, 1.0, 1.0]
    assert own["cash_dividend"].to_list() == [0.0, 0.0, 0.0]
    assert own["closed_at"].to_list() == [
        datetime(2012, 11, 21, 21, tzinfo=UTC),
        datetime(2012, 11, 23, 18, tzinfo=UTC),  # the half day after Thanksgiving
        datetime(2012, 11, 26, 21, tzinfo=UTC),
    ]
    assert data.missing_series == ("VIX", "TNX", "DXY")


def test_splits_and_dividends_are_read_and_other_columns_named(tmp_path: Path):
    header = " Date,Open,High,Low,Close,Volume,Split_Ratio,cash_dividend,note"
    before = "2012-11-21,20,24,18,22,500"
    rows = [f"{before},1,0,a", f"{ROWS[1]},2,0,b", f"{ROWS[2]},1,0.25,c"]
    write(tmp_path, "AAA.csv", header, *rows)
    data = load(tmp_path)
    assert data.bars["split_ratio"].to_list() == [1.0, 2.0, 1.0]
    assert data.bars["cash_dividend"].to_list() == [0.0, 0.0, 0.25]
    assert data.provenance["ignored_columns"] == {"AAA.csv": ["note"]}


def test_a_reference_is_kept_apart_from_what_is_traded(tmp_path: Path):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    write(tmp_path, "INDEX.csv", HEADER, *ROWS)
    data = load(tmp_path, references=("INDEX",))
    assert data.symbols == ("AAA",)
    assert set(data.reference["symbol"]) == {"INDEX"}


def test_macro_dates_are_released_at_the_times_of_their_series(tmp_path: Path):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    write(tmp_path, "macro.csv", "series,date,value", "VIX,2012-11-21,15.31", "TNX,2012-11-21,1.69")
    macro = load(tmp_path).macro
    assert macro.rows() == [
        ("TNX", datetime(2012, 11, 21, 23, tzinfo=UTC), 1.69),
        ("VIX", datetime(2012, 11, 21, 21, 15, tzinfo=UTC), 15.31),
    ]


def test_macro_instants_are_taken_as_they_are(tmp_path: Path):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    write(tmp_path, "macro.csv", "series,released_at,value", "DXY,2012-11-21T17:00:00-05:00,80.9")
    data = load(tmp_path)
    assert data.macro.rows() == [("DXY", datetime(2012, 11, 21, 22, tzinfo=UTC), 80.9)]
    assert data.missing_series == ("VIX", "TNX")


@pytest.mark.parametrize(
    "written",
    ["2012-11-21T22:00:00Z", "2012-11-21 22:00:00+00:00", "2012-11-21T17:00:00.000-05:00"],
)
def test_an_instant_is_read_as_iso_8601_and_as_pandas_write_it(tmp_path: Path, written: str):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    write(tmp_path, "macro.csv", "series,released_at,value", f"DXY,{written},80.9")
    assert load(tmp_path).macro["released_at"].to_list() == [datetime(2012, 11, 21, 22, tzinfo=UTC)]


def test_a_session_that_is_not_over_is_refused_with_its_close(tmp_path: Path):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    config = IngestConfig(source=FilesSource(folder=tmp_path))
    closed_at = datetime(2012, 11, 26, 21, tzinfo=UTC)
    assert fetch(config, now=closed_at).provenance["as_of"] == "2012-11-26"
    with pytest.raises(DataError, match=r"not after the present .* AAA 2012-11-26 21:00:00\+00:00"):
        fetch(config, now=closed_at - timedelta(seconds=1))
    write(tmp_path, "macro.csv", "series,date,value", "TNX,2012-11-26,1.66")
    with pytest.raises(DataError, match=r"TNX 2012-11-26 23:00:00\+00:00"):
        fetch(config, now=closed_at)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="found none at"):
        load(tmp_path / "nowhere")


def test_an_empty_folder_is_refused_with_what_belongs_there(tmp_path: Path):
    with pytest.raises(SourceError, match=r"SYMBOL\.csv or SYMBOL\.parquet"):
        load(tmp_path)


def test_a_folder_with_macro_series_only_is_refused(tmp_path: Path):
    write(tmp_path, "macro.csv", "series,date,value", "VIX,2012-11-21,15.31")
    with pytest.raises(SourceError, match="no file of a symbol"):
        load(tmp_path)


def test_two_files_of_one_symbol_are_refused(tmp_path: Path):
    csv = write(tmp_path, "AAA.csv", HEADER, *ROWS)
    pl.read_csv(csv, try_parse_dates=True).write_parquet(tmp_path / "AAA.parquet")
    with pytest.raises(SourceError, match=r"AAA\.csv and AAA\.parquet"):
        load(tmp_path)


def test_an_unknown_symbol_is_refused_and_the_known_ones_named(tmp_path: Path):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    with pytest.raises(SourceError, match=r"does not have the symbols \['ZZZ'\]; it has \['AAA'\]"):
        load(tmp_path, symbols=("AAA", "ZZZ"))


def test_an_unknown_reference_is_refused(tmp_path: Path):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    with pytest.raises(SourceError, match="INDEX"):
        load(tmp_path, references=("INDEX",))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["date,open,high,low,close", "2012-11-21,10,12,9,11"], "missing is volume"),
        (["day,open,high,low,close,volume", ROWS[0].strip()], "missing is date"),
        ([HEADER], "a header without rows"),
        ([HEADER, ROWS[1], ROWS[0]], "row 2 2012-11-21 comes after a later date.*Sort the file"),
        ([HEADER, ROWS[0], ROWS[0]], "row 2 2012-11-21 occurs twice.*Remove the duplicates"),
        ([HEADER, "2012-11-21,10,12,9,NaN,1000"], "AAA 2012-11-21 .* close: .* close nan"),
        ([HEADER, "2012-11-21,10,12,9,inf,1000"], "close: expected a finite price"),
        (
            [HEADER, "2012-11-21,10,12,9,,1000"],
            r"row 1 \(2012-11-21\) close: expected a number, received None",
        ),
        (
            [HEADER, "2012-11-21,10,12,9,eleven,1000"],
            r"row 1 \(2012-11-21\) close: expected a number, received 'eleven'",
        ),
        (
            [HEADER, "21.11.2012,10,12,9,11,1000"],
            r"row 1 date: expected a date \(YYYY-MM-DD\), received '21.11.2012'",
        ),
        ([HEADER, "2012-11-21,10,9,12,11,1000"], "low <= open and close"),
        ([HEADER, "2012-11-21,10,12,9,11,-1"], "volume: expected a finite number >= 0"),
        ([HEADER, "2012-11-22,10,12,9,11,1000"], "AAA 2012-11-22, on which it did not trade"),
        (["date,date,open", "2012-11-21,2012-11-21,10"], "each column once|cannot be read|missing"),
        ([HEADER, "2012-11-21,10,12,9,11,1000,7,8"], "cannot be read"),
    ],
    ids=lambda part: None if isinstance(part, list) else part[:25],
)
def test_a_bad_file_is_refused_with_file_row_column_and_value(
    tmp_path: Path, lines: list[str], message: str
):
    write(tmp_path, "AAA.csv", *lines)
    with pytest.raises(DataError, match=message) as refused:
        load(tmp_path)
    assert "AAA" in str(refused.value)


def test_what_is_no_parquet_is_refused(tmp_path: Path):
    (tmp_path / "AAA.parquet").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"AAA\.parquet: it cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    "days",
    [
        [datetime(2012, 11, 21, 16), datetime(2012, 11, 23, 13)],
        [datetime(2012, 11, 21, tzinfo=UTC), datetime(2012, 11, 23, tzinfo=UTC)],
        [20121121, 20121123],
    ],
    ids=["time of day", "time zone", "number"],
)
def test_parquet_dates_that_are_no_plain_days_are_refused(tmp_path: Path, days: list):
    columns = {name: [10.0, 10.0] for name in HEADER.split(",")[1:]}
    pl.DataFrame({"date": days, **columns}).write_parquet(tmp_path / "AAA.parquet")
    with pytest.raises(DataError, match=r"expected (a date|dates)"):
        load(tmp_path)


def test_parquet_dates_at_midnight_are_days(tmp_path: Path):
    columns = {name: [10, 10] for name in HEADER.split(",")[1:]}
    days = [datetime(2012, 11, 21), datetime(2012, 11, 23)]
    pl.DataFrame({"date": days, **columns}).write_parquet(tmp_path / "AAA.parquet")
    data = load(tmp_path)
    assert data.bars["closed_at"].dt.date().to_list() == [date(2012, 11, 21), date(2012, 11, 23)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["series,value", "VIX,15"], "missing is date"),
        (["series,date,value", "OIL,2012-11-21,15"], r"received \['OIL'\]"),
        (["series,date,value", "VIX,2012-11-21,high"], "received 'high'"),
        (["series,released_at,value", "VIX,2012-11-21T16:15:00,15"], "expected an instant"),
        (["series,date,value", "VIX,2012-11-21,15", "VIX,2012-11-21,15"], "occurs 2 times"),
    ],
)
def test_a_bad_macro_file_is_refused(tmp_path: Path, lines: list[str], message: str):
    write(tmp_path, "AAA.csv", HEADER, *ROWS)
    write(tmp_path, "macro.csv", *lines)
    with pytest.raises(DataError, match=message):
        load(tmp_path)
