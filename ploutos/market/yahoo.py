"""The source `yahoo`. In: symbols and days. Out: bars as traded and macro series, or an error.

Yahoo's "raw" prices, volumes and dividends are already adjusted for every later split. The prices
as traded are rebuilt from the splits it lists, as of the day of the fetch. Every symbol must arrive
complete; how many may fail is the config's decision, and a failure is recorded. Where bars of
several sessions are wanted, the daily ones of all finished bars are delivered, to be judged first
and then lengthened.
"""

from datetime import date, time, timedelta

import polars as pl

from ploutos.errors import SourceError
from ploutos.market.asking import ask_each, check_failures
from ploutos.market.clock import (
    DXY_RELEASED,
    TREASURY_RELEASED,
    VIX_RELEASED,
    release_series,
    split_by_grid,
)
from ploutos.market.config import YahooSource
from ploutos.market.data import MACRO_SERIES, FetchTerms, MarketData, empty_quarantine
from ploutos.market.grid import Interval, bar_grid, is_intraday, is_longer, period_start
from ploutos.market.quality import NOT_ON_GRID, quarantine_of
from ploutos.market.schema import PRICES, SHOWN, describe_rows, empty_bars, empty_macro
from ploutos.market.yahoo_client import YahooHistory, YahooQuestion, fetch_history, prepare_yahoo

MACRO_SYMBOLS: dict[str, tuple[str, time]] = {
    "VIX": ("^VIX", VIX_RELEASED),
    "TNX": ("^TNX", TREASURY_RELEASED),
    "DXY": ("DX-Y.NYB", DXY_RELEASED),
}
# Yahoo goes on correcting a bar for some minutes after the close, and the last value of a series.
SETTLED_AFTER = timedelta(minutes=30)


