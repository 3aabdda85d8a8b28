from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import rankdata

from ploutos.errors import FeatureError
from ploutos.features import MACRO_CATALOG, FeatureConfig, compute_macro_features

CONFIG = FeatureConfig()
NAMES = [row.name for row in MACRO_CATALOG]
HOUR = 3_600_000_000_000
DAY = 24 * HOUR


def make_macro(n=330, seed=0, series=("VIX", "TNX", "DXY")):
    """Return one value a weekday, released at 22:00 UTC."""
    days = [datetime(2018, 1, 1, 22, tzinfo=UTC) + timedelta(days=day) for day in range(2 * n)]
    released_at = [day for day in days if day.weekday() < 5][:n]
    frames = []
    for index, name in enumerate(series):
        rng = np.random.default_rng([seed, index])
        value = np.round(20 * np.exp(np.cumsum(rng.normal(0, 0.03, n))), 2)
        frames.append(
            pl.DataFrame(
                {
                    "series": [name] * n,
                    "released_at": pl.Series(released_at, dtype=pl.Datetime("ns", "UTC")),
                    "value": value,
                }
            )
        )
    return pl.concat(frames).sort("series", "released_at")


@pytest.fixture(scope="module")
def macro():
    return make_macro()


def releases(macro, series="VIX"):
    own = macro.filter(series=series)
    return own["released_at"].cast(pl.Int64).to_numpy(), own["value"].to_numpy()


def rolling(x, n, function):
    windows = sliding_window_view(x, n)
    return np.concatenate([np.full(n - 1, np.nan), [function(window) for window in windows]])


def change(x, n):
    return np.concatenate([np.full(n, np.nan), np.log(x[n:] / x[:-n])])


def rank(x):
    return (rolling(x, 252, lambda w: rankdata(w)[-1]) - 0.5) / 252


def zscore(w):
    return (w[-1] - w.mean()) / w.std(ddof=1)


def regime(x):
    known = rank(x)
    return np.select([known < 1 / 3, known > 2 / 3, np.isfinite(known)], [-1, 1, 0], np.nan)


ORACLES = {
    "level": lambda x: np.log(x / rolling(x, 252, np.median)),
    "zscore_20": lambda x: rolling(x, 20, zscore),
    "zscore_60": lambda x: rolling(x, 60, zscore),
    "zscore_252": lambda x: rolling(x, 252, zscore),
    "change_1": lambda x: change(x, 1),
    "change_5": lambda x: change(x, 5),
    "change_20": lambda x: change(x, 20),
    "distance_20": lambda x: x / rolling(x, 20, np.mean) - 1,
    "distance_60": lambda x: x / rolling(x, 60, np.mean) - 1,
    "rank_252": rank,
    "volatility_20": lambda x: rolling(change(x, 1), 20, lambda w: w.std(ddof=1)),
    "regime": regime,
}


@pytest.mark.parametrize("series", ["VIX", "TNX", "DXY"])
@pytest.mark.parametrize("name", ORACLES)
def test_macro_feature_equals_its_oracle(macro, series, name):
    released_at, value = releases(macro, series)
    received = compute_macro_features(macro, released_at + HOUR, CONFIG)
    column = received[f"{series.lower()}_{name}"].to_numpy()
    np.testing.assert_allclose(column, ORACLES[name](value), rtol=1e-6, atol=1e-9)


def test_every_macro_feature_has_an_oracle():
    expected = [f"{series}_{name}" for series in ("vix", "tnx", "dxy") for name in ORACLES]
    assert sorted(NAMES) == sorted(expected)


def test_a_value_is_known_from_the_instant_of_its_release(macro):
    released_at, value = releases(macro)
    decided_at = np.array([released_at[300] - 1, released_at[300], released_at[300] + 1])
    received = compute_macro_features(macro, decided_at, CONFIG)["vix_change_1"].to_list()
    before, at = np.log(value[299] / value[298]), np.log(value[300] / value[299])
    assert received == pytest.approx([before, at, at])


def test_a_value_older_than_the_maximum_age_is_missing(macro):
    released_at, _ = releases(macro)
    limit = released_at[-1] + 7 * DAY
    received = compute_macro_features(macro, np.array([limit, limit + 1]), CONFIG)
    assert received["vix_change_1"].is_null().to_list() == [False, True]


def test_nothing_is_filled_back_before_the_first_release(macro):
    released_at, _ = releases(macro)
    received = compute_macro_features(macro, np.array([released_at[0] - 1]), CONFIG)
    assert received.null_count().row(0) == (1,) * 36


