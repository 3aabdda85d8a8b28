"""The sample data against what exchanges, companies and packages published."""

import os
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ploutos.calendar import sessions
from ploutos.errors import SourceError
from ploutos.market import IngestConfig, MarketData, fetch
from ploutos.market.config import SampleName, SampleSource
from ploutos.market.sample.build import build_macro_2014, build_tech_2004
from ploutos.market.sample.source import load_sample
from ploutos.market.schema import check_bars, check_macro

SAMPLES = Path(__file__).parents[3] / "ploutos" / "market" / "sample"
WHEELS = os.environ.get("PLOUTOS_TEST_WHEELS", "")


def load(name: SampleName) -> MarketData:
    return fetch(IngestConfig(source=SampleSource(name=name)))


@pytest.fixture(scope="module")
def tech() -> MarketData:
    return load("tech-2004")


@pytest.fixture(scope="module")
def recent() -> MarketData:
    return load("macro-2014")


def by_date(frame: pl.DataFrame, instant: str = "closed_at") -> pl.DataFrame:
    local = pl.col(instant).dt.convert_time_zone("America/New_York")
    return frame.with_columns(date=local.dt.date())


def value(frame: pl.DataFrame, name: str, day: date, column: str) -> float:
    key, instant = (
        ("symbol", "closed_at") if "symbol" in frame.columns else ("series", "released_at")
    )
    found = by_date(frame, instant).filter((pl.col(key) == name) & (pl.col("date") == day))
    return found[column].item()


def actions(data: MarketData, symbol: str, column: str, none: float) -> dict[date, float]:
    rows = by_date(data.bars).filter((pl.col("symbol") == symbol) & (pl.col(column) != none))
    return dict(zip(rows["date"], rows[column], strict=True))


def test_tech_2004_holds_every_session_of_four_symbols(tech: MarketData):
    expected = sessions("XNYS", date(2004, 8, 19), date(2013, 3, 1))
    assert len(expected) == 2148
    assert tech.symbols == ("AAPL", "GOOG", "IBM", "MSFT")
    for symbol in tech.symbols:
        assert by_date(tech.bars.filter(pl.col("symbol") == symbol))["date"].to_list() == expected


def test_macro_2014_holds_every_session_of_two_symbols_and_two_indices(recent: MarketData):
    expected = sessions("XNYS", date(2014, 1, 3), date(2017, 3, 29))
    assert len(expected) == 815
    assert recent.symbols == ("GOOGL", "MSFT")
    assert sorted(set(recent.reference["symbol"])) == ["NASDAQCOM", "SP500"]
    for frame, symbol in [
        (recent.bars, "GOOGL"),
        (recent.bars, "MSFT"),
        (recent.reference, "SP500"),
        (recent.reference, "NASDAQCOM"),
    ]:
        assert by_date(frame.filter(pl.col("symbol") == symbol))["date"].to_list() == expected


def test_apples_actions_are_the_published_ones(tech: MarketData):
    assert actions(tech, "AAPL", "split_ratio", 1.0) == {date(2005, 2, 28): 2.0}
    assert actions(tech, "AAPL", "cash_dividend", 0.0) == {
        date(2012, 8, 9): 2.65,
        date(2012, 11, 7): 2.65,
        date(2013, 2, 7): 2.65,
    }


def test_google_neither_split_nor_paid_before_2014(tech: MarketData):
    assert actions(tech, "GOOG", "split_ratio", 1.0) == {}
    assert actions(tech, "GOOG", "cash_dividend", 0.0) == {}


def test_microsofts_dividends_are_the_published_ones(tech: MarketData):
    paid = actions(tech, "MSFT", "cash_dividend", 0.0)
    # The special dividend of 3.00 fell on one day with the quarterly 0.08.
    assert paid[date(2004, 11, 15)] == 3.08
    published = [0.08, 3.08] + 4 * [0.08] + 3 * [0.09] + 4 * [0.10] + 4 * [0.11] + 8 * [0.13]
    published += 4 * [0.16] + 4 * [0.20] + 2 * [0.23]
    assert [paid[day] for day in sorted(paid)] == published
    assert actions(tech, "MSFT", "split_ratio", 1.0) == {}


