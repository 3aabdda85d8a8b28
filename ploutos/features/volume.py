"""Volume features. In: adjusted bars (volume in shares of the first bar). Out: catalog rows.

Null besides the warm-up: where nothing was traded in the window or a volume in it is missing, where
the window's volume or returns are constant (z-score, variation, correlation), `mfi_14` where no
typical price moved (by more than 1e-9 of the price), and `illiquidity_21_126` where no return did.
"""

from ploutos.features.bases import CLOSE, HIGH, LOG_RETURN, LOW, TIE, TYPICAL_PRICE, VOLUME
from ploutos.features.expression import Expression, when, where
from ploutos.features.feature import Feature
from ploutos.features.primitives import (
    correlation,
    deviation,
    percentile,
    position,
    ratio,
    rolling_max,
    rolling_mean,
    rolling_sum,
    zscore,
)

_FLOW = TYPICAL_PRICE * VOLUME
_NO_FLOW = 0.0 * CLOSE
_FLOW_IN = where(TYPICAL_PRICE.diff() > TIE, _FLOW, _NO_FLOW)
_FLOW_OUT = where(-TYPICAL_PRICE.diff() > TIE, _FLOW, _NO_FLOW)
_CLOSE_LOCATION = (2.0 * position(CLOSE, LOW, HIGH) - 1.0).fill_missing(0.0)


def _row(
    name: str, expression: Expression, warm_up_bars: int, unit: str, formula: str, source: str
) -> Feature:
    return Feature(name, "volume", expression, warm_up_bars, unit, formula, source)


def _traded(n_bars: int) -> Expression:
    return rolling_max(VOLUME, n_bars) > 0


def _volume_share(x: Expression, n_bars: int) -> Expression:
    """Return sum(x * volume) / sum(volume), null where the window traded nothing."""
    share = rolling_sum(x * VOLUME, n_bars) / rolling_sum(VOLUME, n_bars)
    return when(_traded(n_bars), share)


def _price_of_volume(n_bars: int) -> Expression:
    magnitude = rolling_sum(LOG_RETURN.abs(), n_bars)
    return when(_traded(n_bars), magnitude / rolling_sum(CLOSE * VOLUME, n_bars))


FEATURES: tuple[Feature, ...] = (
    _row(
        "relative_volume_20",
        when(_traded(20), VOLUME / rolling_mean(VOLUME, 20)),
        19,
        "ratio",
        "volume / SMA20(volume)",
        "Murphy, Technical Analysis of the Financial Markets (1999)",
    ),
    _row(
        "volume_zscore_20",
        zscore(VOLUME, 20),
        19,
        "standard deviations",
        "(volume - SMA20) / sample deviation of the last 20 volumes",
        "Standard score",
    ),
    _row(
        "volume_trend_10_60",
        when(_traded(60), rolling_mean(VOLUME, 10) / rolling_mean(VOLUME, 60) - 1.0),
        59,
        "fraction",
        "SMA10(volume) / SMA60(volume) - 1",
        "Volume oscillator",
    ),
    _row(
        "volume_rank_63",
        percentile(VOLUME, 63),
        62,
        "(0, 1)",
        "mid-rank of volume among its last 63 values, (rank - 0.5) / 63",
        "Empirical distribution function",
    ),
    _row(
        "volume_variation_20",
        when(_traded(20), deviation(VOLUME, 20) / rolling_mean(VOLUME, 20)),
        19,
        "fraction",
        "sample deviation / mean of the last 20 volumes",
        "Coefficient of variation",
    ),
    _row(
        "obv_20",
        _volume_share(LOG_RETURN.sign(), 20),
        20,
        "[-1, 1]",
        "sum(sign(log return) volume) / sum(volume) over 20 bars",
        "Granville, New Key to Stock Market Profits (1963), over a window",
    ),
    _row(
        "mfi_14",
        ratio(rolling_sum(_FLOW_IN, 14), rolling_sum(_FLOW_IN + _FLOW_OUT, 14)).at_most(1.0),
        14,
        "[0, 1]",
        "sum of TP volume where TP rose / sum where it rose or fell, 14 bars, TP = (H + L + C) / 3",
        "Quong and Soudack, Volume-Weighted RSI: Money Flow (1989)",
    ),
    _row(
        "cmf_20",
        _volume_share(_CLOSE_LOCATION, 20),
        19,
        "[-1, 1]",
        "sum(location volume) / sum(volume) over 20 bars, location = (2C - H - L) / (H - L), 0 "
        "where H = L",
        "Chaikin Money Flow",
    ),
    _row(
        "force_index_13",
        _volume_share(LOG_RETURN, 13),
        13,
        "log return per bar",
        "sum(log return volume) / sum(volume) over 13 bars",
        "Elder, Trading for a Living (1993), normalised by volume",
    ),
    _row(
        "volume_return_correlation_20",
        correlation(LOG_RETURN, VOLUME, 20),
        20,
        "[-1, 1]",
        "correlation of log return and volume over 20 bars",
        "Karpoff, The Relation Between Price Changes and Trading Volume (1987)",
    ),
    _row(
        "illiquidity_21_126",
        (_price_of_volume(21) / _price_of_volume(126)).log(),
        126,
        "log ratio",
        "ln(A21 / A126), An = sum |log return| / sum(close volume) over n bars",
        "Amihud, Illiquidity and Stock Returns (2002), relative to its own level",
    ),
)
