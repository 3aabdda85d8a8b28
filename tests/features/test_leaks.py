from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from ploutos.cli import app
from ploutos.errors import FeatureError
from ploutos.features import Feature, FeatureConfig, compute_features
from ploutos.features.bases import CLOSE, LOG_RETURN
from ploutos.features.leaks import bars_needed, find_leaks
from ploutos.features.primitives import ema, rolling_mean
from ploutos.features.trial_bars import trial_bars

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
    assert bars.filter(symbol=first.symbol)["closed_at"][first.bar] == first.closed_at


def test_a_leak_that_shows_on_a_single_row_is_found(bars):
    """The value of one bar only, the 97th, is taken from its successor."""
    at = pl.col("bar") == 96
    peek = pl.when(at).then(pl.col("close").shift(-1)).otherwise(pl.col("close")) / pl.col("close")
    found = find_leaks((row("once", peek),), bars)
    truncated = next(one for one in found if one.check == "truncation")
    assert truncated.bars_known == 97
    assert (truncated.bar, truncated.closed_at) == (96, bars["closed_at"][96])


def test_a_warm_up_that_is_declared_too_short_is_found(bars):
    slow = row("slow", CLOSE / ema(CLOSE, 50) - 1.0, 20)
    found = find_leaks((slow,), bars)
    assert [(one.feature, one.check) for one in found] == [("slow", "warm-up")]


def test_a_fair_feature_passes(bars):
    fair = row("fair", rolling_mean(LOG_RETURN, 21), 21)
    assert find_leaks((fair,), bars) == []


def test_a_backward_fill_of_missing_volume_is_found_at_the_hole():
    filled = pl.col("volume").fill_null(strategy="backward")
    found = find_leaks((row("filled", filled / filled.shift(1), 1),), trial_bars(60))
    first = next(one for one in found if one.check == "truncation")
    assert (first.symbol, first.bar, first.bars_known, first.received) == ("SYN3", 3, 4, None)


def test_a_leak_through_the_other_symbols_of_later_bars_is_found(bars):
    """A rank over all symbols and bars, written as a feature of the bar, is of the bar alone."""
    fair = replace(row("fair", pl.col("momentum_5").rank() / pl.len(), 5), over="closed_at")
    peeks = replace(fair, name="peeks", expression=pl.col("tomorrow").rank() / pl.len())
    tomorrow = row("tomorrow", pl.col("close").shift(-1) / pl.col("close"))
    found = find_leaks((fair, tomorrow, peeks), bars)
    assert {one.feature for one in found} == {"tomorrow", "peeks"}


def test_a_warm_up_is_held_against_the_bar_that_breaks_it(bars):
    found = find_leaks((row("sum", pl.col("log_return").cum_sum(), 1),), bars)
    assert [(one.check, one.bars_known) for one in found] == [("warm-up", 1)]
    assert found[0].bar == 2


def test_leaks_come_in_the_order_of_the_features(bars):
    rows = tuple(row(name, pl.col("close").shift(-1)) for name in ("z", "a", "m"))
    found = find_leaks(rows, bars)
    assert list(dict.fromkeys(one.feature for one in found)) == ["z", "a", "m"]
    assert [one.check for one in found[:3]] == ["truncation", "doubling", "shuffling"]


def test_a_feature_that_was_never_seen_is_not_called_clean(bars):
    year = row("year", CLOSE / CLOSE.shift(1), 200)
    with pytest.raises(FeatureError, match=r"no value at any of 150 bars.*year \(warm-up 200\)"):
        find_leaks((year,), bars)
    assert find_leaks((year,), trial_bars(bars_needed((year,)))) == []


def test_a_feature_that_cannot_be_computed_is_named(bars):
    with pytest.raises(FeatureError, match=r"'typo' cannot be computed: ColumnNotFound.*clse"):
        find_leaks((row("fair", CLOSE / CLOSE.shift(1), 1), row("typo", pl.col("clse"))), bars)


def test_progress_is_told_from_start_to_end(bars):
    told = []
    find_leaks((row("fair", CLOSE / CLOSE.shift(1), 1),), bars, told.append)
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-1] > 0.99


def test_the_trial_bars_split_pay_and_lack_volumes():
    bars = trial_bars(90)
    assert bars["split_ratio"].to_list().count(2.0) == 1
    assert bars["cash_dividend"].sum() == 0.5
    assert bars.filter(pl.col("volume").is_null())["symbol"].to_list() == ["SYN3"] * 3
    returns = compute_features(bars, FeatureConfig(families=("momentum",)))["momentum_1"]
    assert returns.abs().max() < 0.2  # the split is no loss
    assert bars.equals(trial_bars(90))


def leaks_command(*arguments):
    return CliRunner().invoke(app, ["leaks", *arguments], env={"COLUMNS": "80"})


@pytest.mark.parametrize(("more", "code"), [("", 0), (LEAK, 1)])
def test_the_command_ends_with_one_where_a_feature_leaks(tmp_path: Path, more, code):
    path = tmp_path / "own_features.py"
    path.write_text(MODULE.format(more=more))
    done = leaks_command(str(path), "--bars", "60")
    assert done.exit_code == code, done.output
    assert ("peek knows what comes later" in done.stdout) == bool(more)
    assert ("SYN1, bar 0 (2005-01-03)" in done.stdout) == bool(more)
    assert ("Clean: 1 of 1 features" in done.stdout) != bool(more)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_command_ends_with_two_where_nothing_can_be_checked(tmp_path: Path):
    path = tmp_path / "own_features.py"
    path.write_text("x = 1 / 0")
    done = leaks_command(str(path))
    assert done.exit_code == 2
    assert "ZeroDivisionError, line 1" in done.stderr
    assert isinstance(done.exception, SystemExit)
