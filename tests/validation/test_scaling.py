import dataclasses

import numpy as np
import pytest

from ploutos.env.scaler import fit_scaler
from ploutos.folds import FoldConfig, split
from ploutos.validation.scaling import most_clipped, scaling_rows
from tests.panels import random_panel

FOLDS = split(10, 200, FoldConfig(n_folds=2, test_bars=30, validation_bars=20, min_train_bars=60))


@pytest.fixture(scope="module")
def rows():
    """Two symbols; f0 goes wild in the second test range, f1 never does, f2 is unknown."""
    panel = random_panel(features=3, macro=1)
    values = panel.features.copy()
    values[FOLDS[1].test.start : FOLDS[1].test.start + 3, 0, 0] = [50.0, -50.0, np.nan]
    values[:, :, 2] = np.nan
    panel = dataclasses.replace(panel, features=values)
    scalers = {fold.index: fit_scaler(panel, fold.train, 5.0) for fold in FOLDS}
    return scaling_rows(panel, FOLDS, scalers)


def test_the_share_is_that_of_the_worst_fold_and_of_the_known_values(rows):
    assert rows[0]["feature"] == "f0"
    assert rows[0]["train"] == 0.0
    assert rows[0]["test"] == pytest.approx(2 / 59)


def test_a_feature_without_values_has_no_share_and_comes_last(rows):
    assert [row["feature"] for row in rows] == ["f0", "f1", "m0", "f2"]
    assert np.isnan([rows[-1]["train"], rows[-1]["test"]]).all()


def test_the_most_clipped_feature_is_named_for_each_part(rows):
    assert most_clipped(rows, "test") == {"feature": "f0", "share": pytest.approx(2 / 59)}
    assert most_clipped(rows, "train")["share"] == 0.0


def test_without_any_known_value_nothing_is_named():
    assert most_clipped([{"feature": "f", "train": np.nan}], "train") == {
        "feature": "",
        "share": 0.0,
    }
