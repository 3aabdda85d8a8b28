"""Price action and candlestick shapes. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: the shares of a bar's range where high = low, and `range_atr_14` where no
range was ever traded. A pattern that needs a range is 0 where high = low.
"""

from ploutos.features.bases import (
    ATR,
    CLOSE,
    HIGH,
    LOG_CLOSE,
    LOG_OPEN,
    LOW,
    OPEN,
    WILDER_WARM_UP_BARS,
)
from ploutos.features.expression import Expression, maximum, minimum
from ploutos.features.feature import Feature
from ploutos.features.primitives import position, ratio, rolling_mean

_NISON = "Nison, Japanese Candlestick Charting Techniques (1991)"
_BULKOWSKI = "Bulkowski, Encyclopedia of Candlestick Charts (2008)"
# Prices in cents meet a threshold exactly; the slack decides such ties alike at every price scale.
_SLACK = 1.0 + 1e-9
_RANGE = HIGH - LOW
_BODY = CLOSE - OPEN
_UPPER = HIGH - maximum(OPEN, CLOSE)
_LOWER = minimum(OPEN, CLOSE) - LOW
_PREVIOUS_BODY = _BODY.shift(1)
_TOP = maximum(OPEN, CLOSE)
_BOTTOM = minimum(OPEN, CLOSE)
_TURNED = _BODY.sign() * _PREVIOUS_BODY.sign() < 0
_ENGULFS = _TURNED & (_TOP.shift(1) <= _TOP) & (_BOTTOM.shift(1) >= _BOTTOM)
_INSIDE_BODY = _TURNED & (_TOP.shift(1) > _TOP) & (_BOTTOM.shift(1) < _BOTTOM)


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "candles", expression, warm_up_bars, unit, formula, source)


def _is_pin(long: Expression, short: Expression) -> Expression:
    slim = long * _SLACK >= 2.0 * _BODY.abs()
    return slim & (short <= 0.1 * _SLACK * _RANGE) & (_RANGE > 0)


FEATURES: tuple[Feature, ...] = (
    _row(
        "gap",
        LOG_OPEN - LOG_CLOSE.shift(1),
        1,
        "log return",
        "ln(open / previous close)",
        "Overnight return",
    ),
    _row(
        "intraday_return",
        LOG_CLOSE - LOG_OPEN,
        0,
        "log return",
        "ln(close / open)",
        "Open-to-close return",
    ),
    _row(
        "range_atr_14",
        ratio(_RANGE, ATR),
        WILDER_WARM_UP_BARS,
        "ATR14",
        "(high - low) / ATR14",
        "Wilder's range as scale",
    ),
    _row("body", ratio(_BODY, _RANGE), 0, "[-1, 1]", "(close - open) / (high - low)", _NISON),
    _row(
        "upper_shadow",
        ratio(_UPPER, _RANGE),
        0,
        "[0, 1]",
        "(high - max(open, close)) / (high - low)",
        _NISON,
    ),
    _row(
        "lower_shadow",
        ratio(_LOWER, _RANGE),
        0,
        "[0, 1]",
        "(min(open, close) - low) / (high - low)",
        _NISON,
    ),
    _row(
        "close_location",
        2.0 * position(CLOSE, LOW, HIGH) - 1.0,
        0,
        "[-1, 1]",
        "(2 close - high - low) / (high - low)",
        "Chaikin, Accumulation/Distribution",
    ),
    _row(
        "doji",
        _BODY.abs() <= 0.1 * _SLACK * _RANGE,
        0,
        "0 or 1",
        "1 where |close - open| <= 0.1 (high - low)",
        _NISON,
    ),
    _row(
        "hammer",
        _is_pin(_LOWER, _UPPER),
        0,
        "0 or 1",
        "1 where the lower shadow is >= 2 bodies, the upper <= 0.1 of the range, range > 0",
        _NISON,
    ),
    _row(
        "shooting_star",
        _is_pin(_UPPER, _LOWER),
        0,
        "0 or 1",
        "1 where the upper shadow is >= 2 bodies, the lower <= 0.1 of the range, range > 0",
        _NISON,
    ),
    _row(
        "engulfing",
        _ENGULFS * _BODY.sign() + 0.0,
        1,
        "-1, 0 or 1",
        "sign of the body where it turns and covers the previous body (equal edges count), else 0",
        _NISON,
    ),
    _row(
        "harami",
        _INSIDE_BODY * _BODY.sign() + 0.0,
        1,
        "-1, 0 or 1",
        "sign of the body where it turns and lies strictly inside the previous body, else 0",
        _NISON,
    ),
    _row(
        "inside_bar",
        (HIGH.shift(1) > HIGH) & (LOW.shift(1) < LOW),
        1,
        "0 or 1",
        "1 where high < previous high and low > previous low",
        _BULKOWSKI,
    ),
    _row(
        "outside_bar",
        (HIGH.shift(1) < HIGH) & (LOW.shift(1) > LOW),
        1,
        "0 or 1",
        "1 where high > previous high and low < previous low",
        _BULKOWSKI,
    ),
    _row(
        "higher_high_share_10",
        rolling_mean(HIGH.shift(1) < HIGH, 10),
        10,
        "[0, 1]",
        "share of the last 10 bars whose high is above that of the bar before",
        "Dow theory: rising peaks",
    ),
    _row(
        "body_balance_5",
        rolling_mean(ratio(_BODY, _RANGE).fill_missing(0.0), 5),
        4,
        "[-1, 1]",
        "mean of the last 5 values of body, 0 where high = low",
        _NISON,
    ),
)
