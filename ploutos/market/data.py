"""The value that leaves this stage. In: checked frames. Out: `MarketData`."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

from ploutos.calendar import NEW_YORK
from ploutos.market.grid import Interval

MACRO_SERIES = ("VIX", "TNX", "DXY")
QUARANTINE_TYPES: dict[str, pl.DataType] = {
    "symbol": pl.String(),
    "stamp": pl.String(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "split_ratio": pl.Float64(),
    "cash_dividend": pl.Float64(),
    "reason": pl.String(),
}


def empty_quarantine() -> pl.DataFrame:
    """Return a quarantine table without a row; `stamp` is the close, or the start, as text."""
    return pl.DataFrame(schema=QUARANTINE_TYPES)


@dataclass(frozen=True)
class FetchTerms:
    """Under which terms a source is asked.

    Attributes
    ----------
    exchange
        Calendar code of the exchange whose sessions the bars follow.
    now
        The instant as of which the data are taken; bars not finished then are left out.
    session
        HTTP session for a network source to use in place of its own.
    earlier
        What was fetched last under the same config; a network source asks for what is newer.
    overlap_bars
        How many stored bars of each symbol, and values of each series, are asked for again.
    """

    exchange: str
    now: datetime
    session: Any | None = None
    earlier: "MarketData | None" = None
    overlap_bars: int = 5

    def ask_from(self, symbol: str, start_on: date) -> date:
        """Return the first day to ask for: that of an overlapping stored bar, or `start_on`.

        It is a bar without a split or dividend: a bar with one may have got it from a bar before it
        that was set aside, and the answer would not tell.
        """
        if self.earlier is None:
            return start_on
        own = self.earlier.bars.filter(pl.col("symbol") == symbol)
        own = own.head(max(0, own.height - self.overlap_bars + 1))
        quiet = own.filter(pl.col("split_ratio") == 1, pl.col("cash_dividend") == 0)
        return self._first_day(quiet["closed_at"].tail(1), start_on)

    def ask_series_from(self, series: str, start_on: date) -> date:
        """Return the first day to ask for of a macro series, as `ask_from` does."""
        if self.earlier is None:
            return start_on
        macro = self.earlier.macro.filter(pl.col("series") == series)
        return self._first_day(macro["released_at"].tail(self.overlap_bars), start_on)

    def _first_day(self, stamps: pl.Series, start_on: date) -> date:
        if stamps.is_empty():
            return start_on
        # The New York date: that of the session for bars, and not after that of the observation.
        days = stamps.dt.convert_time_zone(NEW_YORK).dt.date()
        return max(start_on, days[0])


@dataclass(frozen=True, eq=False)
class MarketData:
    """Bars, macro series and benchmark series of one data set.

    Attributes
    ----------
    name
        Name of the data set.
    bars
        One row per symbol and session, sorted by (symbol, closed_at): `symbol` String, `closed_at`
        Datetime("ns", "UTC"), `open high low close` in the quote currency as traded, `volume` in
        shares as traded, `split_ratio` (new shares per old share, in force from this bar's open;
        1 = none), `cash_dividend` (per share as traded, this bar being the ex-date; 0 = none).
    macro
        Sorted by (series, released_at): `series` String ("VIX" in points, "TNX" in percent a year,
        "DXY" in points), `released_at` Datetime("ns", "UTC"), `value` Float64.
    reference
        Benchmark series in the form of `bars`; never traded; may hold no row.
    missing_series
        Macro series that are declared missing; they stay masked and are never invented.
    exchange
        Calendar code of the sessions.
    interval
        Length of a bar, see `ploutos.market.grid`.
    quarantine
        Bars that were set aside, with the reason: the columns of `QUARANTINE_TYPES`.
    provenance
        Where the data come from, under which licence, on which price basis; JSON-able.
    """

    name: str
    bars: pl.DataFrame
    macro: pl.DataFrame
    reference: pl.DataFrame
    missing_series: tuple[str, ...] = ()
    exchange: str = "XNYS"
    interval: Interval = "1d"
    quarantine: pl.DataFrame = field(default_factory=empty_quarantine)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that can be traded, sorted."""
        return tuple(sorted(self.bars["symbol"].unique().to_list()))

    @property
    def survivor_bias(self) -> str:
        """One sentence on how the symbols were chosen, for the report; empty if made up."""
        generic = "The symbols are survivors: results on them are biased upwards."
        known = generic if self.provenance.get("survivor_biased") else ""
        return str(self.provenance.get("survivor_bias", known))
