"""A value is missing inside the warm-up and where its family's docstring says so, nowhere else.

Each rule is the docstring's sentence in plain numpy. A window is constant where its deviation is
below 1e-9 of its root mean square; twice that is allowed for here.
"""

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from ploutos.features import CATALOG, FeatureConfig, compute_features

PRICES = ["open", "high", "low", "close"]


def windows(x, n, function):
    """Apply `function` to every window of n values; before the first whole one the value is NaN."""
    values = function(sliding_window_view(np.asarray(x, float), n), axis=1)
    return np.concatenate([np.full(n - 1, np.nan), values])


def lag(x, n=1):
    return np.concatenate([np.full(n, np.nan), x[:-n]])


def recent(condition, n):
    """The condition held at one of the last n bars."""
    return windows(condition, n, np.max) > 0


def constant(x, n):
    size = np.sqrt(windows(np.square(x), n, np.mean))
    return windows(x, n, np.std) <= 2e-9 * size


def zero(x, n):
    """All values of the window are 0."""
    return windows(np.abs(x), n, np.max) == 0


def never(x):
    """No value so far was other than 0."""
    return np.maximum.accumulate(np.nan_to_num(np.abs(x))) == 0


class Odd:
    """One symbol's bars, and what the rules say about them."""

    def __init__(self, own, universe_return):
        self.o, self.h, self.l, self.c, self.v = (own[x].to_numpy() for x in [*PRICES, "volume"])
        self.r = np.log(self.c) - lag(np.log(self.c))
        self.r5 = np.log(self.c) - lag(np.log(self.c), 5)
        self.tp = (self.h + self.l + self.c) / 3
        self.u = universe_return
        true_range = np.fmax(self.h, lag(self.c)) - np.fmin(self.l, lag(self.c))
        self.no_atr = never(true_range)
        self.true_range = true_range
        self.no_move = never(self.r)
        self.shapeless = self.h == self.l

    def flat(self, n):
        """The window has no range."""
        return windows(self.h, n, np.max) <= windows(self.l, n, np.min)

    def idle(self, n):
        """Nothing was traded in the window, or a volume in it is not known."""
        return ~(windows(self.v, n, np.max) > 0)

    def unknown(self, n):
        return recent(np.isnan(self.v), n)


IN_ATR = (
    "plus_di_14",
    "minus_di_14",
    "supertrend_distance_42",
    "parabolic_distance_42",
    "range_atr_14",
    "keltner_position_20",
    "median_distance_20",
    "pivot_distance",
    "resistance_distance",
    "support_distance",
)
RULES = {
    **dict.fromkeys(IN_ATR, lambda m: m.no_atr),
    "trend_r2_60": lambda m: constant(np.log(m.c), 60),
    "efficiency_ratio_20": lambda m: zero(m.r, 20),
    "choppiness_14": lambda m: m.flat(14),
    "rsi_14": lambda m: m.no_move,
    "rsi_2": lambda m: m.no_move,
    "rsi_change_5": lambda m: lag(m.no_move, 5) != 0,
    "rsi_divergence_14": lambda m: recent(m.no_move, 14) | (windows(m.c, 14, np.ptp) == 0),
    "stochastic_k_14": lambda m: m.flat(14),
    "stochastic_d_14_3": lambda m: recent(m.flat(14), 3),
    "williams_r_14": lambda m: m.flat(14),
    "ultimate_oscillator_7_14_28": lambda m: zero(m.true_range, 7),
    "gain_share_21": lambda m: zero(m.r, 21),
    **{f"zscore_{n}": lambda m, n=n: constant(m.c, n) for n in (20, 60)},
    "bollinger_percent_b_20": lambda m: constant(m.c, 20),
    "bollinger_width_20": lambda m: constant(m.c, 20),
    "cci_20": lambda m: constant(m.tp, 20),
    "vwap_distance_20": lambda m: m.idle(20),
    "return_zscore_21": lambda m: constant(m.r, 21),
    "entry_score": lambda m: constant(m.c, 20) | m.no_move,
    **{f"volatility_{n}": lambda m, n=n: constant(m.r, n) for n in (10, 21, 63)},
    "volatility_ratio_10_63": lambda m: constant(m.r, 10) | constant(m.r, 63),
    "volatility_rank_126": lambda m: recent(constant(m.r, 21), 126),
    "volatility_regime_126": lambda m: recent(constant(m.r, 21), 126),
    "volatility_of_volatility_63": lambda m: recent(constant(m.r, 10), 63),
    "range_surprise_14": lambda m: lag(m.no_atr) != 0,
    "downside_share_21": lambda m: zero(m.r, 21),
    "squeeze_20": lambda m: constant(m.c, 20) | m.no_atr,
    "relative_volume_20": lambda m: m.idle(20),
    "relative_volume_20_rank": lambda m: m.idle(20),
    "volume_zscore_20": lambda m: m.unknown(20) | constant(m.v, 20),
    "volume_trend_10_60": lambda m: m.idle(60),
    "volume_rank_63": lambda m: m.unknown(63),
    "volume_variation_20": lambda m: m.idle(20) | constant(m.v, 20),
    "obv_20": lambda m: m.idle(20),
    "mfi_14": lambda m: m.unknown(14) | zero(np.nan_to_num((m.tp - lag(m.tp)) * m.v), 14),
    "cmf_20": lambda m: m.idle(20),
    "force_index_13": lambda m: m.idle(13),
    "volume_return_correlation_20": lambda m: m.unknown(20) | constant(m.r, 20) | constant(m.v, 20),
    "illiquidity_21_126": lambda m: m.unknown(126) | m.idle(21) | zero(m.r, 21),
    **dict.fromkeys(
        ["body", "upper_shadow", "lower_shadow", "close_location"], lambda m: m.shapeless
    ),
    "donchian_position_55": lambda m: m.flat(55),
    **dict.fromkeys(
        ["skew_63", "kurtosis_63", "sharpe_63", "largest_move_63"], lambda m: constant(m.r, 63)
    ),
    "autocorrelation_1_63": lambda m: constant(m.r, 63) | constant(lag(m.r), 63),
    "variance_ratio_5_126": lambda m: constant(m.r, 126) | constant(m.r5, 126),
    "hurst_126": lambda m: constant(m.r, 126) | constant(m.r5, 126),
    "volatility_21_rank": lambda m: constant(m.r, 21),
    "universe_volatility_21": lambda m: constant(m.u, 21),
    "beta_63": lambda m: constant(m.u, 63),
    "correlation_63": lambda m: constant(m.r, 63) | constant(m.u, 63),
}


