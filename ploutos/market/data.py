"""The value that leaves this stage. In: checked frames. Out: `MarketData`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

MACRO_SERIES = ("VIX", "TNX", "DXY")


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
    """

    exchange: str
    now: datetime
    session: Any | None = None


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
    provenance
        Where the data come from, under which licence, on which price basis; JSON-able.
    """

    name: str
    bars: pl.DataFrame
    macro: pl.DataFrame
    reference: pl.DataFrame
    missing_series: tuple[str, ...] = ()
    exchange: str = "XNYS"
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols that can be traded, sorted."""
        return tuple(sorted(self.bars["symbol"].unique().to_list()))
