import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.calendar import closes
from ploutos.errors import RevisionError
from ploutos.market.revisions import merge_bars, merge_macro
from ploutos.market.schema import BAR_TYPES, PRICES
from tests.market.frames import macro

SESSIONS = closes("XNYS", date(2024, 5, 1), date(2024, 5, 31))["closed_at"].to_list()


def bars(
    closing: list[float], symbol: str = "AAA", first: int = 0, volume: float = 8000.0, **columns
) -> pl.DataFrame:
    count = len(closing)
    values = {
        "symbol": [symbol] * count,
        "closed_at": SESSIONS[first : first + count],
        "open": [value * 0.99 for value in closing],
        "high": [value * 1.02 for value in closing],
        "low": [value * 0.98 for value in closing],
        "close": closing,
        "volume": [volume + 100 * (first + number) for number in range(count)],
        "split_ratio": [1.0] * count,
        "cash_dividend": [0.0] * count,
    }
    return pl.DataFrame(values | columns, schema=BAR_TYPES)


def scaled(frame: pl.DataFrame, price: pl.Series, share: pl.Series) -> pl.DataFrame:
    return frame.with_columns(
        *(pl.col(name) * price for name in PRICES),
        volume=pl.col("volume") * share,
        cash_dividend=pl.col("cash_dividend") * price,
    )


def test_new_bars_are_appended_and_the_stored_ones_stay_bit_for_bit():
    whole = bars([10.0, 11.0, 12.0, 13.0])
    # Rounding of a rebuilt price, far below a cent.
    noisy = whole[2:].with_columns(pl.col("close") * (1 + 1e-7))
    merged, notes = merge_bars(whole[:3], noisy, 0.0)
    assert merged[:3].equals(whole[:3])
    assert merged["closed_at"].equals(whole["closed_at"])
    assert notes == []


def test_a_new_symbol_is_added_whole():
    old, new = bars([10.0, 11.0]), bars([5.0, 6.0], symbol="BBB")
    merged, _ = merge_bars(old, pl.concat([old[1:], new]), 0.0)
    assert merged.equals(pl.concat([old, new]))


@pytest.mark.parametrize("column", [*PRICES, "volume", "split_ratio", "cash_dividend"])
def test_an_unexplained_change_is_refused_with_symbol_close_column_old_and_new(column: str):
    old = bars([10.0, 11.0, 12.0], cash_dividend=[0.0, 0.5, 0.0], split_ratio=[1.0, 2.0, 1.0])
    wrong = pl.when(pl.col("closed_at") == SESSIONS[1]).then(pl.col(column) * 1.01 + 5)
    new = old.with_columns(wrong.otherwise(column).alias(column))
    value = old[column][1]
    with pytest.raises(RevisionError) as refused:
        merge_bars(old, new, 0.0)
    message = str(refused.value)
    assert f"AAA {SESSIONS[1]} {column}: old {value}, new {value * 1.01 + 5}" in message
    assert str(SESSIONS[0]) not in message
    assert str(SESSIONS[2]) not in message


def test_a_split_that_is_listed_but_not_yet_in_the_prices_is_explained():
    # The stored bars are as traded before a split 4:1; the new answer multiplies them once more.
    old = bars([400.0, 404.0, 408.0])
    true = bars([400.0, 404.0, 408.0, 410.0, 103.0, 104.0], split_ratio=[1.0] * 4 + [4.0, 1.0])
    factor = pl.Series([4.0] * 4 + [1.0] * 2)
    merged, notes = merge_bars(old, scaled(true, factor, 1 / factor), 0.0)
    assert merged[:3].equals(old)
    # The fourth bar, seen for the first time, stands on the basis of the stored ones too.
    assert merged["close"].to_list() == pytest.approx([400, 404, 408, 410, 103, 104])
    assert merged["volume"].to_list() == pytest.approx(true["volume"].to_list())
    assert len(notes) == 1
    assert "splits" in notes[0]


def test_a_history_that_was_adjusted_for_a_split_is_explained():
    old = bars([400.0, 404.0, 408.0])
    true = bars([400.0, 404.0, 408.0, 102.0], split_ratio=[1.0, 1.0, 1.0, 4.0])
    factor = pl.Series([0.25, 0.25, 0.25, 1.0])
    merged, notes = merge_bars(old, scaled(true, factor, 1 / factor), 0.0)
    assert merged["close"].to_list() == pytest.approx([400, 404, 408, 102])
    assert "divided by later splits" in notes[0]


