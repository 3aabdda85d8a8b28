"""Business days of the Federal Reserve. In: a day. Out: the next business day.

Source: Federal Reserve Bank Services, "Holiday Schedules": eleven holidays; one that falls on a
Sunday is kept on the Monday after, one on a Saturday is not kept on another day.
"""

from datetime import date, timedelta
from functools import cache

SUNDAY = 6
JUNETEENTH_SINCE = 2021


def next_business_day(day: date) -> date:
    """Return the first day after `day` on which the Federal Reserve works."""
    following = day + timedelta(days=1)
    while following.weekday() >= 5 or following in federal_holidays(following.year):
        following += timedelta(days=1)
    return following


@cache
def federal_holidays(year: int) -> frozenset[date]:
    """Return the days of a year on which the Federal Reserve is closed, weekends apart."""
    fixed = [date(year, 1, 1), date(year, 7, 4), date(year, 11, 11), date(year, 12, 25)]
    if year >= JUNETEENTH_SINCE:
        fixed.append(date(year, 6, 19))
    kept = [day + timedelta(days=1) if day.weekday() == SUNDAY else day for day in fixed]
    mondays = [_nth(year, 1, 0, 3), _nth(year, 2, 0, 3), _nth(year, 9, 0, 1), _nth(year, 10, 0, 2)]
    memorial_day = _nth(year, 6, 0, 1) - timedelta(days=7)
    thanksgiving = _nth(year, 11, 3, 4)
    return frozenset([*kept, *mondays, memorial_day, thanksgiving])


def _nth(year: int, month: int, weekday: int, n: int) -> date:
    """Return the n-th such weekday (Monday = 0) of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
