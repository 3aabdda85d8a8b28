from datetime import UTC, date, datetime

import polars as pl
import pytest

from ploutos.market.grid import MINUTES, bar_grid, period_start

# The week of Thanksgiving 2020: sessions of 390 minutes on Mon, Tue, Wed and of 210 on Friday.
WEEK = (date(2020, 11, 23), date(2020, 11, 29))


@pytest.mark.parametrize(("interval", "minutes"), MINUTES.items())
def test_bars_fill_every_session_without_a_hole(interval: str, minutes: int):
    grid = bar_grid("XNYS", interval, *WEEK)
    assert grid.height == sum(-(-length // minutes) for length in (390, 390, 390, 210))
    lengths = (grid["closed_at"] - grid["start"]).dt.total_minutes()
    assert lengths.sum() == 3 * 390 + 210
    assert lengths.max() == min(minutes, 390)
    assert grid["closed_at"].is_sorted()
    assert grid["closed_at"].n_unique() == grid.height


def test_a_daily_bar_is_a_session():
    grid = bar_grid("XNYS", "1d", *WEEK)
    assert [day.day for day in grid["start"]] == [23, 24, 25, 27]
    assert grid["closed_at"][-1] == datetime(2020, 11, 27, 18, tzinfo=UTC)


def test_a_week_without_a_monday_still_begins_on_it():
    # Labor Day 2020 was Monday 7 September.
    grid = bar_grid("XNYS", "1wk", date(2020, 9, 7), date(2020, 9, 7))
    assert grid.rows() == [(date(2020, 9, 7), datetime(2020, 9, 11, 20, tzinfo=UTC))]
    assert period_start("XNYS", "1wk", date(2020, 9, 9)) == date(2020, 9, 7)


def test_a_month_ends_with_its_last_session():
    grid = bar_grid("XNYS", "1mo", date(2021, 1, 1), date(2021, 12, 31))
    assert grid.height == 12
    assert grid["closed_at"][0] == datetime(2021, 1, 29, 21, tzinfo=UTC)
    assert grid["closed_at"][4] == datetime(2021, 5, 28, 20, tzinfo=UTC)
    assert period_start("XNYS", "1mo", date(2021, 5, 28)) == date(2021, 5, 1)


def test_a_quarter_ends_with_its_last_session():
    grid = bar_grid("XNYS", "3mo", date(2021, 1, 1), date(2021, 12, 31))
    assert [(row[0].month, row[1].date()) for row in grid.rows()] == [
        (1, date(2021, 3, 31)),
        (4, date(2021, 6, 30)),
        (7, date(2021, 9, 30)),
        (10, date(2021, 12, 31)),
    ]
    assert period_start("XNYS", "3mo", date(2021, 6, 1)) == date(2021, 4, 1)


def test_five_sessions_are_counted_without_a_hole_and_hold_every_session():
    days = (date(2020, 8, 3), date(2021, 1, 31))
    grid = bar_grid("XNYS", "5d", *days)
    sessions = bar_grid("XNYS", "1d", grid["start"][0], grid["closed_at"][-1].date())
    assert grid["start"].to_list() == sessions["start"].to_list()[::5]
    assert grid["closed_at"].to_list() == sessions["closed_at"].to_list()[4::5]
    for day, start in ((grid["start"][3], grid["start"][3]), (days[1], grid["start"][-1])):
        assert period_start("XNYS", "5d", day) == start


def test_another_exchange_has_other_hours():
    grid = bar_grid("XLON", "60m", date(2021, 3, 26), date(2021, 3, 29))
    starts = grid.filter(pl.col("start").dt.date() == date(2021, 3, 26))["start"]
    assert starts[0] == datetime(2021, 3, 26, 8, 0, tzinfo=UTC)
    assert grid["closed_at"][-1] == datetime(2021, 3, 29, 15, 30, tzinfo=UTC)  # summer time since
