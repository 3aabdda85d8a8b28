import math
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.errors import DataError
from ploutos.market.schema import check_bars, check_macro, empty_bars, empty_macro
from tests.market.frames import CLOSES, bars, macro


def broken(column: str, value: float | None) -> pl.DataFrame:
    return bars(**{column: [*bars()[column][:4], value, bars()[column][5]]})


def test_good_bars_pass_unchanged():
    assert check_bars(bars(), "XNYS", "test").equals(bars())


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)))
def test_any_order_of_rows_becomes_the_canonical_one(order: list[int]):
    assert check_bars(bars()[order], "XNYS", "test").equals(bars())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("open", math.nan),
        ("close", math.inf),
        ("close", None),
        ("low", 0.0),
        ("low", -1.0),
        ("low", 10.5),
        ("high", 10.5),
        ("volume", -1.0),
        ("volume", math.nan),
        ("split_ratio", 0.0),
        ("split_ratio", None),
        ("cash_dividend", -0.01),
        ("cash_dividend", math.inf),
    ],
)
def test_a_bad_value_is_refused_with_symbol_date_column_and_value(column: str, value: float | None):
    with pytest.raises(DataError) as refused:
        check_bars(broken(column, value), "XNYS", "test")
    message = str(refused.value)
    assert f"BBB 2013-03-01 21:00:00+00:00 {column}: expected" in message
    assert f"received {value}" in message or f"{column} {value}" in message
    assert "nothing was stored" in message


def test_many_bad_rows_are_counted_and_five_are_shown():
    with pytest.raises(DataError, match=r"\(6 in all\)") as refused:
        check_bars(bars(volume=[-1.0] * 6), "XNYS", "test")
    assert str(refused.value).count("volume: expected") == 5


def test_a_missing_column_is_refused_by_name():
    with pytest.raises(DataError, match="column 'volume': expected Float64, received nothing"):
        check_bars(bars().drop("volume"), "XNYS", "test")


def test_a_superfluous_column_is_refused_by_name():
    with pytest.raises(DataError, match="column 'note': expected no such column, received Int32"):
        check_bars(bars().with_columns(note=pl.lit(1, pl.Int32)), "XNYS", "test")


def test_instants_without_a_time_zone_are_refused():
    naive = bars().with_columns(pl.col("closed_at").dt.replace_time_zone(None))
    with pytest.raises(DataError, match="column 'closed_at': expected Datetime"):
        check_bars(naive, "XNYS", "test")


def test_whole_numbers_in_place_of_prices_are_refused():
    with pytest.raises(DataError, match="column 'open': expected Float64, received Int64"):
        check_bars(bars().with_columns(pl.col("open").cast(pl.Int64)), "XNYS", "test")


def test_the_same_bar_twice_is_refused():
    twice = pl.concat([bars(), bars()[2:3]])
    with pytest.raises(DataError, match=r"AAA 2013-03-04 21:00:00\+00:00 occurs 2 times"):
        check_bars(twice, "XNYS", "test")


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2013, 3, 2, 21, tzinfo=UTC),  # Saturday
        datetime(2013, 3, 1, 20, tzinfo=UTC),  # an hour before the close
    ],
)
def test_an_instant_that_is_no_close_is_refused(moment: datetime):
    moved = bars(("AAA",), closed_at=[CLOSES[0], moment, CLOSES[2]])
    with pytest.raises(DataError, match="close of a session of XNYS"):
        check_bars(moved, "XNYS", "test")


def test_no_bars_and_no_macro_values_are_fine():
    assert check_bars(empty_bars(), "XNYS", "test").is_empty()
    assert check_macro(empty_macro(), "test").is_empty()


def test_good_macro_values_are_sorted():
    assert check_macro(macro().reverse(), "test").equals(macro())


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_macro_value_that_is_no_number_is_refused(value: float | None):
    with pytest.raises(DataError, match=r"VIX 2013-03-01.*value: expected a finite number"):
        check_macro(macro(value=[1.0, value, 2.0]), "test")


def test_an_unknown_macro_series_is_refused():
    with pytest.raises(DataError, match="received OIL"):
        check_macro(macro(series=["VIX", "OIL", "VIX"]), "test")


def test_two_values_of_one_release_are_refused():
    with pytest.raises(DataError, match="occurs 3 times"):
        check_macro(macro(released_at=[CLOSES[0]] * 3), "test")
