"""Walk-forward folds: hand-counted examples, and invariants over random sizes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ploutos.errors import FoldError
from ploutos.folds import Fold, FoldConfig, Rows, split, stitched_test

# A slow machine is no counterexample, and a failure must come back at the next run.
reproducible = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
SMALL = FoldConfig(
    n_folds=2,
    test_bars=10,
    validation_bars=5,
    min_train_bars=20,
    purge_bars=2,
    embargo_bars=1,
)


@st.composite
def fitting_cases(draw) -> tuple[int, int, FoldConfig]:
    min_train = draw(st.integers(2, 60))
    config = FoldConfig(
        n_folds=draw(st.integers(1, 6)),
        test_bars=draw(st.integers(2, 40)),
        validation_bars=draw(st.integers(2, 30)),
        min_train_bars=min_train,
        max_train_bars=draw(st.none() | st.integers(min_train, min_train + 80)),
        purge_bars=draw(st.integers(1, 10)),
        embargo_bars=draw(st.integers(0, 10)),
        holdout_bars=draw(st.integers(0, 20)),
    )
    first_row = draw(st.integers(0, 50))
    spare = draw(st.integers(0, 100))
    test_bars = config.test_bars or 0
    n_rows = (
        first_row
        + config.min_train_bars
        + config.purge_bars
        + config.validation_bars
        + config.embargo_bars
        + config.n_folds * test_bars
        + config.holdout_bars
        + spare
    )
    return first_row, n_rows, config


def indices(rows: Rows) -> set[int]:
    return set(range(rows.start, rows.stop))


def test_folds_of_sixty_rows_are_as_counted_by_hand():
    first, second = split(5, 60, SMALL)

    # The tests are rows 40-49 and 50-59; one row of embargo, five of validation, two of purge.
    assert first == Fold(
        index=0,
        train=Rows(start=5, stop=32),
        purge=Rows(start=32, stop=34),
        validation=Rows(start=34, stop=39),
        embargo=Rows(start=39, stop=40),
        test=Rows(start=40, stop=50),
    )
    assert second == Fold(
        index=1,
        train=Rows(start=5, stop=42),
        purge=Rows(start=42, stop=44),
        validation=Rows(start=44, stop=49),
        embargo=Rows(start=49, stop=50),
        test=Rows(start=50, stop=60),
    )


def test_longest_training_range_makes_the_window_roll():
    first, second = split(5, 60, SMALL.model_copy(update={"max_train_bars": 20}))

    assert first.train == Rows(start=12, stop=32)
    assert second.train == Rows(start=22, stop=42)


def test_data_that_fit_exactly_are_accepted_and_one_row_less_is_refused():
    # 20 train + 2 purge + 5 validation + 1 embargo + 2 x 10 test = 48 rows after 5 of warm-up.
    folds = split(5, 53, SMALL)

    assert len(folds[0].train) == 20
    with pytest.raises(FoldError, match=r"expected at least 48 rows .* received 47 \(52 rows"):
        split(5, 52, SMALL)


def test_refusal_says_which_test_length_would_fit():
    # 46 usable rows leave 18 for two tests.
    with pytest.raises(FoldError, match="Set test_bars to at most 9"):
        split(0, 46, SMALL)


def test_refusal_of_a_hopelessly_short_panel_names_the_training_range():
    with pytest.raises(FoldError, match="Shorten min_train_bars"):
        split(10, 5, SMALL)


def test_test_length_left_empty_is_as_long_as_the_data_allow():
    folds = split(5, 60, SMALL.model_copy(update={"test_bars": None}))

    # 55 usable rows minus 28 before the first test leave 27, so 13 for each of two folds.
    assert [len(fold.test) for fold in folds] == [13, 13]
    assert len(folds[0].train) == 21
    with pytest.raises(FoldError, match="expected at least 32 rows"):
        split(0, 31, SMALL.model_copy(update={"test_bars": None}))


def test_holdout_rows_are_outside_every_fold():
    folds = split(0, 80, SMALL.model_copy(update={"holdout_bars": 7}))

    assert folds[-1].test.stop == 73


def test_last_test_range_ends_with_the_last_row():
    folds = split(0, 61, SMALL)

    assert folds[-1].test.stop == 61


@reproducible
@given(fitting_cases())
def test_parts_of_a_fold_follow_one_another_and_never_overlap(case):
    first_row, n_rows, config = case
    for fold in split(first_row, n_rows, config):
        parts = (fold.train, fold.purge, fold.validation, fold.embargo, fold.test)
        rows = [row for part in parts for row in range(part.start, part.stop)]
        assert rows == list(range(fold.train.start, fold.test.stop))
        assert fold.train.start >= first_row
        assert fold.test.stop <= n_rows - config.holdout_bars


@reproducible
@given(fitting_cases())
def test_no_training_row_lies_within_the_purge_of_validation_or_test(case):
    first_row, n_rows, config = case
    for fold in split(first_row, n_rows, config):
        last_train = fold.train.stop - 1
        later = indices(fold.validation) | indices(fold.test)
        assert min(later) - last_train > config.purge_bars
        assert fold.test.start - (fold.validation.stop - 1) > config.embargo_bars


@reproducible
@given(fitting_cases())
def test_every_test_row_is_used_once_and_the_last_rows_are_covered(case):
    first_row, n_rows, config = case
    folds = split(first_row, n_rows, config)
    tested = [row for fold in folds for row in range(fold.test.start, fold.test.stop)]
    end = n_rows - config.holdout_bars

    assert tested == list(range(end - config.n_folds * (config.test_bars or 0), end))
    assert indices(stitched_test(folds)) == set(tested)


@reproducible
@given(fitting_cases())
def test_training_ranges_keep_their_limits_and_only_grow_or_roll(case):
    first_row, n_rows, config = case
    folds = split(first_row, n_rows, config)
    for fold in folds:
        assert len(fold.train) >= config.min_train_bars
        if config.max_train_bars is None:
            assert fold.train.start == first_row
        else:
            assert len(fold.train) <= config.max_train_bars
    starts = [fold.train.start for fold in folds]
    assert starts == sorted(starts)


@reproducible
@given(fitting_cases(), st.integers(1, 200))
def test_too_few_rows_are_always_refused(case, missing):
    first_row, n_rows, config = case
    anchored = config.model_copy(update={"max_train_bars": None})
    spare = len(split(first_row, n_rows, anchored)[0].train) - config.min_train_bars

    split(first_row, n_rows - spare, config)
    with pytest.raises(FoldError, match="do not fit"):
        split(first_row, n_rows - spare - missing, config)


def test_folds_with_a_gap_between_their_tests_are_not_stitched():
    first, second = split(5, 60, SMALL)

    with pytest.raises(FoldError, match="expected fold 0 to be tested from row 60"):
        stitched_test((second, first))
    with pytest.raises(FoldError, match="received none"):
        stitched_test(())


@pytest.mark.parametrize(
    ("key", "value"),
    [("n_folds", 0), ("purge_bars", 0), ("test_bars", 1), ("max_train_bars", 100), ("unknown", 1)],
)
def test_invalid_settings_are_refused(key, value):
    with pytest.raises(ValidationError):
        FoldConfig.model_validate({key: value})


def test_overlapping_or_reversed_ranges_are_refused():
    with pytest.raises(ValidationError, match="start <= stop"):
        Rows(start=3, stop=2)
    rows = Rows(start=0, stop=5)
    with pytest.raises(ValidationError, match="adjacent"):
        Fold(index=0, train=rows, purge=rows, validation=rows, embargo=rows, test=rows)


def test_default_settings_fit_the_eight_and_a_half_years_of_the_sample():
    # tech-2004 holds 2,149 sessions; three years of tests leave five years to train on.
    folds = split(252, 2149, FoldConfig())

    assert len(folds) == 3
    assert len(stitched_test(folds)) == 756
    assert all(len(fold.train) >= 252 for fold in folds)
