"""Exchange sessions and the decision clock. In: an exchange code, dates. Out: sessions, instants.

A session is a day on which the exchange trades, with the close that day really had (half days
included). All instants are UTC; daylight saving time is resolved here and nowhere else.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import ConfigError, DataError

if TYPE_CHECKING:
    from exchange_calendars import ExchangeCalendar

NEW_YORK = "America/New_York"
DECISION_TIME = time(19, 5)
INSTANT = pl.Datetime("ns", "UTC")
HALF_DAY_SHORTER_BY = timedelta(hours=1)

# exchange_calendars takes New Year's Day for a session of the NYSE in the years before.
_FIRST_DAY = date(1971, 1, 1)
_COUNTED_YEARS = (date(2000, 1, 1), date(2019, 12, 31))


def closes(exchange: str, first: date, last: date) -> pl.DataFrame:
    """List the sessions from `first` to `last`, both included, with their closes.

    Parameters
    ----------
    exchange
        Code that exchange_calendars knows, e.g. "XNYS".
    first, last
        Calendar days; they need not be sessions. Nothing is listed when `last` lies before `first`.

    Returns
    -------
    pl.DataFrame
        `session` Date, `closed_at` Datetime("ns", "UTC"), ascending.

    Raises
    ------
    ConfigError
        If the exchange is unknown.
    DataError
        If a day lies outside what the calendar covers (1971 to one year from now).
    """
    return hours(exchange, first, last).select("session", "closed_at")


def all_closes(exchange: str) -> pl.DataFrame:
    """List every session that the exchange's calendar knows, in the form of `closes`."""
    return _schedule(exchange).select("session", "closed_at")


def next_closes(exchange: str, first: date, count: int) -> pl.DataFrame:
    """List `count` sessions from `first` on, with their closes, in the form of `closes`.

    Raises
    ------
    DataError
        If the calendar ends before.
    """
    table = _schedule(exchange)
    _check_covered(exchange, table, first, first)
    found = table.filter(pl.col("session") >= first).head(count)
    if found.height < count:
        raise DataError(
            f"expected {count} sessions of {exchange} from {first}, the calendar has "
            f"{found.height}, up to {table['session'][-1]}. Start earlier or ask for fewer."
        )
    return found.select("session", "closed_at")


def sessions(exchange: str, first: date, last: date) -> list[date]:
    """List the sessions from `first` to `last`, both included, ascending."""
    return closes(exchange, first, last)["session"].to_list()


def is_session(exchange: str, day: date) -> bool:
    """Tell whether the exchange trades on `day`."""
    return closes(exchange, day, day).height == 1


def close_of(exchange: str, session: date) -> datetime:
    """Return the instant (UTC) at which a session closes.

    Raises
    ------
    DataError
        If the day is not a session.
    """
    found = closes(exchange, session, session)
    if found.is_empty():
        raise DataError(
            f"{session} is not a session of {exchange}; "
            f"the next one is {next_session(exchange, session)}."
        )
    return found["closed_at"][0]


def open_of(exchange: str, session: date) -> datetime:
    """Return the instant (UTC) at which a session opens.

    Raises
    ------
    DataError
        If the day is not a session.
    """
    close_of(exchange, session)
    return _schedule(exchange).filter(pl.col("session") == session)["opened_at"][0]


def hours(exchange: str, first: date, last: date) -> pl.DataFrame:
    """List the sessions from `first` to `last` as `closes` does, with the opens too.

    Returns
    -------
    pl.DataFrame
        `session` Date, `opened_at` and `closed_at` Datetime("ns", "UTC"), ascending.
    """
    table = _schedule(exchange)
    if first <= last:
        _check_covered(exchange, table, first, last)
    return table.filter(pl.col("session").is_between(first, last))


def next_session(exchange: str, day: date) -> date:
    """Return the first session after `day`."""
    return closes(exchange, day + timedelta(days=1), day + timedelta(days=30))["session"][0]


