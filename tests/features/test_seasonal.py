import calendar
from math import cos, pi, sin

import numpy as np
import pytest

ORACLES = {
    "weekday_sin": lambda day: sin(2 * pi * day.weekday() / 7),
    "weekday_cos": lambda day: cos(2 * pi * day.weekday() / 7),
    "month_sin": lambda day: sin(2 * pi * (day.month - 1) / 12),
    "month_cos": lambda day: cos(2 * pi * (day.month - 1) / 12),
    "month_progress": lambda day: (day.day - 1) / (calendar.monthrange(day.year, day.month)[1] - 1),
}


def test_every_seasonal_feature_has_an_oracle(names_of):
    assert set(ORACLES) | {"days_since_bar"} == names_of("seasonal")


@pytest.mark.parametrize("name", ORACLES)
def test_seasonal_feature_equals_its_oracle(market, name):
    market.check(name, np.array([ORACLES[name](day) for day in market.dates]))


def test_a_weekend_is_three_days_from_close_to_close(market):
    received = market.features.filter(symbol="S0")["days_since_bar"].to_list()
    mondays = [day.weekday() == 0 for day in market.dates]
    assert received[0] is None
    assert received[1:] == [3.0 if monday else 1.0 for monday in mondays[1:]]