def test_a_missing_series_gives_null_columns():
    macro = make_macro(series=("TNX", "DXY"))
    released_at, _ = releases(macro, "TNX")
    received = compute_macro_features(macro, released_at, CONFIG)
    vix = [name for name in NAMES if name.startswith("vix_")]
    assert received.columns == NAMES
    assert received.schema["vix_level"] == pl.Float64
    assert received.select(vix).null_count().row(0) == (len(released_at),) * 12
    assert received["tnx_level"][-1] is not None


def test_no_macro_value_at_all_gives_null_columns():
    received = compute_macro_features(make_macro(3).clear(), np.array([0, 1]), CONFIG)
    assert received.shape == (2, 36)


def test_another_series_is_ignored(macro):
    released_at, _ = releases(macro)
    gold = make_macro(series=("GOLD",))
    with_gold = compute_macro_features(pl.concat([macro, gold]), released_at, CONFIG)
    assert with_gold.equals(compute_macro_features(macro, released_at, CONFIG))


def _shuffled(values, instants, decided):
    order = np.arange(len(values))
    later = np.flatnonzero(instants > decided)
    order[later] = later[::-1]
    return values[order]


@pytest.mark.parametrize(
    "change",
    [
        lambda values, instants, decided: np.where(instants > decided, 2 * values, values),
        lambda values, instants, decided: np.where(instants > decided, np.nan, values),
        _shuffled,
    ],
    ids=["doubled", "missing", "shuffled"],
)
def test_later_releases_leave_every_earlier_row_bit_identical(change):
    macro = make_macro(280, series=("VIX",))
    released_at, value = releases(macro)
    decided_at = released_at + HOUR
    full = compute_macro_features(macro, decided_at, CONFIG)
    for row, decided in enumerate(decided_at.tolist()):
        changed = macro.with_columns(value=change(value, released_at, decided))
        past = compute_macro_features(changed, decided_at[: row + 1], CONFIG)
        assert past.equals(full[: row + 1]), row


def test_releases_that_never_came_leave_every_earlier_row_bit_identical():
    macro = make_macro(280, series=("VIX",))
    released_at, _ = releases(macro)
    decided_at = released_at + HOUR
    full = compute_macro_features(macro, decided_at, CONFIG)
    for row in range(len(decided_at)):
        past = compute_macro_features(macro[: row + 1], decided_at[: row + 1], CONFIG)
        assert past.equals(full[: row + 1]), row


@pytest.mark.parametrize("start", [1, 7, 40])
def test_after_its_warm_up_no_macro_feature_remembers_where_the_series_starts(macro, start):
    released_at, _ = releases(macro)
    late = macro.filter(pl.int_range(pl.len()).over("series") >= start)
    full, received = (compute_macro_features(frame, released_at, CONFIG) for frame in (macro, late))
    for row in MACRO_CATALOG:
        first = start + row.warm_up_bars
        assert received[row.name][:first].null_count() == first
        np.testing.assert_allclose(received[row.name][first:], full[row.name][first:], rtol=1e-6)


def test_another_unit_of_the_series_leaves_every_macro_feature_unchanged(macro):
    released_at, _ = releases(macro)
    scaled = macro.with_columns(pl.col("value") * 3.7)
    full, received = (
        compute_macro_features(frame, released_at, CONFIG).to_numpy() for frame in (macro, scaled)
    )
    np.testing.assert_allclose(received, full, rtol=1e-9, atol=1e-12)


def test_a_value_that_is_not_positive_is_missing_with_its_windows(macro):
    number = pl.int_range(pl.len()).over("series")
    negative = macro.with_columns(
        pl.when(number == 310).then(-0.1).otherwise(pl.col("value")).alias("value")
    )
    released_at, _ = releases(macro)
    received = compute_macro_features(negative, released_at, CONFIG)["tnx_zscore_20"]
    assert received[308:312].is_null().to_list() == [False, False, True, True]
    assert received[329] is None


def test_a_constant_series_has_no_score():
    macro = make_macro(300).with_columns(value=pl.lit(2.5))
    released_at, _ = releases(macro)
    last = compute_macro_features(macro, released_at, CONFIG).row(-1, named=True)
    assert last["tnx_zscore_20"] is None
    assert last["tnx_change_5"] == 0.0
    assert last["tnx_rank_252"] == pytest.approx(0.5)


def test_two_values_at_one_instant_are_refused(macro):
    with pytest.raises(FeatureError, match="same instant"):
        compute_macro_features(pl.concat([macro, macro.tail(1)]), np.array([0]), CONFIG)


def test_a_missing_column_is_named(macro):
    with pytest.raises(FeatureError, match="released_at"):
        compute_macro_features(macro.drop("released_at"), np.array([0]), CONFIG)
