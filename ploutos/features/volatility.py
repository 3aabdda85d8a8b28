"""Volatility features and regimes. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: where the returns of the window are constant (their deviation is below
1e-9 of their magnitude), and a quotient whose denominator is zero. A sum of range estimators that
comes out negative counts as zero.
"""

from math import log

from ploutos.features.bases import (
    ATR,
    CLOSE,
    LOG_CLOSE,
    LOG_HIGH,
    LOG_LOW,
    LOG_OPEN,
    LOG_RETURN,
    TRUE_RANGE,
    WILDER_WARM_UP_BARS,
    rounded,
)
from ploutos.features.expression import Expression
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    deviation,
    percentile,
    ratio,
    rolling_mean,
    rolling_sum,
    terciles,
)

_PER_BAR = "log return per bar"
_BARS = 21
_RANGE = LOG_HIGH - LOG_LOW
_UP = LOG_HIGH - LOG_OPEN
_DOWN = LOG_LOW - LOG_OPEN
_DRIFT = LOG_CLOSE - LOG_OPEN
_OVERNIGHT = LOG_OPEN - LOG_CLOSE.shift(1)
_ROGERS_SATCHELL = _UP * (_UP - _DRIFT) + _DOWN * (_DOWN - _DRIFT)
_YANG_ZHANG_K = 0.34 / (1.34 + (_BARS + 1) / (_BARS - 1))
_VOLATILITY = deviation(LOG_RETURN, _BARS)
_RANK = percentile(rounded(_VOLATILITY.log()), 126)


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "volatility", expression, warm_up_bars, unit, formula, source)


def _root(variance: Expression) -> Expression:
    return variance.at_least(0.0).sqrt()


def _volatility(n_bars: int) -> Feature:
    return _row(
        f"volatility_{n_bars}",
        deviation(LOG_RETURN, n_bars),
        n_bars,
        _PER_BAR,
        f"sample deviation of the last {n_bars} log returns",
        "Standard deviation",
    )


FEATURES: tuple[Feature, ...] = (
    *(_volatility(n_bars) for n_bars in (10, 21, 63)),
    _row(
        "volatility_ratio_10_63",
        (deviation(LOG_RETURN, 10) / deviation(LOG_RETURN, 63)).log(),
        63,
        "log ratio",
        "ln(sample deviation of 10 log returns / of 63)",
        "Term structure of realised volatility",
    ),
    _row(
        "volatility_rank_126",
        _RANK,
        146,
        "(0, 1)",
        "mid-rank of volatility_21 among its last 126 values, (rank - 0.5) / 126",
        "Empirical distribution function",
    ),
    _row(
        "volatility_regime_126",
        terciles(_RANK),
        146,
        "-1, 0 or 1",
        "-1 where volatility_rank_126 < 1/3, 1 where it is > 2/3, else 0",
        "Terciles of realised volatility",
    ),
    _row(
        "volatility_of_volatility_63",
        deviation(deviation(LOG_RETURN, 10), 63) / rolling_mean(deviation(LOG_RETURN, 10), 63),
        72,
        "fraction",
        "sample deviation / mean of the last 63 values of volatility_10",
        "Coefficient of variation",
    ),
    _row(
        "atr_ratio_14",
        ATR / CLOSE,
        WILDER_WARM_UP_BARS,
        "fraction of price",
        "Wilder14(true range) / close",
        "Wilder, New Concepts in Technical Trading Systems (1978)",
    ),
    _row(
        "range_surprise_14",
        ratio(TRUE_RANGE, ATR.shift(1)),
        WILDER_WARM_UP_BARS,
        "ATR14 of the bar before",
        "true range / Wilder14(true range) of the bar before",
        "Wilder's range as scale",
    ),
    _row(
        "parkinson_21",
        _root(rolling_mean(_RANGE.square(), _BARS) / (4.0 * log(2.0))),
        _BARS - 1,
        _PER_BAR,
        "sqrt(mean of ln(high / low)^2 over 21 bars / (4 ln 2))",
        "Parkinson, The Extreme Value Method (1980)",
    ),
    _row(
        "garman_klass_21",
        _root(
            rolling_mean(0.5 * _RANGE.square() - (2.0 * log(2.0) - 1.0) * _DRIFT.square(), _BARS)
        ),
        _BARS - 1,
        _PER_BAR,
        "sqrt(mean of 0.5 ln(high / low)^2 - (2 ln 2 - 1) ln(close / open)^2 over 21 bars)",
        "Garman and Klass, On the Estimation of Security Price Volatilities (1980)",
    ),
    _row(
        "yang_zhang_21",
        _root(
            deviation(_OVERNIGHT, _BARS).square().fill_missing(0.0)
            + _YANG_ZHANG_K * deviation(_DRIFT, _BARS).square().fill_missing(0.0)
            + (1.0 - _YANG_ZHANG_K) * rolling_mean(_ROGERS_SATCHELL, _BARS)
        ),
        _BARS,
        _PER_BAR,
        "sqrt(Var(ln open / previous close) + k Var(ln close / open) + (1 - k) RS) over 21 bars, "
        "k = 0.34 / (1.34 + 22 / 20), RS = mean of u (u - c) + d (d - c) with u, d, c = "
        "ln(high, low, close / open)",
        "Yang and Zhang, Drift-Independent Volatility Estimation (2000)",
    ),
    _row(
        "downside_share_21",
        ratio(
            rolling_sum(LOG_RETURN.at_most(0.0).square(), _BARS),
            rolling_sum(LOG_RETURN.square(), _BARS),
        ).at_most(1.0),
        _BARS,
        "[0, 1]",
        "sum of squared negative log returns / sum of all squared, 21 bars",
        "Barndorff-Nielsen, Kinnebrock and Shephard, Realised Semivariance (2010)",
    ),
    _row(
        "squeeze_20",
        2.0 * deviation(CLOSE, 20, ddof=0) / (1.5 * ATR),
        WILDER_WARM_UP_BARS,
        "dimensionless, below 1 in a squeeze",
        "2 population deviations of 20 closes / (1.5 ATR14)",
        "Carter, Mastering the Trade (2005): Bollinger inside Keltner",
    ),
)
