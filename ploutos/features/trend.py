"""Trend features: averages, MACD, ADX, Aroon, regression. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: `plus_di_14` and `minus_di_14` where no range was ever traded,
`trend_r2_60` where the window's closes are constant, `efficiency_ratio_20` where no return
moved, `choppiness_14` where the window's range is zero. `adx_14` counts a bar without
directional movement as 0.
"""

from math import log

import polars as pl

from ploutos.features.bases import (
    ATR,
    CLOSE,
    HIGH,
    LOG_RETURN,
    LOW,
    TRUE_RANGE,
    WILDER_WARM_UP_BARS,
)
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    deviation,
    ema,
    ratio,
    rolling_mean,
    rolling_sum,
    slope,
    wilder,
)

_MURPHY = "Murphy, Technical Analysis of the Financial Markets (1999)"
_WILDER = "Wilder, New Concepts in Technical Trading Systems (1978)"
_APPEL = "Appel, The Moving Average Convergence-Divergence Method (1979)"
_UP_MOVE = HIGH.diff()
_DOWN_MOVE = -LOW.diff()
_PLUS_DM = wilder(pl.when((_UP_MOVE > _DOWN_MOVE) & (_UP_MOVE > 0)).then(_UP_MOVE).otherwise(0), 14)
_MINUS_DM = wilder(
    pl.when((_DOWN_MOVE > _UP_MOVE) & (_DOWN_MOVE > 0)).then(_DOWN_MOVE).otherwise(0), 14
)
_DX = ratio((_PLUS_DM - _MINUS_DM).abs(), _PLUS_DM + _MINUS_DM).fill_null(0.0)
_MACD = ema(CLOSE, 12) - ema(CLOSE, 26)
_AROON_BARS = 25


def _row(
    name: str, expression: pl.Expr, warm_up_bars: int, unit: str, formula: str, source: str
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
        slope(CLOSE.log(), n_bars),
        n_bars - 1,
        "log return per bar",
        f"least-squares slope of ln close on time over {n_bars} bars",
        "Ordinary least squares",
    )


def _aroon(x: pl.Expr, extreme: pl.Expr) -> pl.Expr:
    """Return 1 - (bars since the window's extreme) / n, the newest one where several are equal."""
    return pl.coalesce(
        pl.when(x.shift(age) == extreme).then(pl.lit(1.0 - age / _AROON_BARS))
        for age in range(_AROON_BARS + 1)
    )


def _r_squared(n_bars: int) -> pl.Expr:
    time_deviation = ((n_bars * n_bars + n_bars) / 12.0) ** 0.5
    correlation = slope(CLOSE.log(), n_bars) * time_deviation / deviation(CLOSE.log(), n_bars)
    return correlation.pow(2).clip(0.0, 1.0)


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
        _aroon(HIGH, HIGH.rolling_max(_AROON_BARS + 1)),
        _AROON_BARS,
        "[0, 1]",
        "1 - (bars since the highest high of the last 26 bars) / 25",
        "Chande, The New Technical Trader (1994)",
    ),
    _row(
        "aroon_down_25",
        _aroon(LOW, LOW.rolling_min(_AROON_BARS + 1)),
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
        pl.when(LOG_RETURN.abs().rolling_max(20) > 0).then(
            rolling_sum(LOG_RETURN, 20).abs() / rolling_sum(LOG_RETURN.abs(), 20)
        ),
        20,
        "[0, 1]",
        "|sum of the last 20 log returns| / sum of their magnitudes",
        "Kaufman, Smarter Trading (1995), on log returns",
    ),
    _row(
        "choppiness_14",
        ratio(rolling_sum(TRUE_RANGE, 14), HIGH.rolling_max(14) - LOW.rolling_min(14)).log()
        / log(14),
        14,
        "dimensionless, about [0, 1]",
        "ln(sum of 14 true ranges / (highest high - lowest low of 14)) / ln 14",
        "Dreiss, Choppiness Index (1993)",
    ),
)
