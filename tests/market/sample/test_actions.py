from datetime import date

import numpy as np
import polars as pl
import pytest

from ploutos.errors import DataError
from ploutos.market.sample.actions import (
    distance_to_cents,
    separate_actions,
    undo_dividend_adjustment,
    undo_split_adjustment,
)

DAYS = [date(2012, 8, 7), date(2012, 8, 8), date(2012, 8, 9)]


def closes_of(close: list[float], adjusted: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"date": DAYS, "close": close, "adjusted_close": adjusted})


def test_a_two_for_one_split_is_told_from_the_ratio():
    # 100 -> 102 -> 52: the adjusted series halves what came before.
    found = separate_actions(closes_of([100.0, 102.0, 52.0], [50.0, 51.0, 52.0]))
    assert found["split_ratio"].to_list() == [1.0, 1.0, 2.0]
    assert found["cash_dividend"].to_list() == [0.0, 0.0, 0.0]


def test_a_dividend_is_told_from_the_ratio_to_the_cent():
    # Ex-date with the close 620: everything before is divided by 1 + 2.65 / 620.
    factor = 1 / (1 + 2.65 / 620)
    found = separate_actions(closes_of([610.0, 619.0, 620.0], [610 * factor, 619 * factor, 620.0]))
    assert found["cash_dividend"].to_list() == [0.0, 0.0, 2.65]
    assert found["split_ratio"].to_list() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("growth", [1.005, 1.5, 0.5])
def test_a_change_that_is_neither_split_nor_whole_cents_is_refused(growth: float):
    # 0.5 % of 62.03 is 31.015 cents; 3:2 and 1:2 are no whole-number splits.
    with pytest.raises(DataError, match="2012-08-09"):
        separate_actions(closes_of([60.0, 61.0, 62.03], [60 / growth, 61 / growth, 62.03]))


def ohlcv(close: list[float], volume: list[float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "date": DAYS,
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": volume,
        }
    )


def test_published_dividends_undo_an_adjustment():
    # Traded 40.00, 50.00, 49.50, with 0.50 ex on the third day: factor 1 - 0.5 / 50 = 0.99.
    adjusted = ohlcv([39.6, 49.5, 49.5], [1000 / 0.99, 2000 / 0.99, 3000.0])
    traded = undo_dividend_adjustment(adjusted, {DAYS[2]: 0.5})
    assert traded["close"].to_list() == pytest.approx([40.0, 50.0, 49.5], rel=1e-12)
    assert traded["volume"].to_list() == [1000.0, 2000.0, 3000.0]
    assert traded["cash_dividend"].to_list() == [0.0, 0.0, 0.5]


def test_a_known_ratio_undoes_a_split_adjustment():
    # GOOGL closed at 1135.10 on 2014-04-02; 1135.10 / 1.998 = 568.118...
    adjusted = ohlcv([568.118103, 568.118103, 571.5], [4168000.0, 4168000.0, 4018300.0])
    traded = undo_split_adjustment(adjusted, {DAYS[2]: 1.998})
    assert traded["close"].to_list() == [1135.1, 1135.1, 571.5]
    assert traded["volume"].to_list() == [2086086.0, 2086086.0, 4018300.0]
    assert traded["split_ratio"].to_list() == [1.0, 1.0, 1.998]


def test_the_distance_to_a_cent_is_at_most_half_a_cent():
    distances = distance_to_cents(np.array([1.0, 1.234, 1.235, 1.2399]))
    assert distances.tolist() == pytest.approx([0.0, 0.004, 0.005, 0.0001])
