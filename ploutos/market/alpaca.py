"""The source `alpaca`. In: symbols and days. Out: daily bars as traded, splits, dividends.

Alpaca's raw bars are as traded; splits and dividends come from its corporate actions. alpaca-py
knows no timeout: the session it uses is given one. It has no macro series.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import requests
from requests.adapters import HTTPAdapter

from ploutos.calendar import NEW_YORK, closes
from ploutos.errors import ConfigError, SourceError
from ploutos.market.asking import ask_again, ask_each, check_failures
from ploutos.market.clock import split_by_grid
from ploutos.market.config import AlpacaSource
from ploutos.market.data import MACRO_SERIES, FetchTerms, MarketData, empty_quarantine
from ploutos.market.quality import NOT_ON_GRID, quarantine_of
from ploutos.market.schema import BAR_TYPES, SHOWN, describe_rows, empty_bars, empty_macro
from ploutos.settings import load_settings

# The bar of a day is final some minutes after the close; without a subscription the newest
# quarter of an hour is not served at all.
SETTLED_AFTER = timedelta(minutes=30)
FIELDS = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}
SPLITS = ("forward_splits", "reverse_splits")
REFUSED_FOR_GOOD = (400, 401, 403, 404, 422)


class PassingRefusalError(Exception):
    """An error of Alpaca that may pass: a rate limit, or trouble at its side."""


class _TimeoutAdapter(HTTPAdapter):
    """A transport that gives every request a timeout."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._timeout_s = timeout_s

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Send with the timeout, where the caller names none."""
        options["timeout"] = options.get("timeout") or self._timeout_s
        return super().send(request, **options)


def fetch_alpaca(source: AlpacaSource, terms: FetchTerms) -> MarketData:
    """Fetch daily bars, splits and dividends up to the last finished session.

    Raises
    ------
    ConfigError
        If the extra `alpaca` is not installed or no key is set.
    SourceError
        If more symbols than allowed fail or lack more sessions than allowed.
    """
    finished = _finished(source, terms)
    clients = _clients(source, terms)
    symbols = tuple(dict.fromkeys(source.symbols))
    bars, failed = ask_each(
        symbols, lambda one: _bars_of(one, source, terms, (clients, finished)), source.network
    )
    check_failures(failed, len(symbols), source.max_failed_symbols, "Alpaca")
    return MarketData(
        name="alpaca",
        bars=pl.concat([empty_bars(), *(good for good, _ in bars.values())]),
        macro=empty_macro(),
        reference=empty_bars(),
        missing_series=MACRO_SERIES,
        exchange=terms.exchange,
        quarantine=pl.concat([empty_quarantine(), *(aside for _, aside in bars.values())]),
        provenance={
            "origin": f"Alpaca, feed {source.feed}",
            "licence": "Alpaca's terms of service",
            "price_basis": "as traded",
            "as_of": finished["session"][-1].isoformat(),
            "failed_symbols": failed,
            "revisions": [],
            "macro_sources": {},
        },
    )


def _clients(source: AlpacaSource, terms: FetchTerms) -> tuple[Any, Any]:
    try:
        from alpaca.data.historical import StockHistoricalDataClient  # noqa: PLC0415  (an extra)
        from alpaca.data.historical.corporate_actions import (  # noqa: PLC0415
            CorporateActionsClient,
        )
    except ImportError as error:
        raise ConfigError(
            "the source alpaca needs alpaca-py: pip install 'ploutos[alpaca]'"
        ) from error
    settings = load_settings()
    if settings.alpaca_key_id is None or settings.alpaca_secret_key is None:
        raise ConfigError(
            "the source alpaca needs a key: set PLOUTOS_ALPACA_KEY_ID and PLOUTOS_ALPACA_SECRET_KEY"
        )
    key = settings.alpaca_key_id.get_secret_value()
    secret = settings.alpaca_secret_key.get_secret_value()
    clients = tuple(
        kind(key, secret, raw_data=True, url_override=source.url)
        for kind in (StockHistoricalDataClient, CorporateActionsClient)
    )
    for client in clients:
        session = terms.session or requests.Session()
        for scheme in ("https://", "http://"):
            session.mount(scheme, _TimeoutAdapter(source.network.timeout_s))
        # Its own retries are neither bounded by our config nor jittered.
        client._session = session  # pyright: ignore[reportPrivateUsage]
        client._retry = 0  # pyright: ignore[reportPrivateUsage]
    return clients[0], clients[1]


def _bars_of(
    symbol: str,
    source: AlpacaSource,
    terms: FetchTerms,
    given: tuple[tuple[Any, Any], pl.DataFrame],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    clients, finished = given
    first_on = terms.ask_from(symbol, source.start_on)
    last_on = finished["session"][-1]
    raw, actions = ask_again(
        lambda: _ask(symbol, source, clients, (first_on, last_on)),
        symbol,
        source.network,
        (PassingRefusalError, requests.RequestException, ValueError, KeyError, TypeError),
    )
    # An event on a day without a bar stays as a row without prices; it is moved on when that is
    # set aside.
    traded = _to_polars(raw)
    started = traded.join(_events(actions), on="start", how="full", coalesce=True).sort("start")
    started = started.filter(pl.col("start") >= traded["start"].min()).with_columns(
        pl.col("split_ratio").fill_null(1.0),
        pl.col("cash_dividend").fill_null(0.0),
        symbol=pl.lit(symbol),
    )
    bars, strange = split_by_grid(started, terms.exchange, "1d")
    _check_complete(symbol, bars, source, finished.filter(pl.col("session") >= first_on))
    return bars, quarantine_of(strange.with_columns(reason=pl.lit(NOT_ON_GRID)), "start")


def _ask(
    symbol: str, source: AlpacaSource, clients: tuple[Any, Any], days: tuple[date, date]
) -> tuple[list[dict[str, Any]], Mapping[str, list[dict[str, Any]]]]:
    from alpaca.common.exceptions import APIError  # noqa: PLC0415  (as above)
    from alpaca.data.enums import Adjustment, DataFeed  # noqa: PLC0415
    from alpaca.data.requests import CorporateActionsRequest, StockBarsRequest  # noqa: PLC0415
    from alpaca.data.timeframe import TimeFrame, TimeFrameUnit  # noqa: PLC0415

    first_on, last_on = days
    bars = StockBarsRequest(
        symbol_or_symbols=symbol,
        timeframe=TimeFrame(1, TimeFrameUnit("Day")),
        start=datetime.combine(first_on, datetime.min.time()),
        end=datetime.combine(last_on, datetime.max.time()),
        adjustment=Adjustment.RAW,
        feed=DataFeed(source.feed),
    )
    actions = CorporateActionsRequest(symbols=[symbol], start=first_on, end=last_on)
    try:
        answered = clients[0].get_stock_bars(bars), clients[1].get_corporate_actions(actions)
    except APIError as error:
        if error.status_code in REFUSED_FOR_GOOD:
            raise SourceError(f"{symbol}: Alpaca refuses ({error.status_code})") from error
        raise PassingRefusalError(f"Alpaca answered {error.status_code}") from error
    if symbol not in answered[0]:
        raise SourceError(
            f"{symbol}: Alpaca has no bar from {first_on} to {last_on}; received "
            f"{sorted(answered[0])}. It may be unknown, delisted or renamed."
        )
    return answered[0][symbol], answered[1]


def _to_polars(raw: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    rows = [(row["t"], *(float(row[key]) for key in FIELDS.values())) for row in raw]
    types = {"stamp": pl.String(), **{name: BAR_TYPES[name] for name in FIELDS}}
    table = pl.DataFrame(rows, schema=types, orient="row")
    # The stamp of a daily bar is midnight in New York, whatever the exchange.
    instant = pl.col("stamp").str.to_datetime(time_unit="ns", time_zone="UTC")
    start = instant.dt.convert_time_zone(NEW_YORK).dt.date()
    return table.select(start.alias("start"), *FIELDS)


def _events(actions: Mapping[str, list[dict[str, Any]]]) -> pl.DataFrame:
    splits = [
        (action["ex_date"], float(action["new_rate"]) / float(action["old_rate"]), 0.0)
        for kind in SPLITS
        for action in actions.get(kind) or []
    ]
    # A dividend in shares, of which `rate` are given for each one held, is a split.
    splits += [
        (action["ex_date"], 1.0 + float(action["rate"]), 0.0)
        for action in actions.get("stock_dividends") or []
    ]
    dividends = [
        (action["ex_date"], 1.0, float(action["rate"]))
        for action in actions.get("cash_dividends") or []
    ]
    types = {"start": pl.String, "split_ratio": pl.Float64, "cash_dividend": pl.Float64}
    listed = pl.DataFrame([*splits, *dividends], schema=types, orient="row")
    grouped = listed.with_columns(pl.col("start").str.to_date()).group_by("start")
    return grouped.agg(pl.col("split_ratio").product(), pl.col("cash_dividend").sum())


def _check_complete(
    symbol: str, bars: pl.DataFrame, source: AlpacaSource, expected: pl.DataFrame
) -> None:
    bars = bars.drop_nulls("close")
    # Alpaca does not tell the first day of a symbol: what lies before its first bar may be before
    # its listing.
    expected = expected.filter(pl.col("closed_at") >= bars["closed_at"].min())
    missing = expected.join(bars, on="closed_at", how="anti")
    if bars.is_empty() or missing.height > source.max_missing_bars:
        rows = [str(day) for day in missing["session"].head(SHOWN)]
        raise SourceError(
            f"{symbol}: Alpaca delivered {bars.height} bars of {expected.height} sessions; missing "
            f"are {describe_rows(rows, missing.height)}. "
            "Try again later, or allow them with max_missing_bars."
        )


def _finished(source: AlpacaSource, terms: FetchTerms) -> pl.DataFrame:
    settled = terms.now - SETTLED_AFTER
    last_on = min(settled.date() + timedelta(days=1), source.end_on or date.max)
    finished = closes(terms.exchange, source.start_on, last_on)
    finished = finished.filter(pl.col("closed_at") <= settled)
    if finished.is_empty():
        raise SourceError(
            f"there is no finished session of {terms.exchange} from {source.start_on} to "
            f"{last_on}. Ask for earlier days."
        )
    return finished
