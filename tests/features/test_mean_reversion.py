import numpy as np
import pytest
import talib


def _zscore(x):
    return (x[-1] - x.mean()) / x.std(ddof=1)


def _vwap(m, n):
    return m.rolling(m.tp * m.v, n, np.sum) / m.rolling(m.v, n, np.sum)


def _percent_b(m):
    upper, _, lower = talib.BBANDS(m.c, 20, 2, 2)
    return (m.c - lower) / (upper - lower)


def _width(m):
    upper, middle, lower = talib.BBANDS(m.c, 20, 2, 2)
    return (upper - lower) / middle


def _entry_score(m):
    calm = 1 - 2 * np.clip(_percent_b(m), 0, 1)
    trend = np.sign(talib.SMA(m.c, 50) - talib.SMA(m.c, 200))
    return (1 - 2 * talib.RSI(m.c, 14) / 100 + calm + trend) / 3


# TA-Lib counts RSI in percent and CCI in points, ours are fractions and hundreds; its bands are of
# the population deviation, as Bollinger's and ours; a z-score is of the sample deviation.
ORACLES = {
    "entry_score": _entry_score,
    "zscore_20": lambda m: m.rolling(m.c, 20, _zscore),
    "zscore_60": lambda m: m.rolling(m.c, 60, _zscore),
    "bollinger_percent_b_20": _percent_b,
    "bollinger_width_20": _width,
    "cci_20": lambda m: talib.CCI(m.h, m.l, m.c, 20) / 100,
    "rsi_2": lambda m: talib.RSI(m.c, 2) / 100,
    "vwap_distance_20": lambda m: m.c / _vwap(m, 20) - 1,
    "median_distance_20": lambda m: (m.c - m.rolling(m.c, 20, np.median)) / m.atr,
    "return_zscore_21": lambda m: m.rolling(m.r, 21, _zscore),
}


def test_every_mean_reversion_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("mean_reversion")


@pytest.mark.parametrize("name", ORACLES)
def test_mean_reversion_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))
