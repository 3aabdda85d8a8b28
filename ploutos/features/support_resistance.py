"""Distances to support and resistance. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: `donchian_position_55` where the window has no range, and a distance in
ATR14 where no range was ever traded.
"""

from ploutos.features.bases import (
    ATR,
    CLOSE,
    HIGH,
    LOG_CLOSE,
    LOG_HIGH,
    LOG_LOW,
    LOW,
    TYPICAL_PRICE,
    WILDER_WARM_UP_BARS,
)
from ploutos.features.expression import Expression
from ploutos.features.feature import Feature
from ploutos.features.primitives import ema, position, ratio, rolling_max, rolling_min

_DONCHIAN = "Donchian, channel rules (1960)"
_PIVOT = TYPICAL_PRICE.shift(1)
_RESISTANCE = 2.0 * _PIVOT - LOW.shift(1)
_SUPPORT = 2.0 * _PIVOT - HIGH.shift(1)
_ABOVE = rolling_max(HIGH, 20).shift(1) < CLOSE
_BELOW = rolling_min(LOW, 20).shift(1) > CLOSE


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "support_resistance", expression, warm_up_bars, unit, formula, source)


def _high_distance(n_bars: int) -> Feature:
    return _row(
        f"high_distance_{n_bars}",
        LOG_CLOSE - rolling_max(LOG_HIGH, n_bars),
        n_bars - 1,
        "log return, at most 0",
        f"ln(close / highest high of the last {n_bars} bars)",
        _DONCHIAN,
    )


def _low_distance(n_bars: int) -> Feature:
    return _row(
        f"low_distance_{n_bars}",
        LOG_CLOSE - rolling_min(LOG_LOW, n_bars),
        n_bars - 1,
        "log return, at least 0",
        f"ln(close / lowest low of the last {n_bars} bars)",
        _DONCHIAN,
    )


def _pivot_row(name: str, level: Expression, formula: str) -> Feature:
    return _row(
        name,
        ratio(CLOSE - level, ATR),
        WILDER_WARM_UP_BARS,
        "ATR14",
        f"(close - {formula}) / ATR14, P = (H + L + C) / 3 of the bar before",
        "Floor traders' pivots; Person, A Complete Guide to Technical Trading Tactics (2004)",
    )


FEATURES: tuple[Feature, ...] = (
    *(_high_distance(n_bars) for n_bars in (20, 60, 252)),
    *(_low_distance(n_bars) for n_bars in (20, 60, 252)),
    _row(
        "donchian_position_55",
        position(CLOSE, rolling_min(LOW, 55), rolling_max(HIGH, 55)),
        54,
        "[0, 1]",
        "(close - lowest low of 55) / (highest high of 55 - lowest low of 55)",
        _DONCHIAN,
    ),
    _row(
        "breakout_20",
        _ABOVE - _BELOW,
        20,
        "-1, 0 or 1",
        "1 where close > highest high of the 20 bars before, -1 where < their lowest low",
        _DONCHIAN,
    ),
    _row(
        "keltner_position_20",
        ratio(CLOSE - ema(CLOSE, 20), 2.0 * ATR),
        WILDER_WARM_UP_BARS,
        "half channel widths",
        "(close - EMA20(close)) / (2 ATR14)",
        "Keltner (1960), with ATR bands after Raschke",
    ),
    _pivot_row("pivot_distance", _PIVOT, "P"),
    _pivot_row("resistance_distance", _RESISTANCE, "(2 P - L of the bar before)"),
    _pivot_row("support_distance", _SUPPORT, "(2 P - H of the bar before)"),
)
