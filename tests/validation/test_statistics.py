import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from scipy import stats
from statsmodels.stats.sandwich_covariance import S_hac_simple

from ploutos.errors import ValidationError
from ploutos.validation import statistics
from ploutos.validation.statistics import Shape


def autoregressive(n, phi, seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=n + 100)
    values = np.zeros(n + 100)
    for i in range(1, n + 100):
        values[i] = phi * values[i - 1] + noise[i]
    return values[100:]


@pytest.mark.parametrize("phi", [0.0, 0.3, -0.3, 0.8])
@pytest.mark.parametrize("n", [20, 100, 500, 2000])
def test_block_length_equals_arch(n, phi):
    values = autoregressive(n, phi, seed=n)
    expected = max(1.0, float(optimal_block_length(values)["stationary"].iloc[0]))
    assert statistics.mean_block_bars(values) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("values", [np.zeros(300), np.full(300, 0.01), np.arange(8.0)])
def test_block_length_is_one_for_constant_or_few_values(values):
    assert statistics.mean_block_bars(values) == 1.0


@pytest.mark.parametrize("mean_block", [1.0, 4.0, 25.0])
def test_bootstrap_variance_equals_the_closed_form(mean_block):
    # Politis and Romano (1994), lemma 1: variance of the resampled mean, given the sample.
    values = autoregressive(200, 0.5, seed=3)
    n, centred, p = values.size, values - values.mean(), 1.0 / mean_block
    circular = np.array([centred @ np.roll(centred, -lag) / n for lag in range(n)])
    lags = np.arange(1, n)
    exact = (circular[0] + 2.0 * np.sum((1 - lags / n) * (1 - p) ** lags * circular[1:])) / n
    rows = statistics.stationary_bootstrap_rows(n, mean_block, 10_000, np.random.default_rng(1))
    assert values[rows].mean(axis=1).var() == pytest.approx(exact, rel=0.04)


def test_bootstrap_distribution_equals_that_of_arch():
    values = autoregressive(300, 0.4, seed=5)
    mean_block = 8.0
    rows = statistics.stationary_bootstrap_rows(300, mean_block, 3000, np.random.default_rng(2))
    ours = values[rows].mean(axis=1)
    reference = StationaryBootstrap(mean_block, values, seed=np.random.default_rng(3))
    theirs = reference.apply(np.mean, 3000).ravel()
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01


def test_blocks_wrap_around_and_have_the_mean_length_asked_for():
    rows = statistics.stationary_bootstrap_rows(50, 10.0, 4000, np.random.default_rng(0))
    follows = np.diff(rows, axis=1) % 50 == 1
    # A new block starts by chance where the old one would have gone on, once in 50.
    assert follows.mean() == pytest.approx(0.9 + 0.1 / 50, abs=0.005)
    assert rows.min() == 0
    assert rows.max() == 49
    np.testing.assert_allclose(np.bincount(rows.ravel()) / rows.size, 0.02, rtol=0.15)


