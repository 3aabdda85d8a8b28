import calendar
from itertools import pairwise
from math import cos, pi, sin

import numpy as np
import pytest


def _each(function):
    return lambda m: np.array([function(day) for day in m.dates])


def _gaps(m):
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(m.dates)]
    return np.array([np.nan, *gaps]) / 86_400


ORACLES = {
    "weekday_sin": _each(lambda day: sin(2 * pi * day.weekday() / 7)),
    "weekday_cos": _each(lambda day: cos(2 * pi * day.weekday() / 7)),
    "month_sin": _each(lambda day: sin(2 * pi * (day.month - 1) / 12)),
    "month_cos": _each(lambda day: cos(2 * pi * (day.month - 1) / 12)),
    "days_since_bar": _gaps,
    "month_progress": _each(
        lambda day: (day.day - 1) / (calendar.monthrange(day.year, day.month)[1] - 1)
    ),
}


def test_every_seasonal_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("seasonal")


@pytest.mark.parametrize("name", ORACLES)
def test_seasonal_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))


def test_a_weekend_is_three_days_from_close_to_close(market):
    received = market.features.filter(symbol="S0")["days_since_bar"].to_list()
    mondays = [day.weekday() == 0 for day in market.dates]
    assert received[0] is None
    assert received[1:] == [3.0 if monday else 1.0 for monday in mondays[1:]]
