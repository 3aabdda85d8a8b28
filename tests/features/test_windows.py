"""Window primitives of every length, against numpy and scipy on each window."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from scipy import stats

from ploutos.errors import FeatureError
from ploutos.features.evaluate import Segments, evaluate_columns
from ploutos.features.expression import column
from ploutos.features.lowering import halves, split
from ploutos.features.primitives import (
    age_of_max,
    covariance,
    deviation,
    ema,
    excess_kurtosis,
    parabolic,
    percentile,
    rolling_max,
    rolling_mean,
    rolling_median,
    rolling_min,
    rolling_sum,
    skewness,
    slope,
    trailing_stop,
)
from ploutos.features.program import Output

X, Y = column("x"), column("y")
LENGTHS = [1, 2, 3, 5, 7, 16, 17, 20, 63, 97, 126, 252]


def evaluate(expression, *bounds, **columns):
    """Return an expression's values over segments that end at the bounds, one by default."""
    rows = len(columns["x"])
    segments = Segments(np.array([0, *(bounds or (rows,))]), np.arange(rows))
    return evaluate_columns(columns, segments, [Output(expression)])[0]


def windows_of(x, n, function):
    return np.concatenate(
        [np.full(n - 1, np.nan), [function(w) for w in sliding_window_view(x, n)]]
    )


def fit_slope(window):
    return np.polyfit(np.arange(len(window)), window - window.mean(), 1)[0]


def newest_age_of_max(window):
    return np.argmax(window[::-1])


ORACLES = {
    "sum": (rolling_sum, math.fsum),
    "mean": (rolling_mean, np.mean),
    "largest": (rolling_max, np.max),
    "smallest": (rolling_min, np.min),
    "median": (rolling_median, np.median),
    "age": (age_of_max, newest_age_of_max),
    "rank": (percentile, lambda w: (stats.rankdata(w)[-1] - 0.5) / len(w)),
}
SPREADS = {
    "deviation": (deviation, lambda w: np.std(w, ddof=1)),
    "skewness": (skewness, lambda w: stats.skew(w) if np.ptp(w) else np.nan),
    "kurtosis": (excess_kurtosis, lambda w: stats.kurtosis(w) if np.ptp(w) else np.nan),
    "slope": (slope, fit_slope),
}


@pytest.fixture(scope="module")
def x():
    """Prices far from 0 that tie here and there."""
    return np.round(1000.0 + np.cumsum(np.random.default_rng(5).standard_t(4, 600)), 1)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("name", ORACLES)
def test_a_window_of_any_length_equals_numpy_on_each_window(x, name, n):
    primitive, oracle = ORACLES[name]
    received = evaluate(primitive(X, n), x=x)
    np.testing.assert_allclose(received, windows_of(x, n, oracle), rtol=1e-13)


@pytest.mark.parametrize("n", [n for n in LENGTHS if n > 2])
@pytest.mark.parametrize("name", SPREADS)
def test_a_spread_of_any_length_equals_scipy_on_each_window(x, name, n):
    primitive, oracle = SPREADS[name]
    received, expected = evaluate(primitive(X, n), x=x), windows_of(x, n, oracle)
    flat = windows_of(x, n, np.ptp) == 0.0
    if name != "slope":
        assert np.isnan(received[flat]).all()
        expected[flat] = np.nan
    np.testing.assert_allclose(received, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n", [2, 20, 63, 97])
def test_a_covariance_equals_numpy_on_each_window(x, n):
    y = np.random.default_rng(6).normal(size=len(x)).cumsum()
    pairs = zip(sliding_window_view(x, n), sliding_window_view(y, n), strict=True)
    expected = [np.cov(a, b)[0, 1] for a, b in pairs]
    received = evaluate(covariance(X, Y, n), x=x, y=y)
    np.testing.assert_allclose(received[n - 1 :], expected, rtol=1e-9, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 130), at=st.integers(0, 199), bad=st.sampled_from([np.nan, 1e300, -1e300]))
