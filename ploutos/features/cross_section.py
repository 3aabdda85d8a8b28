"""A symbol among the others of its universe. In: adjusted bars, features. Out: catalog rows.

The universe of a bar is the symbols that have that bar. Of a universe of one, ranks are 0.5 and
relative returns 0. A symbol's first return after a missing bar spans the gap, the universe's does
not. Null besides the warm-up: where the returns of the window are constant, and the rank of what is
null itself.
"""

from ploutos.features.bases import LOG_CLOSE, LOG_RETURN, UNIVERSE_RETURN, VOLUME, rounded
from ploutos.features.expression import Expression, when
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    correlation,
    covariance,
    deviation,
    rolling_max,
    rolling_mean,
    rolling_sum,
    universe_rank,
)

_SHARPE = "Sharpe, Capital Asset Prices (1964), the universe's mean as the market"


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "cross_section", expression, warm_up_bars, unit, formula, source)


def _rank(ranked: str, x: Expression, warm_up_bars: int) -> Feature:
    return _row(
        f"{ranked}_rank",
        universe_rank(rounded(x)),
        warm_up_bars,
        "(0, 1)",
        f"(average rank of {ranked} among the symbols of the bar - 0.5) / their number",
        "Asness, Moskowitz and Pedersen, Value and Momentum Everywhere (2013)",
    )


FEATURES: tuple[Feature, ...] = (
    _rank("momentum_21", LOG_CLOSE.diff(21), 21),
    _rank("momentum_252_21", LOG_CLOSE.diff(231).shift(21), 252),
    _rank("volatility_21", deviation(LOG_RETURN, 21), 21),
    _rank(
        "relative_volume_20",
        when(rolling_max(VOLUME, 20) > 0, VOLUME / rolling_mean(VOLUME, 20)),
        19,
    ),
    _row(
        "relative_return",
        LOG_RETURN - UNIVERSE_RETURN,
        1,
        "log return",
        "log return - universe mean log return",
        "Market-adjusted return",
    ),
    _row(
        "relative_strength_21",
        rolling_sum(LOG_RETURN - UNIVERSE_RETURN, 21),
        21,
        "log return",
        "sum of log return - universe mean log return over 21 bars",
        "Levy, Relative Strength as a Criterion for Investment Selection (1967)",
    ),
    _row(
        "universe_momentum_21",
        rolling_sum(UNIVERSE_RETURN, 21),
        21,
        "log return",
        "sum of the universe mean log return over 21 bars",
        "Moskowitz, Ooi and Pedersen, Time Series Momentum (2012)",
    ),
    _row(
        "universe_volatility_21",
        deviation(UNIVERSE_RETURN, 21),
        21,
        "log return per bar",
        "sample deviation of the universe mean log return over 21 bars",
        "Standard deviation",
    ),
    _row(
        "beta_63",
        covariance(LOG_RETURN, UNIVERSE_RETURN, 63) / deviation(UNIVERSE_RETURN, 63).square(),
        63,
        "dimensionless",
        "covariance of log return and universe mean log return / variance of the latter, 63 bars",
        _SHARPE,
    ),
    _row(
        "correlation_63",
        correlation(LOG_RETURN, UNIVERSE_RETURN, 63),
        63,
        "[-1, 1]",
        "correlation of log return and universe mean log return over 63 bars",
        _SHARPE,
    ),
)
