"""Rolling and recursive primitives, one implementation each. In: expressions. Out: expressions.

None holds an `.over`: the engine puts exactly one around each feature. A window of n bars is null
until n values are there. A quotient whose denominator vanishes is null, never infinite: the
guards look at the window's exact minimum and maximum, because a rolling sum that has seen large
values may keep a residue where the exact answer is zero.
"""

from collections.abc import Sequence

import polars as pl

RELATIVE_TINY = 1e-9


def rolling_mean(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return the mean of the last `n_bars` values."""
    return x.rolling_mean(n_bars)


def rolling_sum(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return the sum of the last `n_bars` values."""
    return x.rolling_sum(n_bars)


def ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """Return numerator / denominator, null where the denominator is not positive."""
    return pl.when(denominator > 0.0).then(numerator / denominator)


def log_change(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return ln(x_t / x_{t-n})."""
    return (x / x.shift(n_bars)).log()


def varies(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Tell whether the window's range exceeds 1e-9 of its largest magnitude."""
    highest, lowest = x.rolling_max(n_bars), x.rolling_min(n_bars)
    return highest - lowest > RELATIVE_TINY * pl.max_horizontal(highest.abs(), lowest.abs())


def deviation(x: pl.Expr, n_bars: int, ddof: int = 1) -> pl.Expr:
    """Return the standard deviation of the window, null where the window is constant."""
    return pl.when(varies(x, n_bars)).then(x.rolling_std(n_bars, ddof=ddof))


def zscore(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return (x - mean) / sample deviation of the window, null where the window is constant."""
    return (x - x.rolling_mean(n_bars)) / deviation(x, n_bars)


def position(x: pl.Expr, lowest: pl.Expr, highest: pl.Expr) -> pl.Expr:
    """Return (x - lowest) / (highest - lowest), null where the range is zero."""
    return ratio(x - lowest, highest - lowest)


def percentile(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return the mid-rank of x in its window, (average rank - 0.5) / n, in (0, 1)."""
    return (x.rolling_rank(n_bars, method="average") - 0.5) / n_bars


def ema(x: pl.Expr, span_bars: int) -> pl.Expr:
    """Return the exponential mean with alpha = 2 / (span + 1), started on the first value."""
    return x.ewm_mean(span=span_bars, adjust=False)


def wilder(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return Wilder's smoothing, the exponential mean with alpha = 1 / n.

    It starts on the first value, where TA-Lib starts on a mean of n; 252 bars later neither start
    is left in the value.
    """
    return x.ewm_mean(alpha=1.0 / n_bars, adjust=False)


def relative_strength(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return Wilder's RSI as a fraction in [0, 1], null where nothing ever moved."""
    change = x.diff()
    gain = wilder(change.clip(lower_bound=0.0), n_bars)
    loss = wilder((-change).clip(lower_bound=0.0), n_bars)
    return ratio(gain, gain + loss)


def slope(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return the least-squares slope of x on time over the window, per bar."""
    centre = (n_bars - 1) / 2
    weights = [index - centre for index in range(n_bars)]
    return weighted_sum(x, weights) / sum(weight * weight for weight in weights)


def weighted_sum(x: pl.Expr, weights: Sequence[float]) -> pl.Expr:
    """Return sum(weights[i] * x[t - n + 1 + i]), the last weight on the newest value."""
    return x.rolling_sum(len(weights), weights=list(weights))


def mean_absolute_deviation(x: pl.Expr, n_bars: int) -> pl.Expr:
    """Return the mean of |x - window mean| over the window."""
    mean = x.rolling_mean(n_bars)
    return pl.sum_horizontal((x.shift(lag) - mean).abs() for lag in range(n_bars)) / n_bars


def covariance(x: pl.Expr, y: pl.Expr, n_bars: int) -> pl.Expr:
    """Return the sample covariance of x and y over the window."""
    product = (x * y).rolling_mean(n_bars) - x.rolling_mean(n_bars) * y.rolling_mean(n_bars)
    return product * (n_bars / (n_bars - 1))


def correlation(x: pl.Expr, y: pl.Expr, n_bars: int) -> pl.Expr:
    """Return the correlation of x and y in [-1, 1], null where either is constant."""
    scale = deviation(x, n_bars) * deviation(y, n_bars)
    return (covariance(x, y, n_bars) / scale).clip(-1.0, 1.0)


def flag(condition: pl.Expr) -> pl.Expr:
    """Return 1.0 where the condition holds, 0.0 where not, null where it is unknown."""
    return condition.cast(pl.Float64)


def terciles(percentile_rank: pl.Expr) -> pl.Expr:
    """Return -1 in the lower third of (0, 1), +1 in the upper third, 0 between."""
    return flag(percentile_rank > 2 / 3) - flag(percentile_rank < 1 / 3)
