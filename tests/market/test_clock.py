from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from ploutos.errors import DataError
from ploutos.market.clock import VIX_RELEASED, release_series, stamp_bars
from tests.market.frames import bars


def dated(*days: date) -> pl.DataFrame:
    return bars(("AAA",)).drop("closed_at").with_columns(pl.Series("date", days))


def test_a_bar_is_stamped_by_the_close_its_session_had():
    days = (date(2012, 11, 21), date(2012, 11, 23), date(2013, 3, 11))
    stamped = stamp_bars(dated(*days), "XNYS", "test")
    assert stamped["closed_at"].to_list() == [
        datetime(2012, 11, 21, 21, tzinfo=UTC),
        datetime(2012, 11, 23, 18, tzinfo=UTC),  # half day
        datetime(2013, 3, 11, 20, tzinfo=UTC),  # daylight saving time
    ]


def test_a_bar_on_a_holiday_is_refused_with_symbol_and_date():
    with pytest.raises(DataError, match="AAA 2012-11-22, on which it did not trade"):
        stamp_bars(dated(date(2012, 11, 21), date(2012, 11, 22), date(2012, 11, 23)), "XNYS", "x")


def test_no_bars_are_stamped_to_no_bars():
    nothing = dated(date(2013, 3, 1), date(2013, 3, 4), date(2013, 3, 5))[:0]
    assert stamp_bars(nothing, "XNYS", "test").schema == bars().schema


def test_a_macro_value_is_stamped_by_its_release_in_summer_and_winter():
    values = pl.DataFrame({"date": [date(2014, 1, 3), date(2014, 7, 3)], "value": [13.76, 10.32]})
    released = release_series(values, "VIX", VIX_RELEASED)
    assert released["released_at"].to_list() == [
        datetime(2014, 1, 3, 21, 15, tzinfo=UTC),
        datetime(2014, 7, 3, 20, 15, tzinfo=UTC),
    ]


def test_a_day_without_a_value_stays_missing():
    values = pl.DataFrame({"date": [date(2014, 1, 3), date(2014, 1, 6)], "value": [None, 13.55]})
    released = release_series(values, "VIX", time(16, 15))
    assert released["value"].to_list() == [13.55]
