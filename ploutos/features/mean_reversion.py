"""Mean-reversion features: distance from a local centre. In: adjusted bars. Out: catalog rows.

Null besides the warm-up: where the window is constant (its deviation is below 1e-9 of its root mean
square), `vwap_distance_20` where nothing was traded in the window or a volume in it is missing,
`rsi_2` and `entry_score` where the close never moved, `median_distance_20` where no range was ever
traded.
"""

from ploutos.features.bases import (
    ATR,
    CLOSE,
    LOG_RETURN,
    TYPICAL_PRICE,
    VOLUME,
    WILDER_WARM_UP_BARS,
)
from ploutos.features.expression import Expression, when
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    deviation,
    mean_absolute_deviation,
    relative_strength,
    rolling_max,
    rolling_mean,
    rolling_median,
    rolling_sum,
    zscore,
)

_SIGMA = deviation(CLOSE, 20, ddof=0)
_MEAN = rolling_mean(CLOSE, 20)
_PERCENT_B = 0.5 + (CLOSE - _MEAN) / (4.0 * _SIGMA)
_CALM = 1.0 - 2.0 * _PERCENT_B.at_least(0.0).at_most(1.0)
_OVERSOLD = 1.0 - 2.0 * relative_strength(CLOSE, 14)
_WITH_TREND = (rolling_mean(CLOSE, 50) - rolling_mean(CLOSE, 200)).sign()
_BOLLINGER = "Bollinger, Bollinger on Bollinger Bands (2001)"


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "mean_reversion", expression, warm_up_bars, unit, formula, source)


def _zscore(n_bars: int) -> Feature:
    return _row(
        f"zscore_{n_bars}",
        zscore(CLOSE, n_bars),
        n_bars - 1,
        "standard deviations",
        f"(close - SMA{n_bars}) / sample deviation of the last {n_bars} closes",
        "Standard score",
    )


FEATURES: tuple[Feature, ...] = (
    _zscore(20),
    _zscore(60),
    _row(
        "bollinger_percent_b_20",
        _PERCENT_B,
        19,
        "dimensionless, 0 and 1 at the bands",
        "(close - lower) / (upper - lower), bands = SMA20 -/+ 2 population deviations of 20 closes",
        _BOLLINGER,
    ),
    _row(
        "bollinger_width_20",
        4.0 * _SIGMA / _MEAN,
        19,
        "fraction of price",
        "(upper - lower) / SMA20, bands = SMA20 -/+ 2 population deviations of 20 closes",
        _BOLLINGER,
    ),
    _row(
        "cci_20",
        when(
            deviation(TYPICAL_PRICE, 20) > 0,
            (TYPICAL_PRICE - rolling_mean(TYPICAL_PRICE, 20))
            / (1.5 * mean_absolute_deviation(TYPICAL_PRICE, 20)),
        ),
        19,
        "hundreds of CCI points",
        "(TP - SMA20(TP)) / (0.015 mean absolute deviation of 20 TP) / 100, TP = (H + L + C) / 3",
        "Lambert, Commodity Channel Index (1980)",
    ),
    _row(
        "rsi_2",
        relative_strength(CLOSE, 2),
        60,
        "[0, 1]",
        "Wilder2(gains) / (Wilder2(gains) + Wilder2(losses)) of close changes",
        "Connors and Alvarez, Short Term Trading Strategies That Work (2009)",
    ),
    _row(
        "vwap_distance_20",
        when(
            rolling_max(VOLUME, 20) > 0,
            CLOSE * rolling_sum(VOLUME, 20) / rolling_sum(TYPICAL_PRICE * VOLUME, 20) - 1.0,
        ),
        19,
        "fraction",
        "close / (sum(TP volume) / sum(volume)) - 1 over 20 bars, TP = (H + L + C) / 3",
        "Berkowitz, Logue and Noser, The Total Cost of Transactions (1988)",
    ),
    _row(
        "median_distance_20",
        (CLOSE - rolling_median(CLOSE, 20)) / ATR,
        WILDER_WARM_UP_BARS,
        "ATR14",
        "(close - median of the last 20 closes) / ATR14",
        "Robust location with Wilder's range as scale",
    ),
    _row(
        "return_zscore_21",
        zscore(LOG_RETURN, 21),
        21,
        "standard deviations",
        "(log return - mean of 21) / sample deviation of 21 log returns",
        "Standard score",
    ),
    _row(
        "entry_score",
        (_OVERSOLD + _CALM + _WITH_TREND) / 3.0,
        WILDER_WARM_UP_BARS,
        "[-1, 1]",
        "mean of 1 - 2 RSI14, 1 - 2 %B20 (%B within 0 and 1) and sign(SMA50 - SMA200): 1 is a "
        "deep dip in an up trend",
        "Buying pullbacks in a trend: Connors and Alvarez (2009), with Bollinger's bands",
    ),
)
