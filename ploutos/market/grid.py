"""Which bars an exchange's schedule has. In: an interval and days. Out: their starts and closes.

A bar of a session starts at the open plus a whole number of intervals; the last one ends with the
session, on half days too. A bar of several sessions ends with the last session of its week, month
or quarter; five sessions (5d) are counted through the exchange's whole calendar, so that a bar does
not depend on the day from which one asks. A lunch break is not known here: bars inside one count as
missing.
"""

from datetime import date, timedelta
from functools import cache
from typing import Literal

import polars as pl

from ploutos.calendar import INSTANT, all_closes, closes, hours

Interval = Literal[
    "1m", "2m", "5m", "15m", "30m", "60m", "90m", "1h", "1d", "5d", "1wk", "1mo", "3mo"
]

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
# About so many sessions are in a bar.
SESSIONS: dict[str, int] = {"5d": 5, "1wk": 5, "1mo": 21, "3mo": 63}
# The first day of the week (Monday), month or quarter that a day lies in, in the words of Polars.
PERIODS: dict[str, str] = {"1wk": "1w", "1mo": "1mo", "3mo": "1q"}
_ORDER = ("start", "closed_at")


def is_intraday(interval: str) -> bool:
    """Tell whether a session has several bars of this length."""
    return interval in MINUTES


def is_longer(interval: str) -> bool:
    """Tell whether a bar of this length holds several sessions."""
    return interval in SESSIONS


def bar_grid(exchange: str, interval: str, first: date, last: date) -> pl.DataFrame:
    """List the bars of the sessions from `first` to `last`, both included.

    A bar of several sessions counts where its first day lies inside; it is listed whole.

    Returns
    -------
    pl.DataFrame
        Ascending: `start` (Date for daily and longer bars: the session, the first of five
        sessions, the Monday, the first of the month or quarter; else Datetime("ns", "UTC")) and
        `closed_at` Datetime("ns", "UTC").

    Raises
    ------
    ConfigError
        If the exchange is unknown.
    DataError
        If a day lies outside what the calendar covers.
    """
    if is_intraday(interval):
        return _inside_sessions(exchange, MINUTES[interval], first, last)
    daily = closes(exchange, first, last)
    if interval == "1d":
        return daily.select("closed_at", start="session").select(*_ORDER)
    ends = bar_sessions(exchange, interval).group_by("start").agg(pl.col("ends_at").first())
    inside = ends.filter(pl.col("start").is_between(first, last)).sort("start")
    return inside.select("start", closed_at="ends_at")


@cache
def bar_sessions(exchange: str, interval: str) -> pl.DataFrame:
    """Tell of every session of an exchange's calendar to which longer bar it belongs.

    Parameters
    ----------
    exchange
        Calendar code.
    interval
        An interval of several sessions.

    Returns
    -------
    pl.DataFrame
        Ascending: `session`, `closed_at` (its own close), `start` (the first day of the bar, see
        `bar_grid`), `ends_at` (the close of the bar's last session).
    """
    known = all_closes(exchange)
    if interval == "5d":
        start = pl.col("session").min().over(pl.int_range(pl.len()) // SESSIONS[interval])
    else:
        start = pl.col("session").dt.truncate(PERIODS[interval])
    started = known.with_columns(start=start)
    return started.with_columns(ends_at=pl.col("closed_at").max().over("start"))


def period_start(exchange: str, interval: str, day: date) -> date:
    """Return the first day of the longer bar that holds `day`; of other bars, the day itself.

    A day between two bars counts to the one before.
    """
    if not is_longer(interval):
        return day
    if interval in PERIODS:
        return pl.Series([day]).dt.truncate(PERIODS[interval])[0]
    starts = bar_sessions(exchange, interval)["start"]
    before = starts.filter(starts <= day)
    return day if before.is_empty() else before[-1]


def _inside_sessions(exchange: str, minutes: int, first: date, last: date) -> pl.DataFrame:
    step = timedelta(minutes=minutes)
    starts = pl.datetime_ranges("opened_at", "closed_at", step, closed="left")
    table = hours(exchange, first, last).with_columns(start=starts).explode("start")
    ends = pl.min_horizontal(pl.col("start") + step, "closed_at")
    return table.select(pl.col("start").cast(INSTANT), closed_at=ends.cast(INSTANT))
