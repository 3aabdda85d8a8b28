"""Asking Yahoo for one symbol. In: a symbol, a first day. Out: its history, or an error.

Everything that is peculiar to yfinance is in this file: it is told not to swallow errors, its
caches are kept under the home folder, and its answers are turned into plain columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from ploutos.calendar import INSTANT
from ploutos.errors import SourceError
from ploutos.market.asking import ask_again
from ploutos.market.config import NetworkTerms
from ploutos.market.grid import Interval, is_intraday
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
CAPITAL_GAINS = "Capital Gains"
# What a page of HTML, a truncated answer or an unexpected shape of JSON ends in inside yfinance.
BROKEN_ANSWER = (ValueError, KeyError, IndexError, TypeError, AttributeError)
# How long Yahoo keeps intraday bars; source: yfinance, `PriceHistory.history`.
KEPT_DAYS: dict[str, int] = {
    "1m": 30,
    "2m": 60,
    "5m": 60,
    "15m": 60,
    "30m": 60,
    "90m": 60,
    "60m": 730,
    "1h": 730,
}
# Yahoo answers at most eight days of 1m bars at once.
ONE_MINUTE_SPAN = timedelta(days=7)


@dataclass(frozen=True, eq=False)
class YahooHistory:
    """What Yahoo said about one symbol.

    `frame` has `start` (Date for daily bars, else an instant), `open`, `high`, `low`,
    `close`, `volume`, `dividend` (all split-adjusted) and `split` (new shares per old share, 0 =
    none), ascending; a row without prices is an event between bars. `first_trade_on` is the first
    day that Yahoo has at all.
    """

    symbol: str
    frame: pl.DataFrame
    first_trade_on: date | None


@dataclass(frozen=True)
class YahooQuestion:
    """How a symbol's history is asked for: which bars, as of when, and how patiently.

    Never bars of more than a day: those of 5d and 3mo begin at Yahoo where the question or the
    present month does, and in all of them its adjustments are unreliable.
    Source: yfinance, `PriceHistory.history` and `_resample`.
    """

    interval: Interval
    now: datetime
    network: NetworkTerms
    session: Any | None = None


def prepare_yahoo() -> None:
    """Set up yfinance, once before the first question."""
    import yfinance  # noqa: PLC0415  (it opens files when imported, and most runs never need it)

    yfinance.set_tz_cache_location(str(folder("yahoo")))
    # With hidden exceptions a throttled symbol is an empty frame like any other.
    yfinance.config.debug.hide_exceptions = False


def fetch_history(symbol: str, first_on: date, question: YahooQuestion) -> YahooHistory:
    """Ask for a symbol's bars from `first_on` up to the present.

    Raises
    ------
    SourceError
        If Yahoo keeps no such bars for so long, does not know the symbol, answers under another
        name, or still fails after the last attempt.
    """
    from yfinance.data import YfData  # noqa: PLC0415  (as above)
    from yfinance.exceptions import YFDataException, YFRateLimitError  # noqa: PLC0415

    _check_kept(symbol, first_on, question)
    return ask_again(
        lambda: _fetch_spans(symbol, first_on, question),
        symbol,
        question.network,
        (YFRateLimitError, YFDataException, OSError, *BROKEN_ANSWER),
        # yfinance caches even a broken answer, and would serve it again.
        before_retry=YfData.cache_get.cache_clear,
    )


def _check_kept(symbol: str, first_on: date, question: YahooQuestion) -> None:
    kept = KEPT_DAYS.get(question.interval)
    if kept is None:
        return
    earliest = (question.now - timedelta(days=kept - 1)).date()
    if first_on < earliest:
        raise SourceError(
            f"{symbol}: Yahoo keeps {question.interval} bars for {kept} days; expected a first day "
            f"from {earliest} on, received {first_on}. Begin later, or take a longer interval."
        )


def _fetch_spans(symbol: str, first_on: date, question: YahooQuestion) -> YahooHistory:
    """Ask once, or for 1m bars week by week; a week without bars is one before the first trade."""
    from yfinance.exceptions import YFTickerMissingError  # noqa: PLC0415  (as above)

    parts: list[YahooHistory] = []
    missing: YFTickerMissingError | None = None
    for start, end in _spans(first_on, question):
        try:
            part = _fetch_span(symbol, start, end, question)
        except YFTickerMissingError as error:
            missing = error
        else:
            parts += [] if part is None else [part]
    if not parts:
        why = f"no bar since {first_on}" if missing is None else str(missing)
        raise SourceError(f"{symbol}: unknown to Yahoo, or without data ({why})") from missing
    frame = pl.concat([part.frame for part in parts]).unique("start", keep="last").sort("start")
    return YahooHistory(symbol, frame, parts[-1].first_trade_on)


def _spans(first_on: date, question: YahooQuestion) -> list[tuple[date, date | None]]:
    # The last one has no end: only a history up to the present holds every later split.
    if question.interval != "1m":
        return [(first_on, None)]
    today = question.now.astimezone(UTC).date()
    days = max(0, (today - first_on).days)
    starts = [first_on + ONE_MINUTE_SPAN * number for number in range(days // 7 + 1)]
    return list(zip(starts, [*starts[1:], None], strict=True))


def _fetch_span(
    symbol: str, start: date, end: date | None, question: YahooQuestion
) -> YahooHistory | None:
    import yfinance  # noqa: PLC0415  (as above)

    ticker = yfinance.Ticker(symbol, session=question.session)
    raw = ticker.history(
        start=start.isoformat(),
        end=None if end is None else end.isoformat(),
        # yfinance takes "1h" for a daily interval when it merges splits into the bars.
        interval="60m" if question.interval == "1h" else question.interval,
        auto_adjust=False,
        actions=True,
        repair=False,
        timeout=question.network.timeout_s,
    )
    if raw.empty:
        return None
    meta: Mapping[str, Any] = ticker.history_metadata
    answered = str(meta.get("symbol", symbol))
    if answered.upper() != symbol.upper():
        raise SourceError(f"{symbol}: Yahoo answered for {answered!r}; it may have been renamed")
    first_trade = meta.get("firstTradeDate")
    return YahooHistory(
        symbol=symbol,
        frame=_to_polars(raw, question.interval),
        first_trade_on=None if first_trade is None else first_trade.date(),
    )


def _to_polars(raw: "pandas.DataFrame", interval: Interval) -> pl.DataFrame:
    values = {name: raw[column].to_numpy(dtype=float) for name, column in COLUMNS.items()}
    if CAPITAL_GAINS in raw.columns:
        # Of a fund. Yahoo has begun to add them to the dividend as well: one that is not smaller
        # may hold them, and cash is rather left out than counted twice.
        gains = raw[CAPITAL_GAINS].to_numpy(dtype=float)
        dividend = values["dividend"]
        values["dividend"] = np.where(dividend < gains, dividend + gains, dividend)
    if is_intraday(interval):
        # Whole seconds since 1970; every stamp carries the exchange's zone.
        seconds = [int(stamp.timestamp()) for stamp in raw.index]
        start = (pl.Series("start", seconds, pl.Int64) * 1_000_000_000).cast(INSTANT)
    else:
        # The index is midnight in the exchange's own zone: its date is the session.
        start = pl.Series("start", [stamp.date() for stamp in raw.index], pl.Date)
    return pl.DataFrame({"start": start, **values}).sort("start")