def test_one_bad_value_leaves_no_trace_outside_the_windows_that_hold_it(n, at, bad):
    x = np.random.default_rng(n).normal(size=200)
    spoilt = x.copy()
    spoilt[at] = bad
    apart = np.ones(200, bool)
    apart[at : at + n] = False
    for primitive in (rolling_sum, rolling_max, rolling_median, deviation, slope, skewness):
        before, after = (evaluate(primitive(X, n), x=one) for one in (x, spoilt))
        np.testing.assert_array_equal(after[apart], before[apart])
        assert np.isfinite(bad) or np.isnan(after[~apart]).all()


@pytest.mark.parametrize("primitive", [rolling_sum, deviation, slope, excess_kurtosis, age_of_max])
def test_a_value_has_the_same_bits_wherever_the_history_starts(x, primitive):
    whole = evaluate(primitive(X, 63), x=x)
    for first in range(1, 70):
        np.testing.assert_array_equal(
            evaluate(primitive(X, 63), x=x[first:])[62:], whole[first + 62 :]
        )


def test_segments_shorter_than_the_window_have_no_value(x):
    received = evaluate(rolling_sum(X, 20), 5, 30, 31, 600, x=x)
    assert np.isnan(received[:24]).all()
    assert np.isnan(received[30:50]).all()
    np.testing.assert_allclose(received[50], math.fsum(x[31:51]))


def test_an_exponential_mean_keeps_its_state_over_a_missing_value():
    x = np.array([np.nan, 4.0, 8.0, np.nan, np.nan, 2.0])
    received = evaluate(ema(X, 3), x=x)
    np.testing.assert_array_equal(received, [np.nan, 4.0, 6.0, np.nan, np.nan, 4.0])


def test_the_parts_of_a_window_are_adjacent_or_cover_it():
    for n_bars in range(2, 300):
        newest, oldest = split(n_bars)
        assert (newest + oldest, min(newest, oldest) > 0) == (n_bars, True)
        power, lag = halves(n_bars)
        assert power + lag == n_bars
        assert 0 < lag <= power


def test_a_parabolic_run_and_a_stop_see_only_their_own_window(x):
    high, low = x + 1.0, x - 1.0
    for expression in (
        parabolic(X, Y, 42),
        trailing_stop(X + 5.0, Y - 5.0, (X + Y) / 2.0, 42),
    ):
        whole = evaluate(expression, x=high, y=low)
        alone = evaluate(expression, x=high[300:342], y=low[300:342])
        assert np.isnan(alone[:41]).all()
        assert alone[41] == whole[341]


def test_the_logarithm_is_that_of_the_c_library_to_one_unit_in_the_last_place():
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [
            np.exp(rng.normal(0, 3, 20_000)),
            1.0 + rng.normal(0, 1e-3, 20_000),
            10.0 ** rng.uniform(-300, 300, 20_000),
            [1.0, 2.0, 0.5, np.sqrt(0.5), np.sqrt(2.0), np.finfo(float).tiny, np.finfo(float).max],
        ]
    )
    expected = np.log(x)
    error = np.abs(evaluate(X.log(), x=x) - expected)
    assert (error <= np.spacing(np.maximum(np.abs(expected), np.finfo(float).tiny))).all()


def test_a_column_that_is_not_there_is_refused_by_name():
    with pytest.raises(FeatureError, match="wolume"):
        evaluate(column("wolume"), x=np.ones(3))


@settings(max_examples=60, deadline=None)
@given(
    holes=st.lists(st.integers(0, 39), max_size=6),
    cut=st.integers(1, 40),
    span=st.sampled_from([1, 2, 3, 9, 27]),
)
def test_an_exponential_mean_is_that_of_pandas_and_no_later_value_moves_a_bit(holes, cut, span):
    x = np.random.default_rng(cut).normal(5.0, 1.0, 40)
    x[holes] = np.nan
    received = evaluate(ema(X, span), x=x)
    expected = pd.Series(x).ewm(span=span, adjust=False, ignore_na=True).mean()
    np.testing.assert_allclose(received, np.where(np.isnan(x), np.nan, expected), rtol=1e-13)
    np.testing.assert_array_equal(evaluate(ema(X, span), x=x[:cut]), received[:cut])


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 5e-324])
def test_what_has_no_finite_logarithm_is_missing(value):
    assert np.isnan(evaluate(X.log(), x=np.array([value, 1.0]))).tolist() == [True, False]
