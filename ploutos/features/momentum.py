"""Momentum features: returns over windows, RSI, stochastics. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: an oscillator whose window has no range or no movement at all.
"""

from ploutos.features.bases import (
    CLOSE,
    HIGH,
    LOG_CLOSE,
    LOG_RETURN,
    LOW,
    PREVIOUS_CLOSE,
    TRUE_RANGE,
    WILDER_WARM_UP_BARS,
)
from ploutos.features.expression import Expression, minimum
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    ema,
    position,
    ratio,
    relative_strength,
    rolling_max,
    rolling_mean,
    rolling_min,
    rolling_sum,
)

_RSI = relative_strength(CLOSE, 14)
_STOCHASTIC = position(CLOSE, rolling_min(LOW, 14), rolling_max(HIGH, 14))
_BUYING_PRESSURE = CLOSE - minimum(LOW, PREVIOUS_CLOSE)
_TRIPLE_EMA = ema(ema(ema(CLOSE, 15), 15), 15)
_JEGADEESH = "Jegadeesh and Titman, Returns to Buying Winners and Selling Losers (1993)"
_WILDER = "Wilder, New Concepts in Technical Trading Systems (1978)"
_LANE = "Lane, Lane's Stochastics (1984)"


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "momentum", expression, warm_up_bars, unit, formula, source)


def _momentum(n_bars: int) -> Feature:
    return _row(
        f"momentum_{n_bars}",
        LOG_CLOSE.diff(n_bars),
        n_bars,
        "log return",
        f"ln(close / close {n_bars} bars ago)",
        _JEGADEESH,
    )


def _window_position(x: Expression, n_bars: int) -> Expression:
    return position(x, rolling_min(x, n_bars), rolling_max(x, n_bars))


def _pressure(n_bars: int) -> Expression:
    return ratio(rolling_sum(_BUYING_PRESSURE, n_bars), rolling_sum(TRUE_RANGE, n_bars))


FEATURES: tuple[Feature, ...] = (
    *(_momentum(n_bars) for n_bars in (1, 5, 10, 21, 63, 126)),
    _row(
        "momentum_252_21",
        LOG_CLOSE.diff(231).shift(21),
        252,
        "log return",
        "ln(close 21 bars ago / close 252 bars ago): a year without its last month",
        _JEGADEESH,
    ),
    _row(
        "acceleration_10",
        LOG_CLOSE.diff(10).diff(10),
        20,
        "log return",
        "log return of the last 10 bars less that of the 10 before",
        "Second difference of ln close",
    ),
    _row(
        "rsi_14",
        _RSI,
        WILDER_WARM_UP_BARS,
        "[0, 1]",
        "Wilder14(gains) / (Wilder14(gains) + Wilder14(losses)) of close changes",
        _WILDER,
    ),
    _row(
        "rsi_change_5",
        _RSI - _RSI.shift(5),
        WILDER_WARM_UP_BARS,
        "[-1, 1]",
        "RSI14 less RSI14 of 5 bars ago",
        _WILDER,
    ),
    _row(
        "rsi_divergence_14",
        _window_position(CLOSE, 14) - _window_position(_RSI, 14),
        WILDER_WARM_UP_BARS,
        "[-1, 1]",
        "place of close in the range of its last 14 values less that of RSI14 in its own: above 0 "
        "where price leads (bearish divergence)",
        "Divergence of price and RSI after Wilder (1978), as a continuous measure",
    ),
    _row(
        "stochastic_k_14",
        _STOCHASTIC,
        13,
        "[0, 1]",
        "(close - lowest low of 14) / (highest high of 14 - lowest low of 14)",
        _LANE,
    ),
    _row(
        "stochastic_d_14_3",
        rolling_mean(_STOCHASTIC, 3),
        15,
        "[0, 1]",
        "mean of the last 3 values of stochastic_k_14",
        _LANE,
    ),
    _row(
        "williams_r_14",
        _STOCHASTIC - 1.0,
        13,
        "[-1, 0]",
        "-(highest high of 14 - close) / (highest high of 14 - lowest low of 14)",
        "Williams, How I Made One Million Dollars (1973)",
    ),
    _row(
        "ultimate_oscillator_7_14_28",
        (4.0 * _pressure(7) + 2.0 * _pressure(14) + _pressure(28)) / 7.0,
        28,
        "[0, 1]",
        "(4 A7 + 2 A14 + A28) / 7, An = sum(close - min(low, previous close)) / sum(true range)",
        "Williams, The Ultimate Oscillator (1985)",
    ),
    _row(
        "trix_15",
        _TRIPLE_EMA / _TRIPLE_EMA.shift(1) - 1.0,
        WILDER_WARM_UP_BARS,
        "fraction per bar",
        "one-bar change of EMA15(EMA15(EMA15(close)))",
        "Hutson, Good Trix (1983)",
    ),
    _row(
        "gain_share_21",
        ratio(rolling_sum(LOG_RETURN.at_least(0.0), 21), rolling_sum(LOG_RETURN.abs(), 21)).at_most(
            1.0
        ),
        21,
        "[0, 1]",
        "sum of the positive log returns of 21 bars / sum of all magnitudes",
        "Cutler's RSI on log returns",
    ),
)