def odd_market(bars, seed, flat, spike, quiet):
    """Drop bars, freeze prices, let them spike, silence and forget volumes."""
    rng = np.random.default_rng(seed)
    size = bars.height
    frozen, jump = rng.random(size) < flat, np.where(rng.random(size) < 0.01, spike, 1.0)
    # A freeze that lasts longer than any window, in one symbol.
    frozen[size // 2 + 20 :] |= flat > 0.5
    silent, forgotten = rng.random(size) < quiet, rng.random(size) < 0.002
    silent[size // 4 : size // 2] |= quiet > 0.5
    return (
        bars.with_columns(
            pl.when(pl.Series(frozen))
            .then(50.3)
            .otherwise(pl.col(name))
            .mul(pl.Series(jump))
            .alias(name)
            for name in PRICES
        )
        .with_columns(
            pl.when(pl.Series(forgotten))
            .then(None)
            .when(pl.Series(silent))
            .then(0.0)
            .otherwise(pl.col("volume"))
            .alias("volume")
        )
        .filter(pl.int_range(pl.len()) % 97 != 5)
    )


def universe_returns(bars):
    """Return the mean log return of each bar's symbols, by instant."""
    known = bars.with_columns(r=pl.col("close").log().diff().over("symbol"))
    return known.group_by("closed_at").agg(u=pl.col("r").mean())


def test_every_rule_is_about_a_feature():
    assert set(RULES) <= {row.name for row in CATALOG}


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    flat=st.floats(0, 1),
    spike=st.sampled_from([1.0, 1e3, 1e9, 1e-9]),
    quiet=st.floats(0, 1),
)
@example(seed=1, flat=0.0, spike=1.0, quiet=0.0)
@example(seed=2, flat=1.0, spike=1.0, quiet=1.0)
@example(seed=3, flat=0.9, spike=1e9, quiet=0.9)
def test_a_value_is_missing_only_where_the_docstring_says_so(bar_maker, seed, flat, spike, quiet):
    bars = odd_market(bar_maker(2, 330, seed=seed), seed, flat, spike, quiet)
    computed = compute_features(bars, FeatureConfig())
    returns = bars.join(universe_returns(bars), on="closed_at", how="left", maintain_order="left")
    for symbol in ("S0", "S1"):
        own = returns.filter(symbol=symbol)
        with np.errstate(invalid="ignore", over="ignore"):
            market = Odd(own, own["u"].to_numpy())
            rules = {name: rule(market) for name, rule in RULES.items()}
        for row in CATALOG:
            missing = computed.filter(symbol=symbol)[row.name].is_null().to_numpy()
            assert missing[: row.warm_up_bars].all(), row.name
            excused = rules.get(row.name, np.zeros(len(missing), bool))
            late = np.flatnonzero(
                missing & ~excused & (np.arange(len(missing)) >= row.warm_up_bars)
            )
            assert late.size == 0, (row.name, symbol, late[:5])


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_excuses_some_bar_of_a_dead_market(bar_maker, name):
    """A rule that never applies would be a rule about nothing."""
    bars = odd_market(bar_maker(2, 330, seed=4), 4, 1.0, 1.0, 1.0)
    column = compute_features(bars, FeatureConfig()).filter(symbol="S1")[name]
    warm_up = next(row.warm_up_bars for row in CATALOG if row.name == name)
    assert column[warm_up:].null_count() > 0
