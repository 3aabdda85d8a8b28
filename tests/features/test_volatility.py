import numpy as np
import polars as pl
import pytest
import talib
from scipy.stats import rankdata

from ploutos.features import FeatureConfig, compute_features


def _deviation(m, n):
    return m.rolling(m.r, n, lambda r: r.std(ddof=1))


def _rank(m):
    return (m.rolling(_deviation(m, 21), 126, lambda w: rankdata(w)[-1]) - 0.5) / 126


def _yang_zhang(m, n=21):
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    overnight = np.log(m.o / m.lag(m.c, 1))
    up, down, drift = np.log(m.h / m.o), np.log(m.l / m.o), np.log(m.c / m.o)
    rogers_satchell = up * (up - drift) + down * (down - drift)

    def estimate(night, day, inner):
        return np.sqrt(night.var(ddof=1) + k * day.var(ddof=1) + (1 - k) * inner.mean())

    return m.rolling(overnight, n, estimate, drift, rogers_satchell)


# TA-Lib's NATR is in percent and its STDDEV of the population; volatilities here are of the sample,
# per bar and not annualised.
ORACLES = {
    **{f"volatility_{n}": lambda m, n=n: _deviation(m, n) for n in (10, 21, 63)},
    "volatility_ratio_10_63": lambda m: np.log(_deviation(m, 10) / _deviation(m, 63)),
    "volatility_rank_126": _rank,
    "volatility_regime_126": lambda m: np.where(
        _rank(m) < 1 / 3, -1.0, np.where(_rank(m) > 2 / 3, 1.0, 0.0)
    ),
    "volatility_of_volatility_63": lambda m: m.rolling(
        _deviation(m, 10), 63, lambda s: s.std(ddof=1) / s.mean()
    ),
    "atr_ratio_14": lambda m: talib.NATR(m.h, m.l, m.c, 14) / 100,
    "range_surprise_14": lambda m: m.tr / m.lag(m.atr, 1),
    "parkinson_21": lambda m: np.sqrt(
        m.rolling(np.log(m.h / m.l) ** 2, 21, np.mean) / (4 * np.log(2))
    ),
    "garman_klass_21": lambda m: np.sqrt(
        m.rolling(
            np.log(m.h / m.l) ** 2 / 2 - (2 * np.log(2) - 1) * np.log(m.c / m.o) ** 2, 21, np.mean
        )
    ),
    "yang_zhang_21": _yang_zhang,
    "downside_share_21": lambda m: m.rolling(
        m.r, 21, lambda r: (r[r < 0] ** 2).sum() / (r**2).sum()
    ),
    "squeeze_20": lambda m: 2 * talib.STDDEV(m.c, 20) / (1.5 * m.atr),
}


def test_every_volatility_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("volatility")


@pytest.mark.parametrize("name", ORACLES)
def test_volatility_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))


def test_volatility_estimators_recover_the_volatility_of_a_fine_random_walk():
    """A walk of 390 steps a bar without overnight move: every estimator targets its deviation."""
    rng = np.random.default_rng(5)
    n_bars, steps, sigma = 3000, 2000, 0.02
    path = np.cumsum(rng.normal(0, sigma / steps**0.5, n_bars * steps)).reshape(n_bars, steps)
    close = path[:, -1]
    opening = np.concatenate([[0.0], close[:-1]])
    prices = {
        "open": opening,
        "high": np.maximum(path.max(axis=1), opening),
        "low": np.minimum(path.min(axis=1), opening),
        "close": close,
    }
    bars = pl.DataFrame({name: np.exp(value) for name, value in prices.items()}).with_columns(
        symbol=pl.lit("W"),
        closed_at=(pl.int_range(pl.len()) * 86_400_000_000_000).cast(pl.Datetime("ns", "UTC")),
        volume=pl.lit(1.0),
        split_ratio=pl.lit(1.0),
        cash_dividend=pl.lit(0.0),
    )
    computed = compute_features(bars, FeatureConfig(families=("volatility",)))
    for name in ("parkinson_21", "garman_klass_21", "yang_zhang_21", "volatility_21"):
        assert computed[name].pow(2).mean() ** 0.5 == pytest.approx(sigma, rel=0.06)
