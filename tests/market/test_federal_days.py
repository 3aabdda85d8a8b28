from datetime import date

import pandas as pd
import pytest
from pandas.tseries.holiday import USFederalHolidayCalendar

from ploutos.market.federal_days import federal_holidays, next_business_day


# The oracle is pandas' calendar of the government, which moves a Saturday's holiday to Friday; the
# Federal Reserve does not. pandas knows Juneteenth since 2021 too.
@pytest.mark.parametrize("year", range(1990, 2031))
def test_holidays_are_those_of_pandas_but_for_fridays_before_a_saturday(year: int):
    days = USFederalHolidayCalendar().holidays(f"{year}-01-01", f"{year}-12-31")
    theirs = {
        stamp.date()
        for stamp in days
        if not (stamp.weekday() == 4 and stamp.day in {3, 10, 18, 24, 31})
    }
    ours = {day for day in federal_holidays(year) if day.weekday() < 5}
    assert ours == theirs
    assert pd.Timestamp(max(ours)).year == year


@pytest.mark.parametrize(
    ("day", "following"),
    [
        (date(2024, 7, 3), date(2024, 7, 5)),
        (date(2024, 10, 11), date(2024, 10, 15)),  # Columbus Day: the NYSE trades, the Fed is shut
        (date(2024, 3, 28), date(2024, 3, 29)),  # Good Friday: the other way round
        (date(2022, 12, 30), date(2023, 1, 3)),  # New Year's Day on a Sunday, kept on Monday
        (date(2021, 12, 31), date(2022, 1, 3)),  # New Year's Day on a Saturday
    ],
)
def test_the_next_business_day_leaves_out_weekends_and_holidays(day: date, following: date):
    assert next_business_day(day) == following