def test_the_same_seed_draws_the_same_rows():
    first, second = (
        statistics.stationary_bootstrap_rows(30, 5.0, 10, np.random.default_rng(7))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("arguments", [(0, 5.0, 10), (10, 0.5, 10), (10, 5.0, 0)])
def test_impossible_draws_are_refused(arguments):
    with pytest.raises(ValidationError, match="expected n_bars >= 1"):
        statistics.stationary_bootstrap_rows(*arguments, np.random.default_rng(0))


def test_interval_of_independent_values_is_that_of_the_normal_mean():
    values = np.random.default_rng(4).normal(0.3, 2.0, 1500)
    found = statistics.bootstrap_mean(values, 0.95, 2000, np.random.default_rng(0))
    reach = 1.6449 * values.std() / np.sqrt(values.size)
    assert found.estimate == pytest.approx(values.mean())
    assert found.lower == pytest.approx(values.mean() - reach, abs=0.12 * reach)
    assert found.upper == pytest.approx(values.mean() + reach, abs=0.12 * reach)


def test_interval_is_wider_for_values_that_depend_on_their_neighbours():
    values = autoregressive(1500, 0.7, seed=9)
    shuffled = np.random.default_rng(0).permutation(values)
    dependent, independent = (
        statistics.bootstrap_mean(each, 0.95, 500, np.random.default_rng(0))
        for each in (values, shuffled)
    )
    # The long-run deviation of this process is (1 + phi) / sqrt(1 - phi ** 2) = 2.4 times larger.
    ratio = (dependent.upper - dependent.lower) / (independent.upper - independent.lower)
    assert 1.7 < ratio < 3.1


def test_lower_bound_holds_about_as_often_as_promised():
    missed = 0
    for seed in range(300):
        values = np.random.default_rng(seed).normal(0.0, 1.0, 200)
        found = statistics.bootstrap_mean(values, 0.95, 300, np.random.default_rng(seed))
        missed += found.lower > 0.0
    # 5 % of 300 is 15; the band is about three standard deviations of a binomial count.
    assert 4 <= missed <= 28


def test_interval_of_constant_values_is_a_point():
    found = statistics.bootstrap_mean(np.zeros(100), 0.95, 200, np.random.default_rng(0))
    assert tuple(found) == (0.0, 0.0, 0.0)


def test_interval_of_one_value_is_undefined():
    found = statistics.bootstrap_mean(np.ones(1), 0.95, 200, np.random.default_rng(0))
    assert np.isnan(found).all()


def test_excess_growth_adds_up_to_the_ratio_of_the_two_accounts():
    candidate, baseline = np.array([0.1, -0.5, 0.2]), np.array([0.05, 0.1, -0.1])
    excess = statistics.excess_growth(candidate, baseline)
    expected = (1.1 * 0.5 * 1.2) / (1.05 * 1.1 * 0.9)
    assert np.exp(excess.sum()) == pytest.approx(expected)


def test_unpaired_returns_are_refused():
    with pytest.raises(ValidationError, match="equal length, received 3 and 2"):
        statistics.excess_growth(np.zeros(3), np.zeros(2))


def test_the_growth_of_a_lost_account_is_refused():
    with pytest.raises(ValidationError, match="the account is lost"):
        statistics.excess_growth(np.array([0.0, -1.0]), np.zeros(2))


@pytest.mark.parametrize(("phi", "seed"), [(0.0, 1), (0.4, 2), (-0.3, 3)])
def test_sharpe_error_equals_the_moment_form_of_lo(phi, seed):
    # The same statistic reached another way: moments E[r], E[r ** 2], their long-run covariance by
    # statsmodels, and the gradient of m1 / sqrt(m2 - m1 ** 2).
    returns = 0.0006 + 0.01 * autoregressive(800, phi, seed)
    lags = int(4.0 * (800 / 100.0) ** (2.0 / 9.0))
    moments = np.column_stack([returns, returns**2])
    m1, m2 = moments.mean(axis=0)
    long_run = S_hac_simple(moments - (m1, m2), nlags=lags) / 800
    sigma = np.sqrt(m2 - m1**2)
    gradient = np.array([m2 / sigma**3, -0.5 * m1 / sigma**3])
    expected = np.sqrt(gradient @ long_run @ gradient / 800)
    assert statistics.sharpe_standard_error(returns) == pytest.approx(expected, rel=2e-3)


def test_sharpe_error_of_independent_normal_returns_is_the_published_one():
    # Lo (2002), equation 9: sqrt((1 + SR ** 2 / 2) / T).
    returns = np.random.default_rng(8).normal(0.5, 1.0, 50_000)
    ratio = returns.mean() / returns.std()
    expected = np.sqrt((1 + ratio**2 / 2) / 50_000)
    assert statistics.sharpe_standard_error(returns) == pytest.approx(expected, rel=0.03)


def test_sharpe_error_matches_the_spread_of_many_dependent_samples():
    samples = [0.05 + autoregressive(600, 0.3, seed) for seed in range(300)]
    ratios = [sample.mean() / sample.std(ddof=1) for sample in samples]
    errors = [statistics.sharpe_standard_error(sample) for sample in samples]
    assert np.median(errors) == pytest.approx(np.std(ratios), rel=0.15)


# Bailey and Lopez de Prado (2012): 24 monthly returns, mean 0.036, deviation 0.079.
HEDGE_FUND = Shape(n_bars=24, sharpe=0.458, skewness=-2.448, kurtosis=10.164)
# Bailey and Lopez de Prado (2014), numerical example: five years of 250 days, annual Sharpe 2.5,
# 100 trials whose annual Sharpe ratios have variance 1/2.
BEST_TRIAL = Shape(n_bars=1250, sharpe=2.5 / 250**0.5, skewness=-3.0, kurtosis=10.0)


def test_probabilistic_sharpe_equals_the_published_example():
    assert statistics.probabilistic_sharpe(HEDGE_FUND) == pytest.approx(0.913, abs=5e-4)
    normal = HEDGE_FUND._replace(skewness=0.0, kurtosis=3.0)
    assert statistics.probabilistic_sharpe(normal) == pytest.approx(0.982, abs=5e-4)


def test_expected_maximum_sharpe_equals_the_published_example():
    found = statistics.expected_maximum_sharpe(0.5 / 250, 100)
    assert found == pytest.approx(0.1132, abs=5e-5)


@pytest.mark.parametrize(("n_trials", "published"), [(100, 0.9004), (46, 0.9505)])
def test_deflated_sharpe_equals_the_published_example(n_trials, published):
    found = statistics.deflated_sharpe(BEST_TRIAL, 0.5 / 250, n_trials)
    assert found == pytest.approx(published, abs=1e-4)


def test_deflated_sharpe_of_normal_returns_equals_the_published_break_even():
    # The same paper: with normal returns, 88 trials would have given the confidence of 0.95.
    normal = BEST_TRIAL._replace(skewness=0.0, kurtosis=3.0)
    assert statistics.deflated_sharpe(normal, 0.5 / 250, 88) == pytest.approx(0.9505, abs=5e-4)


@pytest.mark.parametrize(("periods", "published_years"), [(250, 2.73), (52, 2.83), (12, 3.24)])
def test_minimum_track_record_equals_the_published_example(periods, published_years):
    # Bailey and Lopez de Prado (2012): an annual Sharpe ratio of 2 against 1, normal returns.
    normal = Shape(n_bars=0, sharpe=np.nan, skewness=0.0, kurtosis=3.0)
    root = periods**0.5
    bars = statistics.minimum_track_record_bars(normal, 2 / root, 0.95, benchmark=1 / root)
    assert bars / periods == pytest.approx(published_years, abs=0.006)


def test_no_track_record_is_long_enough_for_a_ratio_that_is_not_above_the_benchmark():
    assert statistics.minimum_track_record_bars(HEDGE_FUND, 0.0, 0.95) == np.inf


def test_a_track_record_of_the_minimum_length_has_the_asked_confidence():
    bars = statistics.minimum_track_record_bars(HEDGE_FUND, HEDGE_FUND.sharpe, 0.95)
    sample = HEDGE_FUND._replace(n_bars=bars)
    assert statistics.probabilistic_sharpe(sample) == pytest.approx(0.95, abs=1e-9)


def test_expected_maximum_sharpe_is_near_the_mean_of_simulated_maxima():
    draws = np.random.default_rng(0).normal(0.0, 0.3, (20_000, 50))
    found = statistics.expected_maximum_sharpe(0.09, 50)
    assert found == pytest.approx(draws.max(axis=1).mean(), rel=0.02)


def test_a_single_trial_is_not_deflated_and_none_is_refused():
    assert statistics.expected_maximum_sharpe(0.1, 1) == 0.0
    with pytest.raises(ValidationError, match="at least 1 trial, received 0"):
        statistics.expected_maximum_sharpe(0.1, 0)


def test_shape_of_a_sample_equals_scipy():
    returns = stats.skewnorm.rvs(5, loc=0.01, size=400, random_state=2)
    found = statistics.shape_of(returns)
    centred = returns - returns.mean()
    spread = np.mean(centred**2)
    assert found.skewness == pytest.approx(np.mean(centred**3) / spread**1.5)
    assert found.kurtosis == pytest.approx(np.mean(centred**4) / spread**2)
    assert found.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))


def test_without_volatility_nothing_is_probable():
    found = statistics.shape_of(np.zeros(100))
    assert np.isnan(found.sharpe)
    assert np.isnan(statistics.probabilistic_sharpe(found))
    assert np.isnan(statistics.sharpe_standard_error(np.zeros(100)))


def test_a_two_point_sample_has_a_finite_probability():
    # Kurtosis 1 + skewness ** 2 makes the spread of the ratio zero at SR = 2 / skewness.
    sample = Shape(n_bars=50, sharpe=1.0, skewness=2.0, kurtosis=5.0)
    assert statistics.probabilistic_sharpe(sample) == pytest.approx(1.0)


def test_interquartile_mean_leaves_out_the_outer_quarters():
    values = np.array([100.0, 4.0, 3.0, 5.0, 6.0, 1.0, 2.0, 7.0])
    assert statistics.interquartile_mean(values) == pytest.approx((3 + 4 + 5 + 6) / 4)
    assert np.isnan(statistics.interquartile_mean(np.array([])))
