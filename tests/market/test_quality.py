import math
from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.calendar import closes
from ploutos.errors import DataError
from ploutos.market import IngestConfig, fetch, load_snapshot, save_snapshot
from ploutos.market.config import FilesSource, QualityConfig
from ploutos.market.data import MarketData, empty_quarantine
from ploutos.market.quality import check_share, set_aside, survey
from ploutos.market.schema import BAR_TYPES, check_bars, empty_bars, empty_macro

# Thanksgiving week and the one after: the 23rd is a half day, the 22nd no session.
SESSIONS = closes("XNYS", date(2012, 11, 19), date(2012, 11, 30))["closed_at"].to_list()
STRICT = QualityConfig()


def bars(symbol: str = "AAA", **columns) -> pl.DataFrame:
    count = len(SESSIONS)
    values = {
        "symbol": [symbol] * count,
        "closed_at": SESSIONS,
        "open": [10.0 + n for n in range(count)],
        "high": [12.0 + n for n in range(count)],
        "low": [9.0 + n for n in range(count)],
        "close": [11.0 + n for n in range(count)],
        "volume": [1000.0] * count,
        "split_ratio": [1.0] * count,
        "cash_dividend": [0.0] * count,
    }
    return pl.DataFrame(values | columns, schema=BAR_TYPES)


def changed(column: str, value: float | None, row: int = 3) -> pl.DataFrame:
    values = bars()[column].to_list()
    values[row] = value
    return bars(**{column: values})


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("open", math.nan, "open: expected a finite price > 0"),
        ("close", math.inf, "close: expected a finite price > 0"),
        ("close", None, "close: expected a finite price > 0"),
        ("low", 0.0, "low: expected a finite price > 0"),
        ("high", 1.0, "high: expected high >= open and close"),
        ("low", 1000.0, "low: expected low <= open and close"),
        ("volume", -1.0, "volume: expected a finite number >= 0"),
        ("volume", 0.0, "no volume: nothing was traded at these prices"),
        ("split_ratio", 0.0, "split_ratio: expected a finite ratio > 0"),
        ("cash_dividend", math.nan, "cash_dividend: expected a finite number >= 0"),
    ],
)
def test_a_bad_bar_is_set_aside_with_its_values_and_the_reason(
    column: str, value: float | None, reason: str
):
    good, aside = set_aside(changed(column, value), "1d", STRICT)
    assert good.equals(bars().filter(pl.col("closed_at") != SESSIONS[3]))
    (row,) = aside.to_dicts()
    assert (row["symbol"], row["stamp"]) == ("AAA", "2012-11-23 18:00:00+00:00")
    assert reason in row["reason"]
    assert row[column] == value or (value is not None and math.isnan(value))
    assert check_bars(good, "XNYS", "test").height == len(SESSIONS) - 1


def test_good_bars_stay_as_they_are():
    good, aside = set_aside(bars(), "1d", STRICT)
    assert good.equals(bars())
    assert aside.schema == empty_quarantine().schema
    assert aside.is_empty()


def test_the_split_and_dividend_of_a_bar_set_aside_move_to_the_next_one():
    # 1 a share before a split 2:1 on the same bar, none left behind: 0.5 for each new share.
    frame = changed("close", math.nan).with_columns(
        split_ratio=pl.Series([1.0] * 3 + [2.0] + [3.0] + [1.0] * 4),
        cash_dividend=pl.Series([0.0] * 3 + [1.0] + [0.1] + [0.0] * 4),
    )
    good, _ = set_aside(frame, "1d", STRICT)
    assert good["split_ratio"][3] == 6.0
    # The dividend of the bar set aside is in its own new shares; the next split divides it by 3.
    assert good["cash_dividend"][3] == pytest.approx(1.0 / 3.0 + 0.1)
    assert good["split_ratio"].product() == 6.0


def test_a_frozen_feed_is_set_aside_from_its_fifth_bar_on():
    frozen = bars(
        **{
            name: [bars()[name][min(n, 3)] for n in range(len(SESSIONS))]
            for name in ("open", "high", "low", "close")
        }
    )
    good, aside = set_aside(frozen, "1d", STRICT)
    # The first three bars move; of the six that are the same, four stay.
    assert good["closed_at"].to_list() == SESSIONS[:7]
    assert aside.height == 2
    assert set(aside["reason"]) == {"frozen: at least the bar number 5 with the same prices"}
    # Six in a row are there; asked for seven, nothing is frozen.
    assert set_aside(frozen, "1d", QualityConfig(frozen_after_bars=7))[0].equals(frozen)
    # Within minutes, standing still is no fault.
    assert set_aside(frozen, "5m", STRICT)[1].is_empty()


