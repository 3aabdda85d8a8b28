"""The stage itself. In: `IngestConfig`. Out: checked `MarketData`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from ploutos.errors import DataError, SourceError
from ploutos.market.config import IngestConfig
from ploutos.market.data import MACRO_SERIES, FetchTerms, MarketData
from ploutos.market.files import fetch_files
from ploutos.market.sample.source import fetch_sample
from ploutos.market.schema import check_bars, check_macro
from ploutos.market.synthetic import fetch_synthetic
from ploutos.market.yahoo import fetch_yahoo

if TYPE_CHECKING:
    import pandas


class FetchSource(Protocol):
    """A source: its config and the terms in, data out that are not checked yet."""

    def __call__(self, source: Any, terms: FetchTerms, /) -> MarketData:
        """Fetch everything that the source's config asks for."""
        ...


SOURCES: Mapping[str, FetchSource] = {
    "sample": fetch_sample,
    "files": fetch_files,
    "synthetic": fetch_synthetic,
    "yahoo": fetch_yahoo,
}


def fetch(
    config: IngestConfig, session: Any | None = None, now: datetime | None = None
) -> MarketData:
    """Fetch market data from the configured source and check them.

    Parameters
    ----------
    config
        What to fetch.
    session
        HTTP session (curl_cffi or requests) that a network source is to use instead of its own.
    now
        The instant, with a time zone, as of which the data are taken; the present by default. A
        network source leaves out bars that are not finished then; other sources ignore it.

    Returns
    -------
    MarketData
        Checked, sorted, only the symbols asked for.

    Raises
    ------
    SourceError
        If the source cannot deliver, or does not have one of the symbols.
    DataError
        If what it delivers breaks a rule of `ploutos.market.schema`.
    """
    source = config.source
    terms = FetchTerms(config.exchange, now or datetime.now(UTC), session)
    fetched = SOURCES[source.kind](source, terms)
    return check_market(_keep_symbols(fetched, config.symbols))


def check_market(data: MarketData) -> MarketData:
    """Return the same data with every frame checked and in canonical order.

    Raises
    ------
    DataError
        If a frame breaks a rule, no bar is left, or a declared missing series has values.
    """
    if data.bars.is_empty():
        raise DataError(f"{data.name}: expected bars, received none")
    both = set(data.bars["symbol"]) & set(data.reference["symbol"])
    if both:
        raise DataError(f"{data.name}: {sorted(both)} are both traded and reference; choose one")
    macro = check_macro(data.macro, f"macro series of {data.name}")
    present = set(macro["series"])
    if present & set(data.missing_series):
        raise DataError(
            f"{data.name}: the series {sorted(present)} have values, but declared missing are "
            f"{list(data.missing_series)}"
        )
    return MarketData(
        name=data.name,
        bars=check_bars(data.bars, data.exchange, f"bars of {data.name}"),
        macro=macro,
        reference=check_bars(data.reference, data.exchange, f"reference of {data.name}"),
        missing_series=tuple(series for series in MACRO_SERIES if series not in present),
        exchange=data.exchange,
        provenance=data.provenance,
    )


class DataFetcher:
    """Fetches market data once and hands it out as pandas frames; Polars inside.

    Parameters
    ----------
    config
        What to fetch; the default is the data set that travels with the package.
    session
        HTTP session for a network source.
    """

    def __init__(self, config: IngestConfig | None = None, session: Any | None = None) -> None:
        self.config = config or IngestConfig()
        self._session = session

    @cached_property
    def data(self) -> MarketData:
        """The checked data, fetched on first use."""
        return fetch(self.config, self._session)

    def fetch_ohlcv(self) -> "pandas.DataFrame":
        """Return the bars: symbol, closed_at (UTC), prices and volume as traded, split, dividend.

        Returns
        -------
        pandas.DataFrame
            One row per (symbol, closed_at), sorted, with the columns of `MarketData.bars`.
        """
        return self.data.bars.to_pandas()

    def fetch_macro(self) -> "pandas.DataFrame":
        """Return the macro series: series, released_at (UTC), value; one row per release."""
        return self.data.macro.to_pandas()


def _keep_symbols(data: MarketData, symbols: tuple[str, ...] | None) -> MarketData:
    if symbols is None:
        return data
    unknown = sorted(set(symbols) - set(data.symbols))
    if unknown:
        raise SourceError(
            f"{data.name} does not have the symbols {unknown}; it has {list(data.symbols)}."
        )
    return MarketData(
        name=data.name,
        bars=data.bars.filter(pl.col("symbol").is_in(symbols)),
        macro=data.macro,
        reference=data.reference,
        missing_series=data.missing_series,
        exchange=data.exchange,
        provenance={**data.provenance, "kept_symbols": sorted(symbols)},
    )
