"""The stage itself. In: `IngestConfig`. Out: checked `MarketData`."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from ploutos.errors import DataError, SourceError
from ploutos.market.alpaca import fetch_alpaca
from ploutos.market.config import AlpacaSource, FredMacro, IngestConfig, Source, YahooSource
from ploutos.market.data import MACRO_SERIES, FetchTerms, MarketData
from ploutos.market.ended import leave_out_ended
from ploutos.market.extend import extend_market
from ploutos.market.files import fetch_files
from ploutos.market.fred import FRED_SERIES, fetch_fred
from ploutos.market.grid import is_longer
from ploutos.market.jumps import check_jumps
from ploutos.market.longer import lengthen
from ploutos.market.quality import check_past, check_share, set_aside
from ploutos.market.sample.source import fetch_sample
from ploutos.market.schema import check_bars, check_macro
from ploutos.market.synthetic import fetch_synthetic
from ploutos.market.universe import Universe, describe_choice, load_universe
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
    "alpaca": fetch_alpaca,
}
# What these deliver was observed, and may be wrong; the others were checked when they were made.
OBSERVED = ("files", "yahoo", "alpaca")


def fetch(
    config: IngestConfig,
    session: Any | None = None,
    now: datetime | None = None,
    earlier: MarketData | None = None,
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
        network source leaves out bars that are not finished then; in files they are an error.
    earlier
        What was fetched last under the same config. A network source asks only for what is newer
        and for some bars more, which are compared; the result holds everything.

    Returns
    -------
    MarketData
        Checked, sorted, only the symbols asked for.

    Raises
    ------
    SourceError
        If the source cannot deliver, or does not have one of the symbols.
    RevisionError
        If it changed what it had delivered before in a way that no split or dividend explains.
    DataError
        If what it delivers breaks a rule of `ploutos.market.schema`, or more of what the config's
        `quality` counts than it allows.
    """
    now = now or datetime.now(UTC)
    # A feed that froze before is recognised only with the bars at which it did.
    overlap = max(config.overlap_bars, config.quality.frozen_after_bars)
    terms = FetchTerms(config.exchange, now, session, earlier, overlap)
    universe = load_universe(config.universe) if config.universe else None
    source = _with_symbols(config.source, universe)
    data = SOURCES[source.kind](source, terms)
    data = _keep_symbols(data, universe.symbols if universe else config.symbols)
    if config.macro is not None:
        data = _add_macro(data, config.macro, terms)
    if source.kind in OBSERVED:
        check_past(data, now)
        data = _judge(data, source, config, earlier)
    if earlier is not None:
        data = extend_market(earlier, data, config.max_volume_revision)
    if source.kind in OBSERVED:
        data = leave_out_ended(data, config.quality)
        check_share(data, config.quality)
        check_jumps(data, config.quality)
        choice = describe_choice(data, universe, now)
        data = replace(data, provenance=data.provenance | choice)
    return check_market(data)


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
    bars, reference = (
        check_bars(frame, data.exchange, f"{table} of {data.name}", data.interval)
        for table, frame in (("bars", data.bars), ("reference", data.reference))
    )
    return replace(
        data,
        bars=bars,
        macro=macro,
        reference=reference,
        missing_series=tuple(series for series in MACRO_SERIES if series not in present),
        quarantine=data.quarantine.sort("symbol", "stamp"),
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


def _judge(
    data: MarketData, source: Source, config: IngestConfig, earlier: MarketData | None
) -> MarketData:
    """Set bad bars aside, and make longer bars of the good ones where the source wants them."""
    interval = source.interval if isinstance(source, YahooSource) else data.interval
    stored = None if earlier is None or is_longer(interval) else earlier.bars
    good, aside = set_aside(data.bars, data.interval, config.quality, stored)
    data = replace(data, bars=good, quarantine=pl.concat([data.quarantine, aside]))
    if not is_longer(interval):
        return data
    # Inside a longer bar a jump would not be seen.
    check_jumps(data, config.quality)
    return replace(data, bars=lengthen(good, data.exchange, interval), interval=interval)


def _keep_symbols(data: MarketData, symbols: tuple[str, ...] | None) -> MarketData:
    if symbols is None:
        return data
    failed = data.provenance.get("failed_symbols", {})
    unknown = sorted(set(symbols) - set(data.symbols) - set(failed))
    if unknown:
        raise SourceError(
            f"{data.name} does not have the symbols {unknown}; it has {list(data.symbols)}."
        )
    return replace(
        data,
        bars=data.bars.filter(pl.col("symbol").is_in(symbols)),
        quarantine=data.quarantine.filter(pl.col("symbol").is_in(symbols)),
        provenance={**data.provenance, "kept_symbols": sorted(symbols)},
    )


def _with_symbols(source: Source, universe: Universe | None) -> Source:
    if universe is None or not isinstance(source, YahooSource | AlpacaSource) or source.symbols:
        return source
    return source.model_copy(update={"symbols": universe.symbols})


def _add_macro(data: MarketData, config: FredMacro, terms: FetchTerms) -> MarketData:
    both = sorted(set(config.series) & set(data.macro["series"]))
    if both:
        raise DataError(
            f"{data.name} delivers the series {both}, which are asked for from FRED too: a series "
            "comes from one source. Take them out of macro.series."
        )
    origins = {series: f"FRED {FRED_SERIES[series].id}" for series in config.series}
    known = data.provenance.get("macro_sources", {})
    return replace(
        data,
        macro=pl.concat([data.macro, fetch_fred(config, terms)]),
        missing_series=tuple(one for one in data.missing_series if one not in config.series),
        provenance=data.provenance | {"macro_sources": known | origins},
    )
