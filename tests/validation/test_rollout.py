import numpy as np
import pytest

from ploutos.errors import ValidationError
from ploutos.validation.rollout import Rollout


def rollout_of(equity, **changes):
    n_bars = len(equity) - 1
    fields = {
        "name": "hand",
        "closed_at": np.arange(n_bars + 1, dtype=np.int64),
        "equity_usd": np.asarray(equity, dtype=np.float64),
        "weights": np.zeros((n_bars + 1, 1)),
        "turnover": np.zeros(n_bars),
        "cost_usd": np.zeros(n_bars),
        "fold": np.zeros(n_bars, dtype=np.int64),
    }
    return Rollout(**(fields | changes))


def test_returns_are_simple_and_one_fewer_than_the_rows():
    np.testing.assert_allclose(rollout_of([100.0, 110.0, 99.0]).returns, [0.1, -0.1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_equity_that_is_not_above_zero_is_refused_with_its_row(bad):
    with pytest.raises(ValidationError, match=r"rollout 'hand'.*at row 1"):
        rollout_of([100.0, bad, 99.0])


def test_parts_of_different_length_are_refused():
    with pytest.raises(ValidationError, match=r"expected 2 rows of cost_usd .* received 3"):
        rollout_of([100.0, 110.0, 99.0], cost_usd=np.zeros(3))
