import dataclasses

import numpy as np
import pytest
from scipy import stats

from ploutos.env.scaler import fit_scaler, scaler_arrays, scaler_from_arrays
from ploutos.errors import PolicyError
from ploutos.folds import Rows
from tests.panels import random_panel

ROWS = Rows(start=20, stop=120)


def test_center_is_the_median_and_scale_the_normalised_interquartile_range():
    panel = random_panel(features=4)
    scaler = fit_scaler(panel, ROWS, 5.0)
    values = panel.features[20:120].reshape(-1, 4).astype(np.float64)
    np.testing.assert_allclose(scaler.center, np.median(values, axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaler.scale, stats.iqr(values, axis=0) / 1.349, rtol=1e-6)


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


def test_rare_flag_is_scaled_by_its_standard_deviation():
    panel = random_panel(features=1)
    values = np.zeros_like(panel.features)
    values[25::20] = 1.0
    scaler = fit_scaler(dataclasses.replace(panel, features=values), ROWS, 5.0)
    np.testing.assert_allclose(scaler.scale[0], values[20:120].astype(np.float64).std(), rtol=1e-6)


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
