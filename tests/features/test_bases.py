from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from ploutos.features.bars import read_bars
from ploutos.features.bases import BASES, carry_actions
from ploutos.features.evaluate import evaluate_columns
from ploutos.features.program import Output


def frame(rows):
    """Return bars of one symbol from (close, volume, split_ratio, cash_dividend)."""
    closes = [row[0] for row in rows]
    return pl.DataFrame(
        {
            "symbol": ["A"] * len(rows),
            "closed_at": [datetime(2024, 1, day + 1, tzinfo=UTC) for day in range(len(rows))],
            "open": closes,
            "high": closes,
            "low": closes,
            "close": closes,
            "volume": [row[1] for row in rows],
            "split_ratio": [row[2] for row in rows],
            "cash_dividend": [row[3] for row in rows],
        }
    )


def bases(bars):
    """Return the base columns by name."""
    values = evaluate_columns(*read_bars(bars), [Output(one) for one in BASES.values()])
    return dict(zip(BASES, values.tolist(), strict=True))


def test_adjustment_equals_the_hand_calculation():
    """100 -> 2-for-1 split to 50 -> 1 dollar paid at 49 -> 51.

    One share bought at 100 is 2 shares at 50, then 2 (1 + 1/49) shares: the factors are
    1, 2, 2 * 50/49, and the adjusted closes 100, 100, 100, 51 * 100/49.
    """
    bars = bases(
        frame(
            [
                (100.0, 10.0, 1.0, 0.0),
                (50.0, 40.0, 2.0, 0.0),
                (49.0, 60.0, 1.0, 1.0),
                (51.0, 20.0, 1.0, 0.0),
            ]
        )
    )
    assert bars["close"] == pytest.approx([100.0, 100.0, 100.0, 5100 / 49])
    assert bars["volume"] == [10.0, 20.0, 30.0, 10.0]
    assert np.isnan(bars["log_return"][0])
    assert bars["log_return"][1:3] == [0.0, pytest.approx(0.0, abs=1e-15)]


def test_a_split_on_the_first_bar_changes_only_the_level():
    bars = bases(frame([(50.0, 40.0, 2.0, 0.0), (55.0, 44.0, 1.0, 0.0)]))
    assert bars["close"] == [100.0, 110.0]
    assert bars["volume"] == [20.0, 22.0]


def test_bars_without_missing_rows_stay_as_they_are():
    bars = frame([(100.0, 10.0, 1.0, 0.0), (50.0, 40.0, 2.0, 0.5)])
    assert carry_actions(bars).equals(bars)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_actions_of_missing_bars_arrive_at_the_next_present_one(missing):
    """On missing bars: 3 a share, then a 2-for-1 split, then 1 a share.

    A holder of 1 share gets 3, then has 2 shares and gets 2. At the next present bar (which itself
    splits 5-for-1 and pays 0.1 a share) the 10 shares get 10 * 0.1: 6 in all, so 0.6 per share.
    """
    bars = frame(
        [
            (100.0, 1.0, 1.0, 0.0),
            (missing, 1.0, 1.0, 3.0),
            (missing, 1.0, 2.0, 0.0),
            (missing, 1.0, 1.0, 1.0),
            (9.0, 1.0, 5.0, 0.1),
            (missing, 1.0, 7.0, 7.0),
        ]
    )
    carried = carry_actions(bars)
    assert carried.columns == bars.columns
    assert carried["close"].to_list() == [100.0, 9.0]
    assert carried["closed_at"].to_list() == bars["closed_at"][[0, 4]].to_list()
    assert carried["split_ratio"].to_list() == [1.0, 10.0]
    assert carried["cash_dividend"].to_list() == pytest.approx([0.0, 0.6])


def test_actions_do_not_cross_from_one_symbol_to_the_next():
    first = frame([(10.0, 1.0, 1.0, 0.0), (None, 1.0, 2.0, 1.0)])
    second = frame([(20.0, 1.0, 1.0, 0.0), (21.0, 1.0, 1.0, 0.0)]).with_columns(symbol=pl.lit("B"))
    carried = carry_actions(pl.concat([first, second]))
    assert carried["symbol"].to_list() == ["A", "B", "B"]
    assert carried["split_ratio"].to_list() == [1.0, 1.0, 1.0]
    assert carried["cash_dividend"].to_list() == [0.0, 0.0, 0.0]
