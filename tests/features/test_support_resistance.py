import numpy as np
import pytest
import talib


def _pivot(m):
    return m.lag(m.tp, 1)


def _breakout(m):
    above = m.c > m.lag(talib.MAX(m.h, 20), 1)
    below = m.c < m.lag(talib.MIN(m.l, 20), 1)
    return above.astype(float) - below.astype(float)


# Keltner's channel has many forms: here EMA20 and 2 ATR14, after Raschke.
ORACLES = {
    **{f"high_distance_{n}": lambda m, n=n: np.log(m.c / talib.MAX(m.h, n)) for n in (20, 60, 252)},
    **{f"low_distance_{n}": lambda m, n=n: np.log(m.c / talib.MIN(m.l, n)) for n in (20, 60, 252)},
    "donchian_position_55": lambda m: (
        (m.c - talib.MIN(m.l, 55)) / (talib.MAX(m.h, 55) - talib.MIN(m.l, 55))
    ),
    "breakout_20": _breakout,
    "keltner_position_20": lambda m: (m.c - talib.EMA(m.c, 20)) / (2 * m.atr),
    "pivot_distance": lambda m: (m.c - _pivot(m)) / m.atr,
    "resistance_distance": lambda m: (m.c - 2 * _pivot(m) + m.lag(m.l, 1)) / m.atr,
    "support_distance": lambda m: (m.c - 2 * _pivot(m) + m.lag(m.h, 1)) / m.atr,
}


def test_every_support_resistance_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("support_resistance")


@pytest.mark.parametrize("name", ORACLES)
def test_support_resistance_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))
