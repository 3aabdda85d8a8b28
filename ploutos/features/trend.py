"""Trend features: averages, MACD, ADX, Aroon, stops. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: `plus_di_14`, `minus_di_14` and the distances in ATR14 where no range was
ever traded, `trend_r2_60` where the window's closes are constant, `efficiency_ratio_20` where no
return moved, `choppiness_14` where the window's range is zero. `adx_14` counts a bar without
directional movement as 0; up and down moves that differ by less than 1e-9 of the price tie, and
neither counts. Supertrend, the parabolic stop and the adaptive mean are runs over a
fixed trailing window: what came before it cannot change them.
"""

from math import log

from ploutos.features.bases import (
    ATR,
    CLOSE,
    HIGH,
    LOG_CLOSE,
    LOW,
    TIE,
    TRUE_RANGE,
    WILDER_WARM_UP_BARS,
)
from ploutos.features.expression import Expression, where
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    adaptive_mean,
    age_of_max,
    deviation,
    efficiency,
    ema,
    parabolic,
    ratio,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_sum,
    slope,
    trailing_stop,
    wilder,
)

_MURPHY = "Murphy, Technical Analysis of the Financial Markets (1999)"
_WILDER = "Wilder, New Concepts in Technical Trading Systems (1978)"
_APPEL = "Appel, The Moving Average Convergence-Divergence Method (1979)"
_UP_MOVE = HIGH.diff()
_DOWN_MOVE = -LOW.diff()
_NO_MOVE = 0.0 * CLOSE
_UP_WINS = (_UP_MOVE - _DOWN_MOVE > TIE) & (_UP_MOVE > 0)
_DOWN_WINS = (_DOWN_MOVE - _UP_MOVE > TIE) & (_DOWN_MOVE > 0)
_PLUS_DM = wilder(where(_UP_WINS, _UP_MOVE, _NO_MOVE), 14)
_MINUS_DM = wilder(where(_DOWN_WINS, _DOWN_MOVE, _NO_MOVE), 14)
_DX = ratio((_PLUS_DM - _MINUS_DM).abs(), _PLUS_DM + _MINUS_DM).fill_missing(0.0)
_MACD = ema(CLOSE, 12) - ema(CLOSE, 26)
_AROON_BARS = 25
_RUN_BARS = 42
_KAMA_BARS = 126
_MIDDLE = (HIGH + LOW) / 2.0
_STOP = trailing_stop(_MIDDLE + 3.0 * ATR, _MIDDLE - 3.0 * ATR, CLOSE, _RUN_BARS)
_PARABOLIC = parabolic(HIGH, LOW, _RUN_BARS)
_FAST, _SLOW = 2.0 / 3.0, 2.0 / 31.0
_PACE = (efficiency(CLOSE, 10).fill_missing(0.0) * (_FAST - _SLOW) + _SLOW).square()


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "trend", expression, warm_up_bars, unit, formula, source)


def _sma_distance(n_bars: int) -> Feature:
    return _row(
        f"sma_distance_{n_bars}",
        CLOSE / rolling_mean(CLOSE, n_bars) - 1.0,
        n_bars - 1,
        "fraction",
        f"close / SMA{n_bars}(close) - 1",
        _MURPHY,
    )


def _slope(n_bars: int) -> Feature:
    return _row(
        f"slope_{n_bars}",
        slope(LOG_CLOSE, n_bars),
        n_bars - 1,
        "log return per bar",
        f"least-squares slope of ln close on time over {n_bars} bars",
        "Ordinary least squares",
    )


def _aroon(x: Expression) -> Expression:
    """Return 1 - (bars since the window's largest x) / n, the newest one where several are."""
    return 1.0 - age_of_max(x, _AROON_BARS + 1) / _AROON_BARS


def _r_squared(n_bars: int) -> Expression:
    time_deviation = ((n_bars * n_bars + n_bars) / 12.0) ** 0.5
    correlation = slope(LOG_CLOSE, n_bars) * time_deviation / deviation(LOG_CLOSE, n_bars)
    return correlation.square().at_most(1.0)


