"""Walk-forward folds. In: the number of rows of a panel. Out: half-open row ranges per fold.

A fold is train | purge | validation | embargo | test, in this order and without gaps. The test
ranges of successive folds touch each other, so that stitched together they are one out-of-sample
stretch in which every row stands exactly once. Rows before `first_row` (warm-up) and the last
`holdout_bars` rows belong to no fold.
"""

from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from ploutos.config import FrozenConfig
from ploutos.errors import FoldError


class Rows(FrozenConfig):
    """A half-open range of panel rows: `start` is inside, `stop` is not."""

    start: int = Field(ge=0, description="First row of the range.")
    stop: int = Field(ge=0, description="Row after the last row of the range.")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"expected start <= stop, received {self.start} and {self.stop}")
        return self

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.stop - self.start


class Fold(FrozenConfig):
    """One walk-forward fold: five adjacent row ranges."""

    index: int = Field(ge=0, description="Position of the fold in time, from 0.")
    train: Rows = Field(description="Rows that the policy and its scaler are fitted on.")
    purge: Rows = Field(description="Rows left out so that no training reward reaches validation.")
    validation: Rows = Field(description="Rows that choose between checkpoints and settings.")
    embargo: Rows = Field(description="Rows left out between validation and test.")
    test: Rows = Field(description="Rows that are looked at once, to judge.")

    @model_validator(mode="after")
    def _check_adjacent(self) -> Self:
        parts = (self.train, self.purge, self.validation, self.embargo, self.test)
        for before, after in pairwise(parts):
            if before.stop != after.start:
                raise ValueError(f"expected adjacent ranges, received {before} before {after}")
        return self


class FoldConfig(FrozenConfig):
    """How the rows of a panel are split into walk-forward folds. Lengths are in bars (rows)."""

    n_folds: int = Field(default=3, ge=1, description="Number of walk-forward folds.")
    test_bars: int | None = Field(
        default=252,
        ge=2,
        description="Length of each test range, in bars. Empty: as long as the data allow.",
    )
    validation_bars: int = Field(
        default=126, ge=2, description="Length of each validation range, in bars."
    )
    min_train_bars: int = Field(
        default=252, ge=2, description="Shortest training range that is accepted, in bars."
    )
    max_train_bars: int | None = Field(
        default=None,
        ge=2,
        description="Longest training range, in bars: a rolling window. "
        "Empty: every fold trains from the first row on (anchored).",
    )
    purge_bars: int = Field(
        default=2,
        ge=1,
        description="Gap between training and validation, in bars. A decision is rewarded one bar "
        "later, so at least 1.",
    )
    embargo_bars: int = Field(
        default=2,
        ge=0,
        description="Gap between validation and test, in bars. No training row follows a test row "
        "in walk-forward, so a small gap is enough.",
    )
    holdout_bars: int = Field(
        default=0,
        ge=0,
        description="Bars at the end of the data that no fold may touch: the final hold-out.",
    )

    @model_validator(mode="after")
    def _check_train_lengths(self) -> Self:
        if self.max_train_bars is not None and self.max_train_bars < self.min_train_bars:
            raise ValueError(
                f"expected max_train_bars >= min_train_bars, received {self.max_train_bars} "
                f"and {self.min_train_bars}"
            )
        return self


def split(first_row: int, n_rows: int, config: FoldConfig) -> tuple[Fold, ...]:
    """Split the rows `[first_row, n_rows)` into walk-forward folds.

    The test ranges cover the last `n_folds * test_bars` rows before the hold-out. The last row of
    the last test range marks the account only: a decision needs a following bar to fill at.

    Parameters
    ----------
    first_row
        First row outside every feature's warm-up.
    n_rows
        Number of rows of the panel.
    config
        Lengths of the parts.

    Returns
    -------
    tuple of Fold
        In time order, `config.n_folds` of them.

    Raises
    ------
    FoldError
        If the folds need more rows than there are; the message says how many are missing.

    Notes
    -----
    Source: Lopez de Prado, Advances in Financial Machine Learning (2018), ch. 7 and 12.
    """
    test_bars = _test_length(first_row, n_rows, config)
    end = n_rows - config.holdout_bars
    first_test = end - config.n_folds * test_bars
    return tuple(
        _fold_before(index, first_row, first_test + index * test_bars, test_bars, config)
        for index in range(config.n_folds)
    )


def stitched_test(folds: tuple[Fold, ...]) -> Rows:
    """Return the one range that the test ranges of `folds` cover together.

    Raises
    ------
    FoldError
        If there is no fold, or if the test ranges do not follow one another without a gap.
    """
    if not folds:
        raise FoldError("expected at least one fold, received none")
    for before, after in pairwise(folds):
        if before.test.stop != after.test.start:
            raise FoldError(
                f"expected fold {after.index} to be tested from row {before.test.stop} on, "
                f"received {after.test.start}"
            )
    return Rows(start=folds[0].test.start, stop=folds[-1].test.stop)


def _test_length(first_row: int, n_rows: int, config: FoldConfig) -> int:
    """Return the length of a test range, or raise if the folds do not fit."""
    usable = n_rows - first_row
    before_test = (
        config.min_train_bars + config.purge_bars + config.validation_bars + config.embargo_bars
    )
    longest = (usable - before_test - config.holdout_bars) // config.n_folds
    test_bars = max(longest, 2) if config.test_bars is None else config.test_bars
    if test_bars <= longest:
        return test_bars
    needed = before_test + config.n_folds * test_bars + config.holdout_bars
    advice = (
        f"Set test_bars to at most {longest}, use fewer folds, or bring more data."
        if longest >= 2
        else "Shorten min_train_bars or validation_bars, use fewer folds, or bring more data."
    )
    raise FoldError(
        f"the folds do not fit the data: expected at least {needed} rows "
        f"({config.min_train_bars} train + {config.purge_bars} purge + "
        f"{config.validation_bars} validation + {config.embargo_bars} embargo + "
        f"{config.n_folds} x {test_bars} test + {config.holdout_bars} hold-out), received "
        f"{max(usable, 0)} ({n_rows} rows, of which the first {first_row} are warm-up). {advice}"
    )


def _fold_before(
    index: int, first_row: int, test_start: int, test_bars: int, config: FoldConfig
) -> Fold:
    """Build the fold whose test range starts at `test_start`."""
    validation_stop = test_start - config.embargo_bars
    validation_start = validation_stop - config.validation_bars
    train_stop = validation_start - config.purge_bars
    train_start = first_row
    if config.max_train_bars is not None:
        train_start = max(first_row, train_stop - config.max_train_bars)
    return Fold(
        index=index,
        train=Rows(start=train_start, stop=train_stop),
        purge=Rows(start=train_stop, stop=validation_start),
        validation=Rows(start=validation_start, stop=validation_stop),
        embargo=Rows(start=validation_stop, stop=test_start),
        test=Rows(start=test_start, stop=test_start + test_bars),
    )
