import dataclasses
from importlib.resources import files

import numpy as np
import pytest
from scipy import stats

from ploutos.env.market import market_of
from ploutos.env.observe import market_length, observe_row
from ploutos.env.scaler import (
    clip_shares,
    fit_scaler,
    scaler_arrays,
    scaler_from_arrays,
    scaling_of,
)
from ploutos.errors import PolicyError
from ploutos.features import FeatureConfig
from ploutos.folds import FoldConfig, Rows, split
from ploutos.market.sample.source import load_sample
from ploutos.panel.build import align
from tests.panels import random_panel

ROWS = Rows(start=20, stop=120)


def with_first_feature(values):
    """Return a panel of one feature whose rows of the slice hold `values`, the same per symbol."""
    panel = random_panel(features=1)
    features = panel.features.copy()
    features[20:120] = np.asarray(values, np.float32).reshape(100, 1, 1)
    return dataclasses.replace(panel, features=features)


def test_center_is_the_median_and_scale_the_normalised_interquartile_range():
    """Evenly spread values have short tails: the interquartile range decides."""
    panel = with_first_feature(np.random.default_rng(1).permutation(100))
    scaler = fit_scaler(panel, ROWS, 5.0)
    np.testing.assert_allclose(scaler.center, 49.5, rtol=1e-6)
    np.testing.assert_allclose(scaler.scale, 49.5 / 1.349, rtol=1e-6)


def test_scale_of_a_normal_variable_is_about_its_standard_deviation():
    quantiles = stats.norm(3.0, 2.0).ppf((np.arange(100) + 0.5) / 100)
    scaler = fit_scaler(with_first_feature(quantiles), ROWS, 5.0)
    np.testing.assert_allclose((scaler.center[0], scaler.scale[0]), (3.0, 2.0), rtol=0.01)


def test_a_fat_tail_widens_the_scale():
    values = np.random.default_rng(2).standard_t(2, 100)
    panel = with_first_feature(values)
    pooled = np.repeat(values.astype(np.float32).astype(float), 2)  # two symbols
    low, high = np.quantile(pooled, [0.005, 0.995]) - np.median(pooled)
    assert max(-low, high) / 2.576 > stats.iqr(pooled) / 1.349
    scaler = fit_scaler(panel, ROWS, 5.0)
    np.testing.assert_allclose(scaler.scale[0], max(-low, high) / 2.576, rtol=1e-6)


def test_one_absurd_value_does_not_set_the_scale():
    panel = random_panel(bars=600, features=1)
    spoiled = panel.features.copy()
    spoiled[100, 0, 0] = 1e9
    rows = Rows(start=20, stop=600)
    kept, moved = (
        fit_scaler(dataclasses.replace(panel, features=values), rows, 5.0).scale[0]
        for values in (panel.features, spoiled)
    )
    assert moved == pytest.approx(kept, rel=0.1)


def test_rows_outside_the_training_slice_do_not_move_the_scaler():
    panel = random_panel()
    later = panel.features.copy()
    later[120:] *= 1000
    other = dataclasses.replace(panel, features=later)
    for one, two in zip(fit_scaler(panel, ROWS, 5.0), fit_scaler(other, ROWS, 5.0), strict=True):
        np.testing.assert_array_equal(one, two)


def test_missing_values_are_left_out_and_a_column_without_values_scales_by_one():
    panel = random_panel(features=2)
    values = panel.features.copy()
    values[::3, :, 0] = np.nan
    values[:, :, 1] = np.nan
    scaler = fit_scaler(dataclasses.replace(panel, features=values), ROWS, 5.0)
    known = values[20:120, :, 0]
    np.testing.assert_allclose(scaler.center[0], np.nanmedian(known.astype(np.float64)), rtol=1e-6)
    assert (scaler.center[1], scaler.scale[1]) == (0.0, 1.0)


@pytest.mark.parametrize("height", [1.0, -1.0, 0.25])
def test_rare_flag_reads_one(height):
    panel = random_panel(features=1)
    values = np.zeros_like(panel.features)
    values[25::20] = height
    scaler = fit_scaler(dataclasses.replace(panel, features=values), ROWS, 5.0)
    assert (scaler.center[0], scaler.scale[0]) == (0.0, abs(height))


def test_a_constant_feature_is_only_centered():
    scaler = fit_scaler(with_first_feature(np.full(100, 7.0)), ROWS, 5.0)
    assert (scaler.center[0], scaler.scale[0]) == (7.0, 1.0)


def test_clip_shares_count_what_the_observation_shows_at_the_clip():
    panel = random_panel(features=3, macro=2)
    holed = panel.features.copy()
    holed[30:50, 1, 0] = np.nan
    holed[:, :, 2] = np.nan
    panel = dataclasses.replace(panel, features=holed)
    scaler = fit_scaler(panel, ROWS, 1.5)
    shares = clip_shares(panel, ROWS, scaler)
    market, length = market_of(panel), market_length(panel)
    scaling = scaling_of(scaler, 2)
    seen = np.empty((len(ROWS), length), np.float32)
    for row in range(len(ROWS)):
        observe_row(market, scaling, (ROWS.start + row, 0), seen[row])
    features = seen[:, :6].reshape(-1, 3)  # (T, N*F) -> (T*N, F)
    known = np.isfinite(panel.features[20:120]).sum(axis=(0, 1))
    np.testing.assert_allclose(shares[:2], (np.abs(features) == 1.5).sum(axis=0)[:2] / known[:2])
    np.testing.assert_allclose(shares[3:], (np.abs(seen[:, 6:8]) == 1.5).mean(axis=0))
    assert 0 < shares[0] < 0.5
    assert np.isnan(shares[2])


@pytest.mark.parametrize(
    ("name", "folds"), [("tech-2004", FoldConfig()), ("macro-2014", FoldConfig(test_bars=60))]
)
def test_less_than_one_percent_of_each_feature_is_clipped_on_the_samples(name, folds):
    """In every fold, on the rows that the scaler was fitted on and on those it never saw."""
    sample = files("ploutos.market.sample").joinpath(name)
    panel = align(load_sample(name, sample), FeatureConfig())
    names = (*panel.meta.feature_names, *panel.meta.macro_names)
    for fold in split(panel.meta.first_row, panel.n_rows, folds):
        scaler = fit_scaler(panel, fold.train, 5.0)
        for rows in (fold.train, fold.test):
            shares = clip_shares(panel, rows, scaler)
            clipped = {
                one: share for one, share in zip(names, shares, strict=True) if share >= 0.01
            }
            assert clipped == {}, (fold.index, rows)


def test_arrays_of_a_scaler_give_it_back():
    scaler = fit_scaler(random_panel(), ROWS, 3.0)
    for one, two in zip(scaler, scaler_from_arrays(scaler_arrays(scaler)), strict=True):
        np.testing.assert_array_equal(one, two)


def test_scaler_with_a_number_missing_or_not_finite_is_refused():
    arrays = scaler_arrays(fit_scaler(random_panel(), ROWS, 3.0))
    arrays["scaler.scale"] = np.array([np.nan, 1, 1], np.float32)
    with pytest.raises(PolicyError, match=r"scaler\.scale"):
        scaler_from_arrays(arrays)


def test_rows_outside_the_panel_are_refused():
    with pytest.raises(PolicyError, match="inside"):
        fit_scaler(random_panel(), Rows(start=100, stop=900), 5.0)
