import numpy as np
import pytest
import talib
from scipy.stats import linregress


def _macd(m):
    # TA-Lib starts each EMA on a mean, ours starts on the first value: both are forgotten by now.
    line = talib.EMA(m.c, 12) - talib.EMA(m.c, 26)
    first = np.flatnonzero(np.isfinite(line))[0]
    signal = np.concatenate([np.full(first, np.nan), talib.EMA(line[first:], 9)])
    return line, signal


def _slope(m, n):
    return m.rolling(np.log(m.c), n, lambda y: linregress(np.arange(n), y).slope)


def _supertrend_line(m, n=42):
    """The published rules, bar by bar, on every window."""

    def run(high, low, close, atr):
        line = 0.0
        for t in range(n):
            middle = (high[t] + low[t]) / 2
            basic = middle + 3 * atr[t], middle - 3 * atr[t]
            if t == 0:
                upper, lower, up = *basic, True
            else:
                upper = basic[0] if basic[0] < upper or close[t - 1] > upper else upper
                lower = basic[1] if basic[1] > lower or close[t - 1] < lower else lower
                up = close[t] >= lower if up else close[t] > upper
            line = lower if up else upper
        return line

    return m.rolling(m.h, n, run, m.l, m.c, m.atr)


def _parabolic(m, n=42):
    return m.rolling(m.h, n, lambda high, low: talib.SAR(high, low, 0.02, 0.2)[-1], m.l)


def _kama(m, n=126):
    """Kaufman's recursion, bar by bar, on every window."""
    moves = m.rolling(np.abs(np.diff(m.c, prepend=np.nan)), 10, np.sum)
    pace = (np.abs(m.c - m.lag(m.c, 10)) / moves * (2 / 3 - 2 / 31) + 2 / 31) ** 2

    def run(close, weight):
        mean = close[0]
        for t in range(1, n):
            mean += weight[t] * (close[t] - mean)
        return mean

    return m.rolling(m.c, n, run, pace)


def test_the_adaptive_mean_of_a_long_window_is_that_of_talib(market):
    """TA-Lib's run starts on another bar, which the window's 126 bars mostly forget."""
    ours = market.c / (1 + market.features.filter(symbol="S0")["kama_distance_126"].to_numpy())
    theirs = talib.KAMA(market.c, 10)
    assert np.nanmedian(np.abs(ours[200:] / theirs[200:] - 1)) < 1e-4


ORACLES = {
    "supertrend_distance_42": lambda m: (m.c - _supertrend_line(m)) / m.atr,
    "supertrend_direction_42": lambda m: np.sign(m.c - _supertrend_line(m)),
    "parabolic_distance_42": lambda m: (m.c - _parabolic(m)) / m.atr,
    "kama_distance_126": lambda m: m.c / _kama(m) - 1,
    "sma_distance_10": lambda m: m.c / talib.SMA(m.c, 10) - 1,
    "sma_distance_20": lambda m: m.c / talib.SMA(m.c, 20) - 1,
    "sma_distance_50": lambda m: m.c / talib.SMA(m.c, 50) - 1,
    "sma_distance_100": lambda m: m.c / talib.SMA(m.c, 100) - 1,
    "sma_distance_200": lambda m: m.c / talib.SMA(m.c, 200) - 1,
    "sma_cross_20_50": lambda m: talib.SMA(m.c, 20) / talib.SMA(m.c, 50) - 1,
    "sma_cross_50_200": lambda m: talib.SMA(m.c, 50) / talib.SMA(m.c, 200) - 1,
    "macd_line": lambda m: _macd(m)[0] / m.c,
    "macd_histogram": lambda m: (_macd(m)[0] - _macd(m)[1]) / m.c,
    # TA-Lib: percent, and Wilder's sums start on a mean of 14. Moves of whole cents tie exactly.
    "plus_di_14": lambda m: talib.PLUS_DI(*m.cents("h", "l", "c"), 14) / 100,
    "minus_di_14": lambda m: talib.MINUS_DI(*m.cents("h", "l", "c"), 14) / 100,
    "adx_14": lambda m: talib.ADX(*m.cents("h", "l", "c"), 14) / 100,
    "aroon_up_25": lambda m: talib.AROON(m.h, m.l, 25)[1] / 100,
    "aroon_down_25": lambda m: talib.AROON(m.h, m.l, 25)[0] / 100,
    "slope_20": lambda m: _slope(m, 20),
    "slope_60": lambda m: talib.LINEARREG_SLOPE(np.log(m.c), 60),
    "trend_r2_60": lambda m: m.rolling(
        np.log(m.c), 60, lambda y: linregress(np.arange(60), y).rvalue ** 2
    ),
    "efficiency_ratio_20": lambda m: m.rolling(m.r, 20, lambda r: abs(r.sum()) / np.abs(r).sum()),
    "choppiness_14": lambda m: (
        np.log(m.rolling(m.tr, 14, np.sum) / (talib.MAX(m.h, 14) - talib.MIN(m.l, 14))) / np.log(14)
    ),
}


def test_every_trend_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("trend")


@pytest.mark.parametrize("name", ORACLES)
def test_trend_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))
