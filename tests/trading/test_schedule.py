from datetime import UTC, datetime

import numpy as np
import pytest

from ploutos.trading.schedule import sessions_of, timing_of


def ns(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


# Expected sessions and opens are those of the NYSE's published calendar (holidays 2024, 9:30 open).
@pytest.mark.parametrize(
    ("now", "session", "next_open", "late"),
    [
        ("2024-07-03T23:04", "2024-07-02", "2024-07-03T13:30", True),  # a minute too early
        ("2024-07-03T23:05", "2024-07-03", "2024-07-05T13:30", False),  # half day, then a holiday
        ("2024-07-05T13:29", "2024-07-03", "2024-07-05T13:30", False),
        ("2024-07-05T13:30", "2024-07-03", "2024-07-05T13:30", True),
        ("2024-03-09T00:05", "2024-03-08", "2024-03-11T13:30", False),  # the clock jumps on Sunday
        ("2024-03-08T00:04", "2024-03-06", "2024-03-07T14:30", True),
        ("2024-11-02T12:00", "2024-11-01", "2024-11-04T14:30", False),  # and back in November
        ("2024-12-25T12:00", "2024-12-24", "2024-12-26T14:30", False),
    ],
)
def test_session_and_its_deadline_follow_the_exchange_calendar(now, session, next_open, late):
    timing = timing_of("XNYS", ns(now))
    assert (timing.session, timing.next_open_at) == (session, ns(next_open))
    assert timing.is_late(ns(now)) is late
    assert timing.decided_at <= ns(now)


def test_session_is_the_day_in_new_york():
    closes = np.array([ns("2024-07-02T20:00"), ns("2024-07-03T17:00"), ns("2024-12-24T18:00")])
    assert sessions_of(closes) == ("2024-07-02", "2024-07-03", "2024-12-24")
