import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from ploutos.errors import FeatureError
from ploutos.features import Feature
from ploutos.features.bases import CLOSE, LOG_RETURN
from ploutos.features.leaks import find_leaks, load_features
from ploutos.features.primitives import ema, rolling_mean

X = pl.col("log_return")

MODULE = """
import polars as pl
from ploutos.features import Feature
from ploutos.features.bases import CLOSE
from ploutos.features.primitives import rolling_mean

FEATURES = (
    Feature("mine", "own", CLOSE / rolling_mean(CLOSE, 5) - 1.0, 4, "fraction", "-", "-"),
    {more}
)
"""
LEAK = 'Feature("peek", "own", pl.col("close").shift(-1), 0, "price", "-", "-"),'


def row(name, expression, warm_up=0):
    return Feature(name, "own", expression, warm_up, "ratio", name, "planted")


@pytest.fixture(scope="module")
def bars(bar_maker):
    return bar_maker(2, 150, seed=11)


@pytest.mark.parametrize(
    ("leak", "expression"),
    [
        ("next_close", pl.col("close").shift(-1) / pl.col("close")),
        ("backfill", X.fill_null(strategy="backward")),
        ("full_sample_zscore", (X - X.mean()) / X.std()),
        ("centred_window", pl.col("close").rolling_mean(5, center=True) / pl.col("close")),
    ],
)
def test_a_planted_leak_is_named_with_its_row(bars, leak, expression):
    found = find_leaks((row(leak, expression), row("fair", CLOSE / CLOSE.shift(1), 1)), bars)
    assert {one.feature for one in found} == {leak}
    first = next(one for one in found if one.check == "truncation")
    assert first.symbol in {"S0", "S1"}
    assert first.closed_at in bars["closed_at"].to_list()


def test_a_leak_that_shows_on_a_single_row_is_found(bars):
    """The value of one bar only, the 97th, is taken from its successor."""
    at = pl.col("bar") == 96
    peek = pl.when(at).then(pl.col("close").shift(-1)).otherwise(pl.col("close")) / pl.col("close")
    found = find_leaks((row("once", peek),), bars)
    truncated = next(one for one in found if one.check == "truncation")
    assert truncated.bars_known == 97
    assert truncated.closed_at == bars["closed_at"][96]


def test_a_warm_up_that_is_declared_too_short_is_found(bars):
    slow = row("slow", CLOSE / ema(CLOSE, 50) - 1.0, 20)
    found = find_leaks((slow,), bars)
    assert [(one.feature, one.check) for one in found] == [("slow", "warm-up")]


def test_a_fair_feature_passes(bars):
    fair = row("fair", rolling_mean(LOG_RETURN, 21), 21)
    assert find_leaks((fair,), bars) == []


def test_features_are_loaded_from_a_module_or_a_file(tmp_path):
    path = tmp_path / "mine_in_a_file.py"
    path.write_text(MODULE.format(more=""))
    assert [one.name for one in load_features(f"{path}:FEATURES")] == ["mine"]
    assert load_features("ploutos.features.seasonal")[0].name == "weekday_sin"


@pytest.mark.parametrize(
    "reference", ["no.such.module:FEATURES", "no_such_file.py", "ploutos.features.seasonal:pi"]
)
def test_a_reference_that_leads_nowhere_is_refused(reference):
    with pytest.raises(FeatureError, match="expected"):
        load_features(reference)


@pytest.mark.parametrize(("more", "code"), [("", 0), (LEAK, 1)])
def test_the_command_ends_with_one_where_a_feature_leaks(tmp_path: Path, more, code):
    path = tmp_path / "own_features.py"
    path.write_text(MODULE.format(more=more))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from ploutos.cli import main; main()",
            "leaks",
            str(path),
            "--bars",
            "60",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert ("peek" in done.stdout) == bool(more)
