"""Which bars an exchange's schedule has. In: an interval and days. Out: their starts and closes.

A bar of a session starts at the open plus a whole number of intervals; the last one ends with the
session, on half days too. A bar of several sessions ends with the last session of its week or
month. A lunch break is not known here: bars inside one count as missing.
"""

from datetime import date, timedelta
from typing import Literal

import polars as pl

from ploutos.calendar import INSTANT, hours

Interval = Literal["1m", "2m", "5m", "15m", "30m", "60m", "90m", "1h", "1d", "1wk", "1mo"]

MINUTES: dict[str, int] = {
    "1m": 1,
    "2m": 2,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "60m": 60,
    "90m": 90,
    "1h": 60,
}
# The first day of the week (Monday) or month that a day lies in, in the words of Polars.
PERIODS: dict[str, str] = {"1d": "1d", "1wk": "1w", "1mo": "1mo"}
LONGEST_PERIOD = timedelta(days=31)
_ORDER = ("start", "closed_at")


def is_intraday(interval: str) -> bool:
    """Tell whether a session has several bars of this length."""
    return interval in MINUTES


def bar_grid(exchange: str, interval: str, first: date, last: date) -> pl.DataFrame:
    """List the bars of the sessions from `first` to `last`, both included.

    A week or month counts where its first day lies inside; it is listed whole.

    Returns
    -------
    pl.DataFrame
        Ascending: `start` (Date for daily and longer bars: the session, the Monday, the first of
        the month; else Datetime("ns", "UTC")) and `closed_at` Datetime("ns", "UTC").

    Raises
    ------
    ConfigError
        If the exchange is unknown.
    DataError
        If a day lies outside what the calendar covers.
    """
    if is_intraday(interval):
        return _inside_sessions(exchange, MINUTES[interval], first, last)
    if interval == "1d":
        return hours(exchange, first, last).select("closed_at", start="session").select(*_ORDER)
    period = PERIODS[interval]
    known = hours(exchange, first, max(first, last) + LONGEST_PERIOD)
    starts = pl.col("session").dt.truncate(period)
    grouped = known.group_by(start=starts).agg(pl.col("closed_at").max())
    return grouped.filter(pl.col("start").is_between(first, last)).sort("start").select(*_ORDER)


def period_start(interval: str, day: date) -> date:
    """Return the first day of the daily, weekly or monthly bar that holds `day`; else the day."""
    if is_intraday(interval):
        return day
    return pl.Series([day]).dt.truncate(PERIODS[interval])[0]


def _inside_sessions(exchange: str, minutes: int, first: date, last: date) -> pl.DataFrame:
    step = timedelta(minutes=minutes)
    starts = pl.datetime_ranges("opened_at", "closed_at", step, closed="left")
    table = hours(exchange, first, last).with_columns(start=starts).explode("start")
    ends = pl.min_horizontal(pl.col("start") + step, "closed_at")
    return table.select(pl.col("start").cast(INSTANT), closed_at=ends.cast(INSTANT))
