import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from ploutos.errors import FeatureError
from ploutos.features import (
    CATALOG,
    MACRO_CATALOG,
    MACRO_SERIES,
    FeatureConfig,
    catalog_digest,
)
from ploutos.features.bases import CLOSE
from ploutos.features.catalog import FAMILIES, check_catalog, select_features
from ploutos.features.expression import Expression
from ploutos.features.primitives import rolling_mean

CONFIG = FeatureConfig()


def test_the_catalog_holds_what_is_promised():
    assert len(CATALOG) >= 120
    assert len(MACRO_CATALOG) >= 25
    check_catalog((*CATALOG, *MACRO_CATALOG))


@pytest.mark.parametrize("row", [*CATALOG, *MACRO_CATALOG], ids=lambda row: row.name)
def test_every_row_tells_unit_formula_and_source(row):
    assert all((row.unit, row.formula, row.source))
    assert 0 <= row.warm_up_bars <= 252
    assert row.family in (*FAMILIES, "macro")
    assert isinstance(row.expression, Expression) or row.over == "instant"


def test_every_row_of_the_catalog_has_an_oracle_in_the_tests_of_its_family():
    """An oracle is a calculation that is not ours, which the family's test compares with."""
    known = {}
    for family in FAMILIES:
        oracles = importlib.import_module(f"tests.features.test_{family}").ORACLES
        known |= dict.fromkeys(oracles, family)
    assert known == {row.name: row.family for row in CATALOG}
    macro = importlib.import_module("tests.features.test_macro").ORACLES
    named = {f"{series.lower()}_{name}" for series in MACRO_SERIES for name in macro}
    assert named == {row.name for row in MACRO_CATALOG}


def test_no_oracle_asks_our_own_code():
    """The tests of the families import nothing that computes a feature but the engine's front."""
    for family in (*FAMILIES, "macro"):
        text = (Path(__file__).parent / f"test_{family}.py").read_text()
        imported = re.findall(r"from ploutos\S* import (.*)", text)
        allowed = {"FeatureConfig", "compute_features", "compute_macro_features", "FeatureError"}
        assert {name for line in imported for name in line.split(", ")} <= allowed | {
            "MACRO_CATALOG"
        }, family


def test_families_are_picked_in_catalog_order():
    rows = select_features(FeatureConfig(families=("volume", "trend")))
    assert [row for row in CATALOG if row.family in {"volume", "trend"}] == list(rows)


def test_an_unknown_family_is_refused():
    with pytest.raises(ValidationError, match="trend"):
        FeatureConfig(families=("astrology",))


def test_no_family_at_all_is_refused():
    with pytest.raises(ValidationError, match="at least 1"):
        FeatureConfig(families=())


def test_a_name_that_occurs_twice_is_refused():
    rsi = next(row for row in CATALOG if row.name == "rsi_14")
    with pytest.raises(FeatureError, match="'rsi_14' occurs twice"):
        check_catalog((rsi, rsi))


def test_a_warm_up_over_a_year_is_refused():
    with pytest.raises(FeatureError, match="received 253"):
        check_catalog((replace(CATALOG[0], warm_up_bars=253),))


def _digest(**change):
    return catalog_digest(CONFIG, (replace(CATALOG[0], **change), *CATALOG[1:]))


@pytest.mark.parametrize(
    "change",
    [
        {"expression": pl.col("close") / pl.col("close").rolling_mean(11) - 1.0},
        {"expression": CLOSE / rolling_mean(CLOSE, 11) - 1.0},
        {"expression": CLOSE / rolling_mean(CLOSE, 10) - 1.1},
        {"warm_up_bars": 10},
        {"name": "other"},
        {"over": "closed_at"},
    ],
)
def test_a_changed_row_changes_the_digest(change):
    assert _digest(**change) != catalog_digest(CONFIG)


def test_wording_does_not_change_the_digest():
    assert _digest(formula="said otherwise", source="elsewhere") == catalog_digest(CONFIG)


def test_the_order_of_the_columns_belongs_to_the_digest():
    assert catalog_digest(CONFIG, CATALOG[::-1]) != catalog_digest(CONFIG)


def test_the_maximum_age_belongs_to_the_digest():
    assert catalog_digest(FeatureConfig(macro_max_age_days=8)) != catalog_digest(CONFIG)


def test_another_process_computes_the_same_digest():
    code = (
        "from ploutos.features import FeatureConfig, catalog_digest;"
        "print(catalog_digest(FeatureConfig()))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert printed.strip() == catalog_digest(CONFIG)