def test_ibms_dividends_are_the_published_ones(tech: MarketData):
    paid = actions(tech, "IBM", "cash_dividend", 0.0)
    published = 2 * [0.18] + 4 * [0.20] + 4 * [0.30] + 4 * [0.40] + 4 * [0.50] + 4 * [0.55]
    published += 4 * [0.65] + 4 * [0.75] + 4 * [0.85]
    assert [paid[day] for day in sorted(paid)] == published
    assert paid[date(2005, 5, 6)] == 0.20


@pytest.mark.parametrize(
    ("symbol", "day", "close"),
    [
        ("GOOG", date(2004, 8, 19), 100.335),  # 100.34 in the press: the first day of trading
        ("AAPL", date(2012, 9, 19), 702.10),  # the highest close before the 7:1 split
        ("AAPL", date(2005, 2, 25), 88.99),  # the last day before the 2:1 split
        ("MSFT", date(2004, 11, 12), 29.97),
    ],
)
def test_closes_of_tech_2004_are_those_traded(
    tech: MarketData, symbol: str, day: date, close: float
):
    assert value(tech.bars, symbol, day, "close") == pytest.approx(close, abs=0.01)


@pytest.mark.parametrize(
    ("symbol", "day", "close"),
    [
        ("GOOGL", date(2014, 4, 2), 1135.10),
        ("GOOGL", date(2015, 12, 31), 778.01),
        ("GOOGL", date(2016, 12, 30), 792.45),
        ("MSFT", date(2014, 1, 3), 36.91),
        ("MSFT", date(2014, 12, 31), 46.45),
        ("MSFT", date(2015, 12, 31), 55.48),
        ("MSFT", date(2016, 12, 30), 62.14),
    ],
)
def test_closes_of_macro_2014_are_those_traded(
    recent: MarketData, symbol: str, day: date, close: float
):
    assert value(recent.bars, symbol, day, "close") == pytest.approx(close, abs=0.003)


def test_actions_of_macro_2014_are_the_published_ones(recent: MarketData):
    assert actions(recent, "GOOGL", "split_ratio", 1.0) == {date(2014, 4, 3): 1.998}
    assert actions(recent, "GOOGL", "cash_dividend", 0.0) == {}
    paid = actions(recent, "MSFT", "cash_dividend", 0.0)
    assert [paid[day] for day in sorted(paid)] == 3 * [0.28] + 4 * [0.31] + 4 * [0.36] + 2 * [0.39]
    assert actions(recent, "MSFT", "split_ratio", 1.0) == {}


@pytest.mark.parametrize("name", ["tech-2004", "macro-2014"])
def test_no_split_or_dividend_leaves_a_jump(name: SampleName):
    # Yesterday's share becomes `split_ratio` shares and a dividend: its value moves like a return.
    bars = load(name).bars.with_columns(
        held=(pl.col("close") * pl.col("split_ratio") + pl.col("cash_dividend"))
        / pl.col("close").shift(1).over("symbol")
    )
    eventful = bars.filter((pl.col("split_ratio") != 1) | (pl.col("cash_dividend") > 0))
    assert eventful["held"].is_between(0.9, 1.1).all()


def test_macro_2014_agrees_with_package_arch(recent: MarketData):
    vix = pytest.importorskip("arch.data.vix").load()["vix"].dropna()
    mine = by_date(recent.macro.filter(pl.col("series") == "VIX"), "released_at")
    theirs = vix[: np.datetime64("2017-03-29")]
    assert mine["date"].to_list() == [stamp.date() for stamp in theirs.index]
    np.testing.assert_array_equal(mine["value"], theirs.to_numpy())
    for module, symbol in [("sp500", "SP500"), ("nasdaq", "NASDAQCOM")]:
        table = pytest.importorskip(f"arch.data.{module}").load()
        table = table[np.datetime64("2014-01-03") : np.datetime64("2017-03-29")]
        reference = recent.reference.filter(pl.col("symbol") == symbol)
        for column in ("Open", "High", "Low", "Close", "Volume"):
            np.testing.assert_array_equal(reference[column.lower()], table[column].to_numpy())