def previous_session(exchange: str, day: date) -> date:
    """Return the last session before `day`."""
    return closes(exchange, day - timedelta(days=30), day - timedelta(days=1))["session"][-1]


def latest_session(exchange: str, now: datetime) -> date:
    """Return the last session that has closed at the instant `now` (with a time zone)."""
    today = now.astimezone(UTC).date()
    recent = closes(exchange, today - timedelta(days=30), today)
    return recent.filter(pl.col("closed_at") <= now)["session"][-1]


def is_half_day(exchange: str, session: date) -> bool:
    """Tell whether a session is at least an hour shorter than the sessions of its year usually are.

    Raises
    ------
    DataError
        If the day is not a session.
    """
    close_of(exchange, session)
    return session in half_days(exchange)


@cache
def half_days(exchange: str) -> frozenset[date]:
    """Return every session that is at least an hour shorter than those of its year usually are."""
    length = pl.col("closed_at") - pl.col("opened_at")
    usual = length.median().over(pl.col("session").dt.year())
    short = _schedule(exchange).filter(length <= usual - HALF_DAY_SHORTER_BY)
    return frozenset(short["session"].to_list())


def decision_times(closed_at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return when the decision about each bar is taken: 19:05 New York on the date of its close.

    Parameters
    ----------
    closed_at
        (T,) int64, nanoseconds since 1970 UTC.

    Returns
    -------
    NDArray[np.int64]
        (T,) nanoseconds since 1970 UTC, daylight saving time respected.
    """
    days = pl.Series("closed_at", closed_at, pl.Int64).cast(INSTANT)
    days = days.dt.convert_time_zone(NEW_YORK).dt.date()
    decided_at = instants(days, DECISION_TIME, NEW_YORK)
    return decided_at.dt.epoch("ns").to_numpy().astype(np.int64)


def instants(days: pl.Series, at: time, zone: str) -> pl.Series:
    """Return the UTC instants of the local time `at` on each of `days` (a Date series)."""
    frame = pl.DataFrame({"day": days})
    local = pl.col("day").dt.combine(at, "ns").dt.replace_time_zone(zone)
    return frame.select(local.dt.convert_time_zone("UTC"))["day"]


@cache
def sessions_per_year(exchange: str) -> float:
    """Return the mean number of sessions in a year, over 2000 to 2019 (XNYS: 251.55)."""
    first, last = _COUNTED_YEARS
    return closes(exchange, first, last).height / (last.year - first.year + 1)


@cache
def _schedule(exchange: str) -> pl.DataFrame:
    calendar = _calendar(exchange)
    schedule = calendar.schedule
    return pl.DataFrame(
        {
            "session": schedule.index.to_numpy().astype("datetime64[D]"),
            "opened_at": schedule["open"].dt.tz_convert(None).to_numpy(),
            "closed_at": schedule["close"].dt.tz_convert(None).to_numpy(),
        }
    ).with_columns(pl.col("opened_at", "closed_at").dt.replace_time_zone("UTC"))


def _calendar(exchange: str) -> "ExchangeCalendar":
    import exchange_calendars  # noqa: PLC0415  (brings pandas along)

    if exchange not in exchange_calendars.get_calendar_names():
        raise ConfigError(
            f"expected an exchange code of exchange_calendars such as 'XNYS', received {exchange!r}"
        )
    # Without `start` the calendar begins 20 years back from today, and old bars have no session.
    earliest = exchange_calendars.get_calendar(exchange).bound_min()
    first = _FIRST_DAY if earliest is None else max(_FIRST_DAY, earliest.date())
    return exchange_calendars.get_calendar(exchange, start=str(first))


def _check_covered(exchange: str, table: pl.DataFrame, first: date, last: date) -> None:
    covered_first, covered_last = table["session"][0], table["session"][-1]
    # The first covered session may be a few days after the first covered day.
    if first < covered_first - timedelta(days=7) or last > covered_last + timedelta(days=7):
        raise DataError(
            f"the calendar of {exchange} covers {covered_first} to {covered_last}; "
            f"received {first} to {last}. Ask for days inside."
        )
