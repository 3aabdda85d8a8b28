"""The source `yahoo`. In: symbols and days. Out: bars as traded and macro series, or an error.

Yahoo's "raw" prices, volumes and dividends are already adjusted for every later split. The prices
as traded are rebuilt from the splits it lists, as of the day of the fetch. Every symbol must arrive
complete.
"""

from datetime import date, datetime, time, timedelta

import polars as pl

from ploutos.calendar import closes
from ploutos.errors import SourceError
from ploutos.market.clock import (
    DXY_RELEASED,
    TREASURY_RELEASED,
    VIX_RELEASED,
    release_series,
    stamp_bars,
)
from ploutos.market.config import YahooSource
from ploutos.market.data import MACRO_SERIES, FetchTerms, MarketData
from ploutos.market.schema import PRICES, SHOWN, describe_rows, empty_bars, empty_macro
from ploutos.market.yahoo_client import YahooHistory, fetch_histories

MACRO_SYMBOLS: dict[str, tuple[str, time]] = {
    "VIX": ("^VIX", VIX_RELEASED),
    "TNX": ("^TNX", TREASURY_RELEASED),
    "DXY": ("DX-Y.NYB", DXY_RELEASED),
}
# Yahoo goes on correcting a bar for some minutes after the close.
SETTLED_AFTER = timedelta(minutes=30)


def fetch_yahoo(source: YahooSource, terms: FetchTerms) -> MarketData:
    """Fetch daily bars and macro series up to the last finished session.

    Raises
    ------
    SourceError
        If a symbol is unknown, empty, answered under another name, lacks more sessions than allowed
        or still fails after the last attempt. Nothing is returned then: columns never shift.
    """
    last_on = _last_session(source, terms)
    symbols = tuple(dict.fromkeys(source.symbols))
    macro_symbols = tuple(MACRO_SYMBOLS[series][0] for series in dict.fromkeys(source.macro))
    histories = fetch_histories((*macro_symbols, *symbols), source, terms.session)
    bars = [_bars_of(histories[symbol], source, terms.exchange, last_on) for symbol in symbols]
    macro = [
        _macro_of(series, histories[MACRO_SYMBOLS[series][0]], source, last_on, terms.now)
        for series in dict.fromkeys(source.macro)
    ]
    return MarketData(
        name="yahoo",
        bars=pl.concat([empty_bars(), *bars]),
        macro=pl.concat([empty_macro(), *macro]),
        reference=empty_bars(),
        missing_series=tuple(series for series in MACRO_SERIES if series not in source.macro),
        exchange=terms.exchange,
        provenance={
            "origin": "Yahoo Finance through yfinance",
            "licence": "Yahoo's terms of service; for personal use",
            "price_basis": "as traded, rebuilt from split-adjusted prices and the listed splits",
            "as_of": last_on.isoformat(),
            "survivor_biased": True,
        },
    )


def traded_prices(history: pl.DataFrame) -> pl.DataFrame:
    """Undo Yahoo's split adjustment.

    Parameters
    ----------
    history
        `YahooHistory.frame`, complete up to the present.

    Returns
    -------
    pl.DataFrame
        `date`, prices (times every later split), `volume` (divided by them, whole shares),
        `split_ratio`, `cash_dividend` (times every later split), all as of each row's day.
    """
    ratio = pl.when(pl.col("split") > 0).then(pl.col("split")).otherwise(1.0)
    later = ratio.cum_prod(reverse=True) / ratio
    return history.select(
        "date",
        *((pl.col(price) * later).alias(price) for price in PRICES),
        volume=(pl.col("volume") / later).round(),
        split_ratio=ratio,
        cash_dividend=pl.col("dividend") * later,
    )


def _bars_of(
    history: YahooHistory, source: YahooSource, exchange: str, last_on: date
) -> pl.DataFrame:
    traded = traded_prices(history.frame)
    traded = traded.filter(pl.col("date").is_between(source.start_on, last_on))
    _check_complete(history, traded, source, exchange, last_on)
    dated = traded.with_columns(symbol=pl.lit(history.symbol))
    return stamp_bars(dated, exchange, f"Yahoo's {history.symbol}")


def _check_complete(
    history: YahooHistory, traded: pl.DataFrame, source: YahooSource, exchange: str, last_on: date
) -> None:
    first_on = max(source.start_on, history.first_trade_on or source.start_on)
    expected = closes(exchange, first_on, last_on)
    missing = expected.join(traded, left_on="session", right_on="date", how="anti")
    if missing.height > source.max_missing_sessions:
        rows = [str(day) for day in missing["session"].head(SHOWN)]
        raise SourceError(
            f"{history.symbol}: Yahoo delivered {traded.height} bars of {expected.height} sessions "
            f"from {first_on} to {last_on}; missing are {describe_rows(rows, missing.height)}. "
            "Try again later, or allow them with max_missing_sessions."
        )


def _macro_of(
    series: str, history: YahooHistory, source: YahooSource, last_on: date, now: datetime
) -> pl.DataFrame:
    dated = history.frame.filter(pl.col("date").is_between(source.start_on, last_on)).select(
        "date", value=pl.col("close").fill_nan(None)
    )
    released = release_series(dated, series, MACRO_SYMBOLS[series][1])
    released = released.filter(pl.col("released_at") <= now)
    if released.is_empty():
        raise SourceError(
            f"{history.symbol}: Yahoo has no value from {source.start_on} to {last_on}. "
            f"Leave {series} out of `macro` for these days."
        )
    return released


def _last_session(source: YahooSource, terms: FetchTerms) -> date:
    settled = terms.now - SETTLED_AFTER
    last = settled.date() + timedelta(days=1)
    if source.end_on is not None:
        last = min(last, source.end_on)
    finished = closes(terms.exchange, source.start_on, last)
    finished = finished.filter(pl.col("closed_at") <= settled)
    if finished.is_empty():
        raise SourceError(
            f"there is no finished session of {terms.exchange} from {source.start_on} to {last}. "
            "Ask for earlier days."
        )
    return finished["session"][-1]
