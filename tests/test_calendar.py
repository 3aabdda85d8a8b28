from datetime import UTC, date, datetime

import numpy as np
import pytest

from ploutos.calendar import (
    close_of,
    closes,
    decision_times,
    is_half_day,
    is_session,
    latest_session,
    next_closes,
    next_session,
    open_of,
    previous_session,
    sessions,
    sessions_per_year,
)
from ploutos.errors import ConfigError, DataError


def nanoseconds(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("day", "hour"),
    [
        (date(2013, 3, 8), 21),  # standard time: 16:00 New York is 21:00 UTC
        (date(2013, 3, 11), 20),  # the Monday after the clocks changed
        (date(2012, 11, 23), 18),  # day after Thanksgiving: 13:00 standard time
        (date(2013, 7, 3), 17),  # eve of Independence Day: 13:00 daylight saving time
        (date(2004, 12, 24), None),  # Christmas was observed on that Friday
    ],
)
def test_a_close_is_the_one_the_exchange_had_on_that_day(day: date, hour: int | None):
    if hour is None:
        assert not is_session("XNYS", day)
    else:
        assert close_of("XNYS", day) == datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("exchange", "day", "opened_at"),
    [
        ("XNYS", date(2013, 3, 8), datetime(2013, 3, 8, 14, 30, tzinfo=UTC)),  # 9:30 New York
        ("XNYS", date(2013, 3, 11), datetime(2013, 3, 11, 13, 30, tzinfo=UTC)),
        ("XNYS", date(2012, 11, 23), datetime(2012, 11, 23, 14, 30, tzinfo=UTC)),  # half day
        ("XLON", date(2013, 7, 3), datetime(2013, 7, 3, 7, 0, tzinfo=UTC)),  # 8:00 London
    ],
)
def test_an_open_is_the_one_the_exchange_had_on_that_day(
    exchange: str, day: date, opened_at: datetime
):
    assert open_of(exchange, day) == opened_at


def test_a_holiday_has_no_open():
    with pytest.raises(DataError, match="not a session of XNYS; the next one is 2012-11-23"):
        open_of("XNYS", date(2012, 11, 22))


@pytest.mark.parametrize(
    ("day", "half"),
    [
        (date(2012, 11, 23), True),
        (date(2013, 7, 3), True),
        (date(2012, 12, 24), True),
        (date(2012, 11, 21), False),
        (date(2013, 3, 11), False),
    ],
)
def test_half_days_are_known(day: date, half: bool):
    assert is_half_day("XNYS", day) is half


def test_storms_attacks_and_good_friday_close_the_exchange():
    assert sessions("XNYS", date(2012, 10, 26), date(2012, 10, 31)) == [
        date(2012, 10, 26),
        date(2012, 10, 31),
    ]
    assert next_session("XNYS", date(2001, 9, 10)) == date(2001, 9, 17)
    assert previous_session("XNYS", date(2001, 9, 17)) == date(2001, 9, 10)
    assert not is_session("XNYS", date(2013, 3, 29))
    assert not is_session("XNYS", date(2022, 6, 20))


def test_the_next_and_previous_session_skip_the_day_itself():
    assert next_session("XNYS", date(2013, 3, 1)) == date(2013, 3, 4)
    assert previous_session("XNYS", date(2013, 3, 4)) == date(2013, 3, 1)


def test_a_number_of_sessions_is_counted_from_a_day_on():
    counted = next_closes("XNYS", date(2012, 11, 22), 2)["session"].to_list()
    assert counted == [date(2012, 11, 23), date(2012, 11, 26)]
    with pytest.raises(DataError, match="Start earlier or ask for fewer"):
        next_closes("XNYS", date(2012, 11, 22), 15_000)


def test_the_latest_session_is_the_last_one_that_has_closed():
    before = datetime(2013, 7, 3, 16, 59, tzinfo=UTC)
    after = datetime(2013, 7, 3, 17, 0, tzinfo=UTC)
    assert latest_session("XNYS", before) == date(2013, 7, 2)
    assert latest_session("XNYS", after) == date(2013, 7, 3)
    assert latest_session("XNYS", datetime(2013, 7, 4, 20, 0, tzinfo=UTC)) == date(2013, 7, 3)


def test_sessions_older_than_twenty_years_are_listed():
    # The NYSE opened in 1990 on January 2nd; it had 253 sessions that year.
    listed = sessions("XNYS", date(1990, 1, 1), date(1990, 12, 31))
    assert listed[0] == date(1990, 1, 2)
    assert len(listed) == 253


def test_a_year_has_the_published_mean_number_of_sessions():
    published = [252, 248, 252, 252, 252, 252, 251, 251, 253, 252]  # 2000 to 2009
    published += [252, 252, 250, 252, 252, 252, 252, 251, 251, 252]  # 2010 to 2019
    assert sessions_per_year("XNYS") == pytest.approx(sum(published) / 20)


def test_decisions_fall_on_19_05_new_york_in_winter_and_summer():
    closed_at = np.array(
        [
            nanoseconds(2013, 3, 8, 21),
            nanoseconds(2013, 3, 11, 20),
            nanoseconds(2012, 11, 23, 18),
            nanoseconds(2013, 7, 3, 17),
        ],
        np.int64,
    )
    expected = [
        nanoseconds(2013, 3, 9, 0, 5),
        nanoseconds(2013, 3, 11, 23, 5),
        nanoseconds(2012, 11, 24, 0, 5),
        nanoseconds(2013, 7, 3, 23, 5),
    ]
    decided_at = decision_times(closed_at)
    assert decided_at.dtype == np.int64
    assert decided_at.tolist() == expected


def test_no_days_give_no_sessions_and_no_decisions():
    assert closes("XNYS", date(2013, 3, 2), date(2013, 3, 3)).is_empty()
    assert closes("XNYS", date(2013, 3, 3), date(2013, 3, 2)).is_empty()
    assert decision_times(np.array([], np.int64)).shape == (0,)


def test_an_unknown_exchange_is_refused_by_name():
    with pytest.raises(ConfigError, match="XNOPE"):
        closes("XNOPE", date(2013, 1, 1), date(2013, 1, 2))


def test_days_outside_the_calendar_are_refused_with_what_it_covers():
    with pytest.raises(DataError, match="covers 1971-01-04"):
        closes("XNYS", date(1950, 1, 1), date(1990, 1, 2))


def test_the_close_of_a_holiday_is_refused_and_the_next_session_named():
    with pytest.raises(DataError, match="2013-04-01"):
        close_of("XNYS", date(2013, 3, 29))