@settings(max_examples=50, deadline=None)
@given(
    prices=st.lists(st.sampled_from([11.0, 12.0, math.nan, -1.0]), min_size=9, max_size=9),
    volumes=st.lists(st.sampled_from([0.0, 5.0, 5.0]), min_size=9, max_size=9),
    cut=st.integers(1, 9),
)
def test_what_comes_later_sets_no_earlier_bar_aside(
    prices: list[float], volumes: list[float], cut: int
):
    flat = dict.fromkeys(("open", "high", "low", "close"), prices)
    dividends = [0.1 * n for n in range(9)]
    whole = bars(**flat, volume=volumes, cash_dividend=dividends)
    config = QualityConfig(frozen_after_bars=3)
    good, aside = set_aside(whole, "1d", config)
    past, past_aside = set_aside(whole[:cut], "1d", config)
    assert past.equals(good.filter(pl.col("closed_at") <= SESSIONS[cut - 1]))
    assert past_aside.height + past.height == cut
    assert past_aside["stamp"].to_list() == aside["stamp"].to_list()[: past_aside.height]


def test_too_large_a_share_is_refused_with_rows_and_reasons():
    good, aside = set_aside(changed("volume", 0.0), "1d", STRICT)
    data = MarketData("x", good, empty_macro(), empty_bars(), quarantine=aside)
    with pytest.raises(DataError, match=r"AAA 2012-11-23 18:00:00\+00:00 no volume.*volume 0\.0"):
        check_share(data, STRICT)
    check_share(data, QualityConfig(max_quarantined_share=0.12))  # one of nine
    with pytest.raises(DataError):
        check_share(data, QualityConfig(max_quarantined_share=0.11))


def test_the_survey_counts_gaps_half_days_and_symbols_that_stay_behind():
    gap = bars("GAP").filter(pl.col("closed_at") != SESSIONS[4])
    stale = bars("OLD")[:6].with_columns(close=pl.Series([11.0, 11.0, 11.0, 12.0, 13.0, 14.0]))
    data = MarketData("x", pl.concat([bars(), gap, stale]), empty_macro(), empty_bars())
    table = {row["symbol"]: row for row in survey(data).to_dicts()}
    counted = ("bars", "missing", "half_days", "unchanged", "behind", "quarantined")
    assert [table["AAA"][name] for name in counted] == [9, 0, 1, 1, 0, 0]
    assert [table["GAP"][name] for name in counted] == [8, 1, 1, 1, 0, 0]
    assert [table["OLD"][name] for name in counted] == [6, 0, 1, 3, 3, 0]
    assert table["GAP"]["first_missing"] == datetime(2012, 11, 26, 21, tzinfo=UTC)
    assert table["AAA"]["first_missing"] is None


def test_the_quarantine_is_kept_in_the_snapshot(home, tmp_path):
    folder = tmp_path / "bars"
    folder.mkdir()
    lines = [
        f"{closed.date()},{10 + n},{12 + n},{9 + n},{11 + n},{0 if n == 3 else 1000}"
        for n, closed in enumerate(SESSIONS)
    ]
    (folder / "AAA.csv").write_text("\n".join(["date,open,high,low,close,volume", *lines]) + "\n")
    source = FilesSource(folder=folder)
    with pytest.raises(DataError, match="no volume"):
        fetch(IngestConfig(source=source))
    allowed = QualityConfig(max_quarantined_share=0.2)
    data = fetch(IngestConfig(source=source, quality=allowed))
    loaded = load_snapshot(save_snapshot(data))
    assert loaded.quarantine.equals(data.quarantine)
    assert loaded.quarantine["stamp"].to_list() == ["2012-11-23 18:00:00+00:00"]
    assert loaded.bars.height == 8
    assert save_snapshot(replace(data, quarantine=empty_quarantine())) != save_snapshot(data)
