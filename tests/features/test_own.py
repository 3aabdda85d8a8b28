import json
import re
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest

from ploutos.errors import FeatureError
from ploutos.features import CATALOG, FeatureConfig, catalog_digest
from ploutos.features.catalog import select_features
from ploutos.features.leaks import find_leaks
from ploutos.features.own import load_features
from ploutos.features.trial_bars import trial_bars
from ploutos.market import IngestConfig, fetch
from ploutos.market.config import SyntheticSource
from ploutos.panel.build import align

PAGE = Path(__file__).parents[2] / "docs" / "own-features.md"
MODULE = """
import polars as pl
from ploutos.features import Feature

FEATURES = [Feature("mine", "own", pl.col("close").pct_change(), 1, "fraction", "-", "-")]
ALONE = Feature("alone", "own", pl.col("close").pct_change(2), 2, "fraction", "-", "-")
CLASH = Feature("rsi_14", "own", pl.col("close").pct_change(), 1, "fraction", "-", "-")
NUMBERS = [1, 2]
EMPTY = ()
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "my_own.py"
    path.write_text(MODULE)
    return path


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_rows_are_loaded_from_a_file_or_a_module(module):
    assert [one.name for one in load_features(f"{module}:FEATURES")] == ["mine"]
    assert [one.name for one in load_features(str(module))] == ["mine"]
    assert [one.name for one in load_features(f"{module}:ALONE")] == ["alone"]
    assert load_features("ploutos.features.seasonal")[0].name == "weekday_sin"


def test_a_file_named_like_a_module_of_python_does_not_take_its_place(tmp_path):
    path = tmp_path / "statistics.py"
    path.write_text(MODULE)
    load_features(str(path))
    assert sys.modules["statistics"] is statistics


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no.such.module:FEATURES", "importable module, received 'no.such.module'"),
        ("no_such_file.py", "received no_such_file.py, which is no file in"),
        ("ploutos.features.seasonal:pi", "received an object of type float"),
        ("ploutos.features.seasonal:NOTHING", "'NOTHING', which it does not have"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(reference, message):
    with pytest.raises(FeatureError, match=message):
        load_features(reference)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [("NUMBERS", "a list that holds an object of type int"), ("EMPTY", "a tuple that is empty")],
)
def test_what_holds_no_features_is_refused(module, attribute, message):
    with pytest.raises(FeatureError, match=message):
        load_features(f"{module}:{attribute}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = 1 / 0", "cannot be imported: ZeroDivisionError, line 2"),
        ("x = = 1", "is not Python: invalid syntax, line 1"),
        (
            "import nothing_like_it",
            "ModuleNotFoundError, line 1: No module named 'nothing_like_it'",
        ),
        (
            "from ploutos.features.bases import CLOSE\n\nx = CLOSE.shift(-1)\n",
            "FeatureError, line 3: shift: expected at least 0 bars, received -1",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(FeatureError, match=re.escape(message)):
        load_features(str(path))


def test_own_features_come_after_the_catalog_and_change_the_digest(module):
    config = FeatureConfig(own_features=(str(module), f"{module}:ALONE"))
    names = [one.name for one in select_features(config)]
    assert names == [*(one.name for one in CATALOG), "mine", "alone"]
    assert catalog_digest(config) != catalog_digest(FeatureConfig())
    elsewhere = FeatureConfig(own_features=(f"{module}:FEATURES", f"{module}:ALONE"))
    assert catalog_digest(config) == catalog_digest(elsewhere)


def test_an_own_feature_named_like_one_of_the_catalog_is_refused(module):
    with pytest.raises(FeatureError, match="'rsi_14' occurs twice"):
        select_features(FeatureConfig(own_features=(f"{module}:CLASH",)))


def test_an_own_feature_is_a_column_of_the_panel(module):
    data = fetch(IngestConfig(source=SyntheticSource(symbols=("A", "B"), n_bars=200)))
    config = FeatureConfig(families=("volume",), own_features=(str(module),))
    panel = align(data, config)
    assert panel.meta.feature_names[-1] == "mine"
    assert panel.meta.catalog_digest == catalog_digest(config)
    close = panel.prices[:, 1, 3]
    expected = (close[1:] / close[:-1] - 1).astype(np.float32)
    np.testing.assert_allclose(panel.features[1:, 1, -1], expected, rtol=1e-4, atol=1e-7)


def test_the_example_of_the_page_runs_and_gives_what_its_formulas_say(
    tmp_path, bar_maker, monkeypatch
):
    """The page's own blocks: the first becomes the module, the second is run on a frame."""
    rows, use = blocks("python")
    (tmp_path / "my_features.py").write_text(rows)
    monkeypatch.chdir(tmp_path)
    assert find_leaks(load_features("my_features.py"), trial_bars(300)) == []
    names = {"frame": bar_maker(2, 300, seed=3).to_pandas()}
    exec(use, names)
    enriched = names["enriched"]
    assert len(enriched.columns) == len(names["frame"].columns) + len(CATALOG) + 2
    own = enriched[enriched["symbol"] == "S1"]
    low, high = own["low"].rolling(250).min(), own["high"].rolling(250).max()
    for name, expected in (
        ("year_range_position", (own["close"] - low) / (high - low)),
        ("median_volume_ratio", np.log(own["volume"] / own["volume"].rolling(10).median())),
    ):
        np.testing.assert_allclose(own[name], expected, rtol=1e-9, atol=1e-12)


def test_the_configuration_of_the_page_is_one_of_the_pipeline():
    written = re.search(r"echo '(.*)' > mine.json", PAGE.read_text())[1]
    config = FeatureConfig(**json.loads(written)["features"])
    assert config.own_features == ("my_features.py",)