@pytest.mark.parametrize(
    ("name", "day", "percent"),
    [
        ("tech-2004", date(2008, 12, 31), 2.25),
        ("tech-2004", date(2012, 7, 25), 1.43),  # the low of those years
        ("macro-2014", date(2016, 7, 8), 1.37),  # the lowest ten-year yield until 2020
        ("macro-2014", date(2016, 12, 30), 2.45),
    ],
)
def test_ten_year_yields_are_the_treasurys(name: SampleName, day: date, percent: float):
    assert value(load(name).macro, "TNX", day, "value") == pytest.approx(percent, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "day", "points"),
    [
        ("tech-2004", date(2004, 12, 31), 80.85),
        ("tech-2004", date(2008, 3, 17), 71.3),
        ("macro-2014", date(2015, 12, 31), 98.6),
        ("macro-2014", date(2017, 1, 3), 103.2),
    ],
)
def test_the_dollar_index_lies_within_a_percent_of_the_one_of_ice(
    name: SampleName, day: date, points: float
):
    assert value(load(name).macro, "DXY", day, "value") == pytest.approx(points, rel=0.01)


def test_missing_macro_series_are_declared_and_absent(tech: MarketData, recent: MarketData):
    assert tech.missing_series == ("VIX",)
    assert set(tech.macro["series"]) == {"TNX", "DXY"}
    assert recent.missing_series == ()
    assert set(recent.macro["series"]) == {"VIX", "TNX", "DXY"}


@pytest.mark.parametrize(
    ("series", "clock"), [("VIX", (16, 15)), ("TNX", (18, 0)), ("DXY", (10, 0))]
)
def test_macro_values_are_released_at_their_new_york_time(
    recent: MarketData, series: str, clock: tuple[int, int]
):
    released = recent.macro.filter(pl.col("series") == series)["released_at"]
    local = released.dt.convert_time_zone("America/New_York").dt.time()
    assert {(moment.hour, moment.minute) for moment in local} == {clock}


def test_the_provenance_names_origin_version_licence_basis_and_digest(
    tech: MarketData, recent: MarketData
):
    for data in (tech, recent):
        assert data.provenance["price_basis"]
        assert data.provenance["survivor_biased"] is True
        for origin in data.provenance["origins"]:
            assert origin["package"]
            assert origin["version"]
            assert origin["package_licence"] != "not recorded"
            assert origin["basis"]
            assert len(origin["sha256"]) == 64
    assert tech.provenance["origins"][0]["data_licence"] == "Public domain"


def test_the_files_of_the_samples_are_small():
    sizes = [file.stat().st_size for file in SAMPLES.rglob("*.parquet")]
    assert len(sizes) == 6
    assert max(sizes) < 1_000_000


@pytest.mark.parametrize("name", ["bars.parquet", "macro.parquet", "provenance.json"])
def test_a_damaged_file_of_a_sample_is_refused_and_named(tmp_path: Path, name: str):
    shutil.copytree(SAMPLES / "macro-2014", tmp_path, dirs_exist_ok=True)
    assert load_sample("macro-2014", tmp_path).symbols == ("GOOGL", "MSFT")
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-100])
    with pytest.raises(SourceError, match=f"{name} is damaged"):
        load_sample("macro-2014", tmp_path)


def test_a_sample_is_refused_under_another_exchange():
    with pytest.raises(SourceError, match="XNYS"):
        fetch(IngestConfig(exchange="XLON"))


@pytest.mark.skipif(not WHEELS, reason="PLOUTOS_TEST_WHEELS names no folder with the wheels")
def test_the_script_builds_the_shipped_values_again(tech: MarketData, recent: MarketData):
    for data, build in ((tech, build_tech_2004), (recent, build_macro_2014)):
        tables = build(Path(WHEELS))
        assert check_bars(tables.bars, "XNYS", "again").equals(data.bars)
        assert check_macro(tables.macro, "again").equals(data.macro)
        assert check_bars(tables.reference, "XNYS", "again").equals(data.reference)


def test_macro_values_begin_a_year_before_the_bars(tech: MarketData):
    first = tech.bars["closed_at"].min()
    begins = tech.macro.group_by("series").agg(pl.col("released_at").min())["released_at"]
    assert all(begin < first - timedelta(days=365) for begin in begins)