def test_a_history_that_was_adjusted_for_a_dividend_is_explained():
    # 2 paid on the fourth day after a close of 408: earlier prices times 1 - 2/408.
    old = bars([400.0, 404.0, 408.0])
    true = bars([400.0, 404.0, 408.0, 407.0], cash_dividend=[0.0, 0.0, 0.0, 2.0])
    factor = pl.Series([1 - 2 / 408] * 3 + [1.0])
    new = true.with_columns(pl.col(name) * factor for name in PRICES)
    merged, notes = merge_bars(old, new, 0.0)
    assert merged[:3].equals(old)
    assert merged["close"].to_list() == pytest.approx([400, 404, 408, 407])
    assert "dividends" in notes[0]


def adjusted_close(bars: pl.DataFrame) -> pl.Series:
    """The factors of the adjusted close, bar by bar in the words of its definition."""
    factors: list[float] = []
    for bar in range(bars.height):
        factor = 1.0
        for later in range(bar + 1, bars.height):
            paid = bars["cash_dividend"][later] * bars["split_ratio"][later]
            factor *= 1 - paid / bars["close"][later - 1]
        factors.append(factor)
    return pl.Series(factors)


def test_dividends_after_days_that_were_never_stored_are_explained_too():
    closing = [400.0, 404.0, 408.0, 407.0, 101.0, 103.0, 104.0]
    events = {
        "split_ratio": [1.0] * 4 + [4.0] + [1.0] * 2,
        "cash_dividend": [0.0, 1.0, 0.0, 2.0, 0.5, 0.0, 0.75],
    }
    true = bars(closing, **events)
    new = true.with_columns(pl.col(name) * adjusted_close(true) for name in PRICES)
    merged, notes = merge_bars(true[:3], new, 0.0)
    assert merged[:3].equals(true[:3])
    assert merged["close"].to_list() == pytest.approx(closing)
    assert len(notes) == 1
    # With the splits divided out as well, as in an adjusted history that is sold as traded.
    later = pl.Series([0.25] * 4 + [1.0] * 3)
    merged, _ = merge_bars(true[:3], scaled(new, later, 1 / later), 0.0)
    assert merged["close"].to_list() == pytest.approx(closing)
    assert merged["cash_dividend"].to_list() == pytest.approx(events["cash_dividend"])


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_a_stored_split_does_not_hide_a_new_one_that_is_not_applied_or_applied_twice(factor: float):
    # The split 2:1 on the second day is stored; the one of 3:1 on the last is new.
    closing = [400.0, 200.0, 204.0, 206.0, 69.0]
    true = bars(closing, split_ratio=[1.0, 2.0, 1.0, 1.0, 3.0])
    wrong = pl.Series([factor] * 4 + [1.0])
    merged, notes = merge_bars(true[:3], scaled(true, wrong, 1 / wrong), 0.0)
    assert merged[:3].equals(true[:3])
    assert merged["close"].to_list() == pytest.approx(closing)
    assert "splits" in notes[0]


def test_a_factor_that_is_no_known_split_is_refused():
    old = bars([400.0, 404.0, 408.0])
    new = bars([400.0, 404.0, 408.0, 205.0], split_ratio=[1.0, 1.0, 1.0, 2.0])
    factor = pl.Series([3.0, 3.0, 3.0, 1.0])
    with pytest.raises(RevisionError, match=r"AAA .* close: old 400.0, new 1200.0"):
        merge_bars(old, scaled(new, factor, 1 / factor), 0.0)


def test_a_stored_history_that_turns_out_to_be_wrong_is_refused():
    # Stored: the bars before the split already divided by it, the split not listed. The new answer
    # is the right one, and everything stored before is on another basis.
    old = bars([100.0, 101.0, 102.0])
    new = bars([400.0, 404.0, 102.0], split_ratio=[1.0, 1.0, 4.0])
    new = new.with_columns(volume=old["volume"] / pl.Series([4.0, 4.0, 1.0]))
    with pytest.raises(RevisionError, match=r"close: old 100.0, new 400.0"):
        merge_bars(old, new, 0.0)


def test_a_dividend_that_is_listed_late_is_taken_over_and_noted():
    old = bars([10.0, 11.0, 12.0])
    new = bars([10.0, 11.0, 12.0, 13.0], cash_dividend=[0.0, 0.25, 0.0, 0.0])
    merged, notes = merge_bars(old, new, 0.0)
    assert merged["cash_dividend"].to_list() == [0.0, 0.25, 0.0, 0.0]
    assert notes == [f"AAA {SESSIONS[1]} cash_dividend: 0.25 was listed later"]


def test_a_split_that_is_listed_late_is_taken_over_only_if_the_prices_show_it():
    shown = bars([400.0, 100.0])
    merged, _ = merge_bars(shown, shown.with_columns(split_ratio=pl.Series([1.0, 4.0])), 0.0)
    assert merged["split_ratio"].to_list() == [1.0, 4.0]
    hidden = bars([400.0, 401.0])
    with pytest.raises(RevisionError, match=r"split_ratio: old 1.0, new 4.0"):
        merge_bars(hidden, hidden.with_columns(split_ratio=pl.Series([1.0, 4.0])), 0.0)


