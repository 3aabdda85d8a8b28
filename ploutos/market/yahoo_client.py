"""Asking Yahoo for one symbol after the other. In: symbols. Out: their histories, or an error.

Everything that is peculiar to yfinance is in this file: it is told not to swallow errors, its
caches are kept under the home folder, and its answers are turned into plain columns.
"""

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from ploutos.errors import SourceError
from ploutos.market.config import YahooSource
from ploutos.store import folder

if TYPE_CHECKING:
    import pandas

COLUMNS = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "volume": "Volume",
    "dividend": "Dividends",
    "split": "Stock Splits",
}
# What a page of HTML, a truncated answer or an unexpected shape of JSON ends in inside yfinance.
BROKEN_ANSWER = (ValueError, KeyError, IndexError, TypeError, AttributeError)


@dataclass(frozen=True, eq=False)
class YahooHistory:
    """What Yahoo said about one symbol.

    `frame` has `date`, `open`, `high`, `low`, `close`, `volume`, `dividend` (all split-adjusted)
    and `split` (new shares per old share, 0 = none), ascending; `first_trade_on` is the first day
    that Yahoo has at all.
    """

    symbol: str
    frame: pl.DataFrame
    first_trade_on: date | None


def fetch_histories(
    symbols: tuple[str, ...], source: YahooSource, session: Any | None
) -> dict[str, YahooHistory]:
    """Ask for every symbol, in at most `source.threads` threads, from `source.start_on` to now.

    Raises
    ------
    SourceError
        If any symbol fails after `source.attempts` attempts; the message names all that failed.
    """
    import yfinance  # noqa: PLC0415  (it opens files when imported, and most runs never need it)

    yfinance.set_tz_cache_location(str(folder("yahoo")))
    # With hidden exceptions a throttled symbol is an empty frame like any other.
    yfinance.config.debug.hide_exceptions = False

    def ask(symbol: str) -> YahooHistory | SourceError:
        try:
            return _with_retries(lambda: _fetch_history(symbol, source, session), symbol, source)
        except SourceError as error:
            return error

    with ThreadPoolExecutor(source.threads, "yahoo") as pool:
        answers = list(pool.map(ask, symbols))
    failed = [answer for answer in answers if isinstance(answer, SourceError)]
    if failed:
        raise SourceError(
            f"Yahoo did not deliver {len(failed)} of {len(symbols)} symbols: "
            f"{'; '.join(str(error) for error in failed)}. "
            "Correct the symbols or try again later; nothing was stored."
        ) from failed[0]
    return {answer.symbol: answer for answer in answers if isinstance(answer, YahooHistory)}


def _with_retries(
    ask: Callable[[], YahooHistory], symbol: str, source: YahooSource
) -> YahooHistory:
    """Ask again after a rate limit or a broken answer, with exponential backoff and jitter."""
    from yfinance.data import YfData  # noqa: PLC0415  (as above)
    from yfinance.exceptions import YFDataException, YFRateLimitError  # noqa: PLC0415

    rng = random.Random(symbol)
    attempt = 1
    while True:
        try:
            return ask()
        except (YFRateLimitError, YFDataException, OSError, *BROKEN_ANSWER) as error:
            if attempt >= source.attempts:
                raise SourceError(
                    f"{symbol}: {attempt} attempts failed, the last with {type(error).__name__}: "
                    f"{error}"
                ) from error
        # yfinance caches even a broken answer, and would serve it again.
        YfData.cache_get.cache_clear()
        time.sleep(source.backoff_s * 2 ** (attempt - 1) * rng.uniform(0.5, 1.5))
        attempt += 1


def _fetch_history(symbol: str, source: YahooSource, session: Any | None) -> YahooHistory:
    import yfinance  # noqa: PLC0415  (as above)
    from yfinance.exceptions import YFTickerMissingError  # noqa: PLC0415

    ticker = yfinance.Ticker(symbol, session=session)
    try:
        # No `end`: only a history up to the present holds every later split.
        raw = ticker.history(
            start=source.start_on.isoformat(),
            interval="1d",
            auto_adjust=False,
            actions=True,
            repair=False,
            timeout=source.timeout_s,
        )
    except YFTickerMissingError as error:
        raise SourceError(f"{symbol}: unknown to Yahoo, or without data ({error})") from error
    if raw.empty:
        raise SourceError(f"{symbol}: Yahoo has no bar since {source.start_on}")
    meta: Mapping[str, Any] = ticker.history_metadata
    answered = str(meta.get("symbol", symbol))
    if answered.upper() != symbol.upper():
        raise SourceError(f"{symbol}: Yahoo answered for {answered!r}; it may have been renamed")
    first_trade = meta.get("firstTradeDate")
    return YahooHistory(
        symbol=symbol,
        frame=_to_polars(raw),
        first_trade_on=None if first_trade is None else first_trade.date(),
    )


def _to_polars(raw: "pandas.DataFrame") -> pl.DataFrame:
    values = {name: raw[column].to_numpy(dtype=float) for name, column in COLUMNS.items()}
    # The index is midnight in the exchange's own zone: its date is the session.
    days = [stamp.date() for stamp in raw.index]
    return pl.DataFrame({"date": days, **values}).sort("date")
