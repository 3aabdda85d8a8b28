import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from ploutos.features import FeatureConfig, compute_features


def _rank(m, name):
    values = m.features[name].to_numpy().reshape(-1, len(m.c))
    ranks = np.full(values.shape, np.nan)
    known = np.isfinite(values).all(axis=0)
    ranks[:, known] = (rankdata(values[:, known], axis=0) - 0.5) / len(values)
    return ranks[0]


def _beta(m):
    def beta(r, u):
        return np.cov(r, u)[0, 1] / u.var(ddof=1)

    return m.rolling(m.r, 63, beta, m.universe_return())


# scipy ranks from 1; ours is the mid-rank in (0, 1). The universe holds the symbol itself.
ORACLES = {
    **{
        f"{name}_rank": lambda m, name=name: _rank(m, name)
        for name in ("momentum_21", "momentum_252_21", "volatility_21", "relative_volume_20")
    },
    "relative_return": lambda m: m.r - m.universe_return(),
    "relative_strength_21": lambda m: m.rolling(m.r - m.universe_return(), 21, np.sum),
    "universe_momentum_21": lambda m: m.rolling(m.universe_return(), 21, np.sum),
    "universe_volatility_21": lambda m: m.rolling(m.universe_return(), 21, lambda u: u.std(ddof=1)),
    "beta_63": _beta,
    "correlation_63": lambda m: m.rolling(
        m.r, 63, lambda r, u: np.corrcoef(r, u)[0, 1], m.universe_return()
    ),
}


def test_every_cross_section_feature_has_an_oracle(names_of):
    assert set(ORACLES) == names_of("cross_section")


@pytest.mark.parametrize("name", ORACLES)
def test_cross_section_feature_equals_its_oracle(market, name):
    market.check(name, ORACLES[name](market))


def test_symbols_are_compared_by_date_and_not_by_position(market):
    """S2 starts 100 bars late; on a date of all three, its universe return is that date's."""
    late = market.bars.filter(
        (pl.col("symbol") != "S2") | (pl.int_range(pl.len()) >= 2 * 640 + 100)
    )
    computed = compute_features(late, FeatureConfig(families=("cross_section",)))
    received = computed.filter(symbol="S2")["relative_return"].to_numpy()
    closes = market.bars["close"].to_numpy().reshape(3, -1)
    returns = np.diff(np.log(closes), axis=1)[:, 100:]
    np.testing.assert_allclose(received[1:], returns[2] - returns.mean(axis=0), atol=1e-12)


def test_a_symbol_alone_ranks_in_the_middle_and_equals_its_universe(market):
    alone = market.bars.filter(symbol="S0")
    computed = compute_features(alone, FeatureConfig(families=("cross_section",)))
    assert computed["momentum_21_rank"].drop_nulls().unique().to_list() == [0.5]
    assert computed["relative_return"].drop_nulls().unique().to_list() == [0.0]
    np.testing.assert_allclose(computed["beta_63"].drop_nulls().to_numpy(), 1.0, rtol=1e-9)