def fetch_yahoo(source: YahooSource, terms: FetchTerms) -> MarketData:
    """Fetch bars and macro series up to the last finished bar.

    Raises
    ------
    SourceError
        If a macro series, or more symbols than allowed, are unknown, empty, answered under another
        name, lack more bars than allowed or still fail after the last attempt. Nothing is returned
        then. A symbol that may fail is absent by name: the others are what they would have been.
    """
    finished = _finished(source, terms)
    prepare_yahoo()
    symbols = tuple(dict.fromkeys(source.symbols))
    bars, failed = ask_each(
        symbols, lambda one: _bars_of(one, source, terms, finished), source.network
    )
    check_failures(failed, len(symbols), source.max_failed_symbols, "Yahoo")
    series = tuple(dict.fromkeys(source.macro))
    macro, lost = ask_each(series, lambda one: _macro_of(one, source, terms), source.network)
    check_failures(lost, len(series), 0, "Yahoo")
    return MarketData(
        name="yahoo",
        bars=pl.concat([empty_bars(), *(good for good, _ in bars.values())]),
        macro=pl.concat([empty_macro(), *macro.values()]),
        reference=empty_bars(),
        missing_series=tuple(one for one in MACRO_SERIES if one not in series),
        exchange=terms.exchange,
        interval=_asked(source),
        quarantine=pl.concat([empty_quarantine(), *(aside for _, aside in bars.values())]),
        provenance={
            "origin": "Yahoo Finance through yfinance",
            "licence": "Yahoo's terms of service; for personal use",
            "price_basis": "as traded, rebuilt from split-adjusted prices and the listed splits",
            "as_of": finished["closed_at"][-1].date().isoformat(),
            "failed_symbols": failed,
            "revisions": [],
            "macro_sources": {one: f"Yahoo {MACRO_SYMBOLS[one][0]}" for one in series},
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
        `start`, prices (times every later split), `volume` (divided by them, whole shares),
        `split_ratio`, `cash_dividend` (times every later split), all as of each row's day; a row
        without any price stays only where it holds an event.
    """
    ratio = pl.when(pl.col("split") > 0).then(pl.col("split")).otherwise(1.0)
    later = ratio.cum_prod(reverse=True) / ratio
    traded = history.select(
        "start",
        *((pl.col(price) * later).alias(price) for price in PRICES),
        volume=(pl.col("volume") / later).round(),
        split_ratio=ratio,
        cash_dividend=pl.col("dividend") * later,
    )
    event = (pl.col("split_ratio") != 1) | (pl.col("cash_dividend") > 0)
    return traded.filter(pl.any_horizontal(pl.col(PRICES).is_not_nan()) | event)


def _bars_of(
    symbol: str, source: YahooSource, terms: FetchTerms, finished: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a symbol's finished bars and what the exchange's schedule does not have."""
    first_on = terms.ask_from(symbol, source.start_on)
    begins = period_start(terms.exchange, source.interval, first_on)
    question = YahooQuestion(_asked(source), terms.now, source.network, terms.session)
    history = fetch_history(symbol, begins, question)
    traded = traded_prices(history.frame).with_columns(symbol=pl.lit(symbol))
    traded = traded.filter(pl.col("start").cast(pl.Date) >= begins)
    known, strange = split_by_grid(traded, terms.exchange, _asked(source))
    bars = known.join(finished.select("closed_at"), on="closed_at", how="semi")
    _check_complete(history, bars, source, finished.filter(_starts(begins)))
    past = strange.filter(pl.col("start") <= finished["start"][-1])
    return bars, quarantine_of(past.with_columns(reason=pl.lit(NOT_ON_GRID)), "start")


def _check_complete(
    history: YahooHistory, bars: pl.DataFrame, source: YahooSource, expected: pl.DataFrame
) -> None:
    if history.first_trade_on is not None:
        # On its first day a stock does not trade from the open.
        late = timedelta(days=1 if is_intraday(source.interval) else 0)
        expected = expected.filter(_starts(history.first_trade_on + late))
    bars = bars.filter(pl.col("close").is_not_nan())
    missing = expected.join(bars, on="closed_at", how="anti").sort("start")
    if missing.height > source.max_missing_bars:
        rows = [str(start) for start in missing["start"].head(SHOWN)]
        raise SourceError(
            f"{history.symbol}: Yahoo delivered {bars.height} bars of {expected.height} from "
            f"{expected['start'][0]} to {expected['start'][-1]}; missing are "
            f"{describe_rows(rows, missing.height)}. "
            "Try again later, or allow them with max_missing_bars."
        )


def _starts(day: date) -> pl.Expr:
    return pl.col("start").cast(pl.Date) >= day


def _macro_of(series: str, source: YahooSource, terms: FetchTerms) -> pl.DataFrame:
    symbol, released = MACRO_SYMBOLS[series]
    first_on = terms.ask_series_from(series, source.start_on)
    question = YahooQuestion("1d", terms.now, source.network, terms.session)
    history = fetch_history(symbol, first_on, question)
    last_on = source.end_on or terms.now.date()
    dated = history.frame.filter(pl.col("start").is_between(first_on, last_on)).select(
        date="start", value=pl.col("close").fill_nan(None)
    )
    settled = pl.col("released_at") <= terms.now - SETTLED_AFTER
    known = release_series(dated, series, released).filter(settled)
    if known.is_empty():
        raise SourceError(
            f"{symbol}: Yahoo has no value from {first_on} to {last_on}. "
            f"Leave {series} out of `macro` for these days."
        )
    return known


def _finished(source: YahooSource, terms: FetchTerms) -> pl.DataFrame:
    """List the bars to ask for: the finished ones, or the sessions of the finished longer ones."""
    settled = terms.now - SETTLED_AFTER
    last_on = settled.date() + timedelta(days=1)
    if source.end_on is not None:
        last_on = min(last_on, source.end_on)
    first_on = period_start(terms.exchange, source.interval, source.start_on)
    grid = bar_grid(terms.exchange, source.interval, first_on, last_on)
    grid = grid.filter(pl.col("closed_at") <= settled, pl.col("closed_at").dt.date() <= last_on)
    if grid.is_empty():
        raise SourceError(
            f"there is no finished {source.interval} bar of {terms.exchange} from "
            f"{source.start_on} to {last_on}. Ask for earlier days."
        )
    if not is_longer(source.interval):
        return grid
    return bar_grid(terms.exchange, "1d", first_on, grid["closed_at"][-1].date())


def _asked(source: YahooSource) -> Interval:
    return "1d" if is_longer(source.interval) else source.interval