FEATURES: tuple[Feature, ...] = (
    *(_sma_distance(n_bars) for n_bars in (10, 20, 50, 100, 200)),
    _row(
        "sma_cross_20_50",
        rolling_mean(CLOSE, 20) / rolling_mean(CLOSE, 50) - 1.0,
        49,
        "fraction",
        "SMA20(close) / SMA50(close) - 1",
        _MURPHY,
    ),
    _row(
        "sma_cross_50_200",
        rolling_mean(CLOSE, 50) / rolling_mean(CLOSE, 200) - 1.0,
        199,
        "fraction",
        "SMA50(close) / SMA200(close) - 1",
        _MURPHY,
    ),
    _row(
        "macd_line",
        _MACD / CLOSE,
        WILDER_WARM_UP_BARS,
        "fraction of price",
        "(EMA12(close) - EMA26(close)) / close",
        _APPEL,
    ),
    _row(
        "macd_histogram",
        (_MACD - ema(_MACD, 9)) / CLOSE,
        WILDER_WARM_UP_BARS,
        "fraction of price",
        "(MACD - EMA9(MACD)) / close, MACD = EMA12(close) - EMA26(close)",
        _APPEL,
    ),
    _row(
        "plus_di_14",
        ratio(_PLUS_DM, ATR),
        WILDER_WARM_UP_BARS,
        "[0, 1]",
        "Wilder14(+DM) / ATR14; +DM = up move if it exceeds the down move and 0, else 0",
        _WILDER,
    ),
    _row(
        "minus_di_14",
        ratio(_MINUS_DM, ATR),
        WILDER_WARM_UP_BARS,
        "[0, 1]",
        "Wilder14(-DM) / ATR14; -DM = down move if it exceeds the up move and 0, else 0",
        _WILDER,
    ),
    _row(
        "adx_14",
        wilder(_DX, 14),
        WILDER_WARM_UP_BARS,
        "[0, 1]",
        "Wilder14(|+DI - -DI| / (+DI + -DI))",
        _WILDER,
    ),
    _row(
        "aroon_up_25",
        _aroon(HIGH),
        _AROON_BARS,
        "[0, 1]",
        "1 - (bars since the highest high of the last 26 bars) / 25",
        "Chande, The New Technical Trader (1994)",
    ),
    _row(
        "aroon_down_25",
        _aroon(-LOW),
        _AROON_BARS,
        "[0, 1]",
        "1 - (bars since the lowest low of the last 26 bars) / 25",
        "Chande, The New Technical Trader (1994)",
    ),
    *(_slope(n_bars) for n_bars in (20, 60)),
    _row(
        "trend_r2_60",
        _r_squared(60),
        59,
        "[0, 1]",
        "squared correlation of ln close with time over 60 bars",
        "Ordinary least squares",
    ),
    _row(
        "efficiency_ratio_20",
        efficiency(LOG_CLOSE, 20),
        20,
        "[0, 1]",
        "|sum of the last 20 log returns| / sum of their magnitudes",
        "Kaufman, Smarter Trading (1995), on log returns",
    ),
    _row(
        "choppiness_14",
        ratio(rolling_sum(TRUE_RANGE, 14), rolling_max(HIGH, 14) - rolling_min(LOW, 14)).log()
        / log(14),
        14,
        "dimensionless, about [0, 1]",
        "ln(sum of 14 true ranges / (highest high - lowest low of 14)) / ln 14",
        "Dreiss, Choppiness Index (1993)",
    ),
    _row(
        "supertrend_distance_42",
        ratio(CLOSE - _STOP, ATR),
        WILDER_WARM_UP_BARS,
        "ATR14",
        "(close - line) / ATR14; the line is that of a run over the last 42 bars with the bands "
        "(H + L) / 2 +/- 3 ATR14, which starts in an up trend",
        "Seban, Supertrend (2009)",
    ),
    _row(
        "supertrend_direction_42",
        (CLOSE - _STOP).sign(),
        WILDER_WARM_UP_BARS,
        "-1, 0 or 1",
        "sign of close - line, with the line of supertrend_distance_42",
        "Seban, Supertrend (2009)",
    ),
    _row(
        "parabolic_distance_42",
        ratio(CLOSE - _PARABOLIC, ATR),
        WILDER_WARM_UP_BARS,
        "ATR14",
        "(close - SAR) / ATR14; the parabolic stop and reverse (0.02, at most 0.2) of a run over "
        "the last 42 bars",
        _WILDER,
    ),
    _row(
        "kama_distance_126",
        CLOSE / adaptive_mean(CLOSE, _PACE, _KAMA_BARS) - 1.0,
        _KAMA_BARS + 9,
        "fraction",
        "close / KAMA(10, 2, 30) - 1; the adaptive mean of a run over the last 126 bars, which "
        "starts on the close of the oldest",
        "Kaufman, Smarter Trading (1995)",
    ),
)
