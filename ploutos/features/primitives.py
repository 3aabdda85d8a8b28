"""Rolling and recursive primitives, one implementation each. In: expressions. Out: expressions.

A window of n bars is missing until n values are there, and while one of them is missing. A
quotient whose denominator vanishes is missing, never infinite. The kernels behind the names are
in `ploutos.features.kernels`; all of them are compiled once and shared by every catalog row.
"""

from ploutos.features.expression import Expression, window


def rolling_mean(x: Expression, n_bars: int) -> Expression:
    """Return the mean of the last `n_bars` values."""
    return window("window_sum", n_bars, x, number=1.0 / n_bars)


def rolling_sum(x: Expression, n_bars: int) -> Expression:
    """Return the sum of the last `n_bars` values."""
    return window("window_sum", n_bars, x, number=1.0)


def rolling_max(x: Expression, n_bars: int) -> Expression:
    """Return the largest of the last `n_bars` values."""
    return window("window_maximum", n_bars, x)


def rolling_min(x: Expression, n_bars: int) -> Expression:
    """Return the smallest of the last `n_bars` values."""
    return window("window_minimum", n_bars, x)


def rolling_median(x: Expression, n_bars: int) -> Expression:
    """Return the median of the last `n_bars` values."""
    return window("window_median", n_bars, x)


def age_of_max(x: Expression, n_bars: int) -> Expression:
    """Return how many bars ago the largest of the window was, the newest of several equal."""
    return window("window_age", n_bars, x)


def ratio(numerator: Expression, denominator: Expression) -> Expression:
    """Return numerator / denominator, missing where the denominator is not positive."""
    return Expression("ratio", (numerator, denominator))


def deviation(x: Expression, n_bars: int, ddof: int = 1) -> Expression:
    """Return the standard deviation of the window, missing where the window is constant.

    Constant means a deviation below 1e-9 of the window's root mean square.
    """
    return window("window_deviation", n_bars, x, number=float(ddof))


def zscore(x: Expression, n_bars: int) -> Expression:
    """Return (x - mean) / sample deviation of the window, missing where it is constant."""
    return (x - rolling_mean(x, n_bars)) / deviation(x, n_bars)


def skewness(x: Expression, n_bars: int) -> Expression:
    """Return third central moment / population deviation^3, missing where constant."""
    return window("window_moment", n_bars, x, number=3.0)


def excess_kurtosis(x: Expression, n_bars: int) -> Expression:
    """Return fourth central moment / population variance^2 - 3, missing where constant."""
    return window("window_moment", n_bars, x, number=4.0)


def position(x: Expression, lowest: Expression, highest: Expression) -> Expression:
    """Return (x - lowest) / (highest - lowest), missing where the range is zero."""
    return ratio(x - lowest, highest - lowest)


def percentile(x: Expression, n_bars: int) -> Expression:
    """Return the mid-rank of x in its window, (average rank - 0.5) / n, in (0, 1)."""
    return window("window_rank", n_bars, x)


def ema(x: Expression, span_bars: int) -> Expression:
    """Return the exponential mean with alpha = 2 / (span + 1), started on the first value."""
    return Expression("exponential", (x,), number=2.0 / (span_bars + 1.0))


def wilder(x: Expression, n_bars: int) -> Expression:
    """Return Wilder's smoothing, the exponential mean with alpha = 1 / n.

    It starts on the first value, where TA-Lib starts on a mean of n; 252 bars later neither start
    is left in the value.
    """
    return Expression("exponential", (x,), number=1.0 / n_bars)


def running_product(x: Expression) -> Expression:
    """Return the product of all values so far: a level, which no feature may depend on."""
    return Expression("product", (x,))


def relative_strength(x: Expression, n_bars: int) -> Expression:
    """Return Wilder's RSI as a fraction in [0, 1], missing where nothing ever moved."""
    change = x.diff()
    gain = wilder(change.at_least(0.0), n_bars)
    loss = wilder((-change).at_least(0.0), n_bars)
    return ratio(gain, gain + loss)


def slope(x: Expression, n_bars: int) -> Expression:
    """Return the least-squares slope of x on time over the window, per bar."""
    return window("window_slope", n_bars, x)


def mean_absolute_deviation(x: Expression, n_bars: int) -> Expression:
    """Return the mean of |x - window mean| over the window."""
    return window("window_spread", n_bars, x, rolling_mean(x, n_bars))


def covariance(x: Expression, y: Expression, n_bars: int) -> Expression:
    """Return the sample covariance of x and y over the window."""
    return window("window_covariance", n_bars, x, y)


def correlation(x: Expression, y: Expression, n_bars: int) -> Expression:
    """Return the correlation of x and y in [-1, 1], missing where either is constant."""
    scale = deviation(x, n_bars) * deviation(y, n_bars)
    return (covariance(x, y, n_bars) / scale).at_least(-1.0).at_most(1.0)


def efficiency(x: Expression, n_bars: int) -> Expression:
    """Return |x_t - x_{t-n}| / sum of the last n |changes|, missing where nothing moved."""
    return ratio(x.diff(n_bars).abs(), rolling_sum(x.diff().abs(), n_bars)).at_most(1.0)


def adaptive_mean(x: Expression, weight: Expression, n_bars: int) -> Expression:
    """Return y of y += weight_t (x_t - y), started on the oldest of the last `n_bars` values."""
    return window("trailing_average", n_bars, x, weight)


def trailing_stop(
    upper: Expression, lower: Expression, close: Expression, n_bars: int
) -> Expression:
    """Return the Supertrend line of bands in a run over the last `n_bars` bars."""
    return window("trailing_stop", n_bars, upper, lower, close)


def parabolic(high: Expression, low: Expression, n_bars: int) -> Expression:
    """Return Wilder's parabolic stop (0.02, 0.2) of a run over the last `n_bars` bars."""
    return window("trailing_parabolic", n_bars, high, low)


def universe_mean(x: Expression) -> Expression:
    """Return the mean of x over the symbols that have this bar and a value."""
    return Expression("universe_mean", (x,))


def universe_rank(x: Expression) -> Expression:
    """Return (average rank of x among the symbols of the bar - 0.5) / their number, in (0, 1)."""
    return Expression("universe_rank", (x,))


def terciles(percentile_rank: Expression) -> Expression:
    """Return -1 in the lower third of (0, 1), +1 in the upper third, 0 between."""
    return (percentile_rank > 2 / 3) - (percentile_rank < 1 / 3)
