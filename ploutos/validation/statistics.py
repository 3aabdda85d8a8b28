"""How sure a figure is. In: returns per bar and a generator. Out: intervals and probabilities.

Sharpe ratios are per bar here, never annualised, unless a name says so: the formulas of the papers
hold for the frequency of the sample. The same generator state gives the same result, bit for bit.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from ploutos.errors import ValidationError
from ploutos.validation.metrics import ROUNDING, check_finite, sharpe_per_period
from ploutos.validation.rollout import FloatArray, IntArray


class Interval(NamedTuple):
    """An estimate between its one-sided lower and upper confidence bounds."""

    lower: float
    estimate: float
    upper: float


class Shape(NamedTuple):
    """What the Sharpe formulas need to know of a sample of returns."""

    n_bars: int
    sharpe: float
    """Per bar; NaN without volatility."""
    skewness: float
    """Third standardised moment; 0 for a normal sample."""
    kurtosis: float
    """Fourth standardised moment, not the excess; 3 for a normal sample."""


def shape_of(returns: FloatArray, risk_free: float = 0.0) -> Shape:
    """Return the length, Sharpe ratio, skewness and kurtosis of returns (R,) float64.

    Moments are the sample's own (divided by R). Without volatility the Sharpe ratio is NaN and the
    moments are those of a normal distribution.
    """
    ratio = sharpe_per_period(returns, risk_free)
    if math.isnan(ratio):
        return Shape(returns.size, math.nan, 0.0, 3.0)
    skewness = float(stats.skew(returns))
    kurtosis = float(stats.kurtosis(returns, fisher=False))
    return Shape(returns.size, ratio, skewness, kurtosis)


def mean_block_bars(values: FloatArray) -> float:
    """Return the mean block length, in bars, that suits the stationary bootstrap of a mean.

    At least 1; 1 for constant values or fewer than 9.
    Source: Politis and White (2004), Econometric Reviews 23 (1), with the correction of Patton,
    Politis and White (2009), Econometric Reviews 28 (4).
    """
    check_finite(values, "values")
    n = values.size
    centred = values - values.mean() if n else values
    if n < 9 or _is_constant(values):
        return 1.0
    quiet = max(5, int(math.log10(n)))
    longest_lag = math.ceil(math.sqrt(n)) + quiet
    covariances = np.array([centred[k:] @ centred[: n - k] / n for k in range(longest_lag + 1)])
    lags = _informative_lags(centred, covariances, quiet)
    k = np.arange(1, lags + 1)
    taper = np.where(k <= lags / 2, 1.0, 2.0 * (1.0 - k / lags))
    spectrum = covariances[0] + 2.0 * np.sum(taper * covariances[1 : lags + 1])
    slope = 2.0 * np.sum(taper * k * covariances[1 : lags + 1])
    if abs(spectrum) <= ROUNDING * covariances[0]:
        return 1.0
    length = (slope**2 / spectrum**2 * n) ** (1.0 / 3.0)
    return float(max(1.0, min(length, math.ceil(min(3.0 * math.sqrt(n), n / 3.0)))))


def _informative_lags(centred: FloatArray, covariances: FloatArray, quiet: int) -> int:
    """Return twice the lag after which `quiet` autocorrelations in a row are insignificant."""
    n, longest_lag = centred.size, covariances.size - 1
    threshold = 2.0 * math.sqrt(math.log10(n) / n)
    squares = np.concatenate(([0.0], np.cumsum(centred**2)))
    k = np.arange(longest_lag + 1)
    # The norms leave out one value more than the lag, as the reference implementation does.
    later, earlier = squares[n] - squares[k + 1], squares[n - k - 1]
    significant = np.abs(covariances) * n >= threshold * np.sqrt(later * earlier)
    for lag in range(quiet, longest_lag + 1):
        if not significant[lag - quiet : lag].any():
            return min(2 * max(lag - quiet, 1), longest_lag)
    return longest_lag


def stationary_bootstrap_rows(
    n_bars: int, mean_block: float, n_draws: int, rng: np.random.Generator
) -> IntArray:
    """Draw row numbers that keep the dependence between neighbouring bars.

    Blocks start anywhere, wrap around at the end, and have geometric lengths.

    Parameters
    ----------
    n_bars, n_draws : int
    mean_block : float
        Mean block length in bars, >= 1; 1 draws every row independently.
    rng : np.random.Generator

    Returns
    -------
    (n_draws, n_bars) int64
        Values in [0, n_bars).

    Notes
    -----
    Source: Politis and Romano (1994), The Stationary Bootstrap, JASA 89 (428).
    """
    if n_bars < 1 or n_draws < 1 or not mean_block >= 1.0:
        raise ValidationError(
            "expected n_bars >= 1, n_draws >= 1 and mean_block >= 1, received "
            f"{n_bars}, {n_draws} and {mean_block}."
        )
    starts = rng.integers(0, n_bars, size=(n_draws, n_bars))
    restarts = rng.random((n_draws, n_bars)) < 1.0 / mean_block
    restarts[:, 0] = True
    columns = np.arange(n_bars)
    began = np.maximum.accumulate(np.where(restarts, columns, 0), axis=1)
    return (np.take_along_axis(starts, began, axis=1) + columns - began) % n_bars


def bootstrap_mean(
    values: FloatArray, confidence: float, n_draws: int, rng: np.random.Generator
) -> Interval:
    """Return the mean of values (R,) and its percentile interval by stationary bootstrap.

    Each bound holds one-sided with probability `confidence`, so the two together hold with
    2 * confidence - 1. The block length is `mean_block_bars`. All NaN with fewer than two values.
    """
    check_finite(values, "values")
    if values.size < 2:
        return Interval(math.nan, math.nan, math.nan)
    rows = stationary_bootstrap_rows(values.size, mean_block_bars(values), n_draws, rng)
    means = values[rows].mean(axis=1)  # (n_draws, R) -> (n_draws,)
    lower, upper = np.quantile(means, [1.0 - confidence, confidence])
    return Interval(float(lower), float(values.mean()), float(upper))


def excess_growth(candidate: FloatArray, baseline: FloatArray) -> FloatArray:
    """Return log(1 + candidate) - log(1 + baseline) per bar, (R,), of two paired return series.

    Raises
    ------
    ValidationError
        If the lengths differ or a return is -1 or below.
    """
    if candidate.shape != baseline.shape:
        raise ValidationError(
            f"expected paired returns of equal length, received {candidate.size} and "
            f"{baseline.size}; roll both out over the same rows."
        )
    for name, returns in (("candidate", candidate), ("baseline", baseline)):
        check_finite(returns, f"{name} returns")
        if np.any(returns <= -1.0):
            raise ValidationError(
                f"expected {name} returns above -1, received {returns.min()}: the account is lost."
            )
    return np.log1p(candidate) - np.log1p(baseline)


def sharpe_standard_error(returns: FloatArray, risk_free: float = 0.0) -> float:
    """Return the standard error of `sharpe_per_period` under autocorrelation and fat tails.

    The delta method on mean and variance with a Newey-West long-run variance (Bartlett weights,
    floor(4 (R / 100) ** (2 / 9)) lags). For independent normal returns it tends to
    sqrt((1 + SR ** 2 / 2) / R). NaN without volatility or with fewer than two returns.
    Source: Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58 (4).
    """
    ratio = sharpe_per_period(returns, risk_free)
    if math.isnan(ratio):
        return math.nan
    scores = (returns - returns.mean()) / returns.std()
    influence = scores - 0.5 * ratio * (scores**2 - 1.0)
    n = influence.size
    lags = min(int(4.0 * (n / 100.0) ** (2.0 / 9.0)), n - 1)
    variance = influence @ influence / n
    for lag in range(1, lags + 1):
        weight = 1.0 - lag / (lags + 1.0)
        variance += 2.0 * weight * (influence[lag:] @ influence[:-lag]) / n
    return float(np.sqrt(variance / n))


def probabilistic_sharpe(sample: Shape, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio exceeds `benchmark` (per bar).

    Phi((SR - SR*) sqrt(R - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR ** 2)). NaN without volatility or
    with fewer than two returns.
    Source: Bailey and Lopez de Prado (2012), The Sharpe Ratio Efficient Frontier, Journal of Risk
    15 (2).
    """
    if sample.n_bars < 2 or math.isnan(sample.sharpe):
        return math.nan
    distance = (sample.sharpe - benchmark) * math.sqrt(sample.n_bars - 1)
    return float(stats.norm.cdf(distance / math.sqrt(_sharpe_spread(sample, sample.sharpe))))