def test_a_dividend_that_disappears_is_refused():
    old = bars([10.0, 11.0], cash_dividend=[0.0, 0.25])
    with pytest.raises(RevisionError, match=r"cash_dividend: old 0.25, new 0.0"):
        merge_bars(old, old.with_columns(cash_dividend=pl.lit(0.0)), 0.0)


def test_a_volume_may_be_corrected_as_far_as_the_config_allows():
    old = bars([10.0, 11.0])
    new = old.with_columns(pl.col("volume") * 1.04)
    with pytest.raises(RevisionError, match=r"volume: old .* with max_volume_revision\."):
        merge_bars(old, new, 0.0)
    merged, _ = merge_bars(old, new, 0.05)
    assert merged.equals(old)


@settings(max_examples=40, deadline=None)
@given(
    closing=st.lists(st.floats(5, 500), min_size=4, max_size=12),
    ratio=st.sampled_from([2.0, 3.0, 4.0, 10.0, 0.1, 1.5]),
    cut=st.integers(1, 3),
)
def test_putting_a_split_into_the_history_never_changes_what_is_stored(
    closing: list[float], ratio: float, cut: int
):
    # Every price but the last is before the split; the market does not move on that day.
    prices = [*closing, closing[-1] / ratio]
    true = bars(prices, split_ratio=[1.0] * len(closing) + [ratio])
    factor = pl.Series([1 / ratio] * len(closing) + [1.0])
    old = true[: len(closing) - cut + 1]
    merged, _ = merge_bars(old, scaled(true, factor, 1 / factor), 0.0)
    assert merged[: old.height].equals(old)
    assert merged["close"].to_list() == pytest.approx(prices)


def test_macro_values_are_appended_and_compared():
    old = macro()
    later = macro(released_at=[moment + timedelta(days=7) for moment in old["released_at"]])
    merged, notes = merge_macro(old, pl.concat([old[1:], later]))
    assert merged.equals(pl.concat([old, later]))
    assert notes == []
    with pytest.raises(RevisionError, match=r"VIX 2013-03-01.* old 15.4, new 15.6"):
        merge_macro(old, macro(value=[15.5, 15.6, 14.0]))


def test_a_macro_value_that_arrives_after_its_successor_is_noted():
    whole = macro()
    merged, notes = merge_macro(whole[[0, 2]], whole)
    assert merged.equals(whole)
    assert notes == ["VIX: 1 values arrived late, the first of 2013-03-01 21:00:00+00:00"]


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_value_that_is_not_there_any_more_is_refused(value: float | None):
    old = bars([10.0, 11.0, 12.0])
    gone = pl.when(pl.col("closed_at") == SESSIONS[1]).then(pl.lit(value)).otherwise("close")
    with pytest.raises(RevisionError, match=rf"AAA {SESSIONS[1]:%F} .* close: old 11.0, new"):
        merge_bars(old, old.with_columns(close=gone), 0.0)


@pytest.mark.parametrize("price", [12.0, 1500.0, 20_000.0])
def test_a_cent_is_never_taken_for_rounding(price: float):
    old = bars([price, price, price])
    moved = old.with_columns(close=pl.lit(price + 0.01))
    with pytest.raises(RevisionError, match="close"):
        merge_bars(old, moved, 0.0)
    # Single precision, in which Yahoo rounds, is no change even of a very high price.
    single = pl.col("close").cast(pl.Float32).cast(pl.Float64)
    high = bars([642_871.37, 642_911.83])
    merged, _ = merge_bars(high, high.with_columns(close=single), 0.0)
    assert merged.equals(high)


def test_bars_that_the_source_lacks_now_or_delivers_late_are_noted():
    whole = bars([10.0, 11.0, 12.0, 13.0])
    merged, notes = merge_bars(whole[[0, 1, 3]], whole[[0, 2, 3]], 0.0)
    assert merged.equals(whole)
    assert notes == [
        f"AAA: 1 bars are not delivered any more and stay as stored, the first of {SESSIONS[1]}",
        f"AAA: 1 bars arrived after their successors, the first of {SESSIONS[2]}",
    ]


def test_many_changes_are_counted_and_twenty_shown():
    old = bars([10.0] * 15)
    with pytest.raises(RevisionError, match=r"\(60 in all\)") as refused:
        merge_bars(old, old.with_columns(pl.col(PRICES) * 1.5), 0.0)
    assert str(refused.value).count("old ") == 20
    assert datetime(2024, 5, 1, 20, tzinfo=UTC) == SESSIONS[0]
