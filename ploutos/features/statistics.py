"""Statistics of returns. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: where the returns of the window are constant.
"""

from math import log

from ploutos.features.bases import LOG_CLOSE, LOG_RETURN
from ploutos.features.expression import Expression
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    correlation,
    deviation,
    excess_kurtosis,
    rolling_max,
    rolling_mean,
    skewness,
)

_BARS = 63
_VARIANCE_RATIO = (
    deviation(LOG_CLOSE.diff(5), 126).square() / deviation(LOG_RETURN, 126).square() / 5.0
)


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "statistics", expression, warm_up_bars, unit, formula, source)


FEATURES: tuple[Feature, ...] = (
    _row(
        "skew_63",
        skewness(LOG_RETURN, _BARS),
        _BARS,
        "dimensionless",
        "third central moment / population deviation^3 of the last 63 log returns",
        "Moment coefficient, biased",
    ),
    _row(
        "kurtosis_63",
        excess_kurtosis(LOG_RETURN, _BARS),
        _BARS,
        "dimensionless, 0 for a normal",
        "fourth central moment / population variance^2 - 3 of the last 63 log returns",
        "Moment coefficient, biased, excess",
    ),
    _row(
        "autocorrelation_1_63",
        correlation(LOG_RETURN, LOG_RETURN.shift(1), _BARS),
        _BARS + 1,
        "[-1, 1]",
        "correlation of the last 63 log returns with the log returns one bar before each",
        "Pearson correlation",
    ),
    _row(
        "variance_ratio_5_126",
        _VARIANCE_RATIO,
        130,
        "ratio, 1 for a random walk",
        "sample variance of the last 126 5-bar log returns / (5 that of the 1-bar ones)",
        "Lo and MacKinlay, Stock Market Prices Do Not Follow Random Walks (1988)",
    ),
    _row(
        "hurst_126",
        0.5 + _VARIANCE_RATIO.log() / (2.0 * log(5.0)),
        130,
        "dimensionless, 0.5 for a random walk",
        "0.5 + ln(variance_ratio_5_126) / (2 ln 5)",
        "Mandelbrot and Van Ness, Fractional Brownian Motions (1968): variance grows as t^2H",
    ),
    _row(
        "sharpe_63",
        rolling_mean(LOG_RETURN, _BARS) / deviation(LOG_RETURN, _BARS),
        _BARS,
        "per bar, not annualised",
        "mean / sample deviation of the last 63 log returns",
        "Sharpe, The Sharpe Ratio (1994)",
    ),
    _row(
        "largest_move_63",
        rolling_max(LOG_RETURN.abs(), _BARS) / deviation(LOG_RETURN, _BARS),
        _BARS,
        "standard deviations",
        "largest |log return| / sample deviation of the last 63 log returns",
        "Studentised extreme",
    ),
    _row(
        "up_share_21",
        rolling_mean(LOG_RETURN > 0, 21),
        21,
        "[0, 1]",
        "share of the last 21 log returns above 0",
        "Psychological line",
    ),
)