def minimum_track_record_bars(
    sample: Shape, sharpe: float, confidence: float, benchmark: float = 0.0
) -> float:
    """Return how many bars it takes to tell a Sharpe ratio `sharpe` (per bar) from `benchmark`.

    1 + (1 - g3 SR + (g4 - 1) / 4 SR ** 2) (z / (SR - SR*)) ** 2 with the skewness and kurtosis of
    the sample. Infinite when `sharpe` does not exceed `benchmark`.
    Source: Bailey and Lopez de Prado (2012), as above.
    """
    if not sharpe > benchmark:
        return math.inf
    z = float(stats.norm.ppf(confidence))
    return 1.0 + _sharpe_spread(sample, sharpe) * (z / (sharpe - benchmark)) ** 2


def expected_maximum_sharpe(trial_variance: float, n_trials: int) -> float:
    """Return the Sharpe ratio that the best of `n_trials` without skill is expected to show.

    sqrt(V) ((1 - g) Z(1 - 1/K) + g Z(1 - 1/(K e))), g the Euler-Mascheroni constant, V the
    variance of the trials' Sharpe ratios (per bar). 0 for a single trial.
    Source: Bailey and Lopez de Prado (2014), The Deflated Sharpe Ratio, Journal of Portfolio
    Management 40 (5).
    """
    if n_trials < 1:
        raise ValidationError(
            f"expected at least 1 trial, received {n_trials}; the strategy that is judged is one."
        )
    if n_trials == 1:
        return 0.0
    quantiles = stats.norm.ppf([1.0 - 1.0 / n_trials, 1.0 - 1.0 / (n_trials * math.e)])
    factor = (1.0 - np.euler_gamma) * quantiles[0] + np.euler_gamma * quantiles[1]
    return float(math.sqrt(trial_variance) * factor)


def deflated_sharpe(sample: Shape, trial_variance: float, n_trials: int) -> float:
    """Return the probabilistic Sharpe ratio against the best of `n_trials` without skill.

    Source: Bailey and Lopez de Prado (2014), as above.
    """
    return probabilistic_sharpe(sample, expected_maximum_sharpe(trial_variance, n_trials))


def interquartile_mean(values: FloatArray) -> float:
    """Return the mean of the middle half of the values; NaN for none.

    Source: Agarwal et al. (2021), Deep Reinforcement Learning at the Edge of the Statistical
    Precipice, NeurIPS 34.
    """
    check_finite(values, "values")
    return float(stats.trim_mean(values, 0.25)) if values.size else math.nan


def _sharpe_spread(sample: Shape, sharpe: float) -> float:
    spread = 1.0 - sample.skewness * sharpe + (sample.kurtosis - 1.0) / 4.0 * sharpe**2
    # Kurtosis >= 1 + skewness ** 2 keeps this at or above zero; it is zero for a two-point sample.
    return max(spread, ROUNDING)


def _is_constant(values: FloatArray) -> bool:
    return float(np.ptp(values)) <= ROUNDING * float(np.abs(values).max())
