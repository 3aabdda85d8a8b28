import numpy as np
import pytest
from scipy.stats import kurtosis, skew


def _autocorrelation(m):
    return m.rolling(m.r, 63, lambda r, old: np.corrcoef(r, old)[0, 1], m.lag(m.r, 1))


def _variance_ratio(m):
    five = np.log(m.c / m.lag(m.c, 5))
    return m.rolling(five, 126, lambda f, r: f.var(ddof=1) / (5 * r.var(ddof=1)), m.r)


# scipy's skew and kurtosis are biased by default and the latter is excess, as ours.
ORACLES = {
    "skew_63": lambda m: m.rolling(m.r, 63, skew),
    "kurtosis_63": lambda m: m.rolling(m.r, 63, kurtosis),
    "autocorrelation_1_63": _autocorrelation,
    "variance_ratio_5_126": _variance_ratio,
    "hurst_126": lambda m: 0.5 + np.log(_variance_ratio(m)) / (2 * np.log(5)),
    "sharpe_63": lambda m: m.rolling(m.r, 63, lambda r: r.mean() / r.std(ddof=1)),
    "largest_move_63": lambda m: m.rolling(m.r, 63, lambda r: np.abs(r).max() / r.std(ddof=1)),
    "up_share_21": lambda m: m.rolling(m.r, 21, lambda r: (r > 0).mean()),
}


def test_every_statistics_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("statistics")


@pytest.mark.parametrize("name", ORACLES)
def test_statistics_feature_equals_its_oracle(market, name):
    with np.errstate(invalid="ignore"):
        expected = ORACLES[name](market)
    market.check(name, expected)
