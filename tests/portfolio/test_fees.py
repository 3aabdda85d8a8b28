from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from math import ceil
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ploutos.portfolio.fees import SECTION_31_FEES, TRADING_ACTIVITY_FEES, sell_fees

SECOND_NS = 10**9
ZONE = ZoneInfo("America/New_York")
TABLES = [SECTION_31_FEES, TRADING_ACTIVITY_FEES]


def ns(*utc):
    return int(datetime(*utc, tzinfo=UTC).timestamp()) * SECOND_NS


def fees_at(*instants):
    return sell_fees(np.array(instants, np.int64))


def fees_of(year, month, day):
    # 20:00 UTC is the close of New York in summer and an hour before it in winter.
    return fees_at(ns(year, month, day, 20))[0]


def rates_of(day):
    """Return the rates of a day by reading both tables line by line."""
    section_31, activity, maximum = 0.0, 0.0, 0.0
    for row in SECTION_31_FEES:
        if row.since <= day:
            section_31 = row.usd_per_million / 1e6
    for row in TRADING_ACTIVITY_FEES:
        if row.since <= day:
            activity, maximum = row.usd_per_share, row.maximum_usd
    return [section_31, activity, maximum]


def test_selling_10_000_dollars_in_june_2024_pays_28_cents_to_the_sec():
    # 27.80 per million is 0.278, which brokers round up to a cent.
    fee = 10_000 * fees_of(2024, 6, 14)[0]
    assert fee == pytest.approx(0.278, rel=1e-12)
    assert ceil(fee * 100) == 28


@pytest.mark.parametrize(
    ("day", "published"),
    [
        # A trader's sum on the change of April 2009 (marketrewind.blogspot.com, 2009-04-03).
        ((2009, 4, 9), 0.056),
        ((2009, 4, 10), 0.257),
        # Motif Investing, "What are regulatory transaction fees?"
        ((2018, 1, 16), 0.231),
        # The SEC's fee was nothing for eleven months.
        ((2025, 5, 13), 0.278),
        ((2025, 5, 14), 0.0),
        ((2026, 4, 3), 0.0),
        ((2026, 4, 6), 0.206),
    ],
)
def test_selling_10_000_dollars_pays_the_published_section_31_fee(day, published):
    assert 10_000 * fees_of(*day)[0] == pytest.approx(published, rel=1e-12)


@pytest.mark.parametrize(
    ("day", "shares", "published"),
    [
        # brokerage-review.com of 2024: 1,000 shares cost 0.17, at most 8.30.
        ((2024, 3, 1), 1_000, 0.166),
        ((2024, 3, 1), 1_000_000, 8.30),
        # DriveWealth of 2021: 5.95 from 50,000 shares on.
        ((2021, 6, 1), 49_999, 5.949881),
        ((2021, 6, 1), 50_001, 5.95),
        # Alpaca of 2026: the maximum is reached with 50,205 shares, give or take a tenth of a cent.
        ((2026, 6, 1), 50_204, 9.78978),
        ((2026, 6, 1), 50_206, 9.79),
        # Waived by FINRA in the last quarter of 2026.
        ((2026, 12, 31), 1_000_000, 0.0),
        ((2027, 1, 4), 1_000, 0.195),
    ],
)
def test_selling_shares_pays_the_published_activity_fee(day, shares, published):
    _, per_share, maximum = fees_of(*day)
    assert min(shares * per_share, maximum) == pytest.approx(published, rel=1e-12)


@pytest.mark.parametrize(
    ("midnight", "column"),
    [
        (ns(2024, 5, 22, 4), 0),  # summer time: four hours behind
        (ns(2023, 2, 27, 5), 0),  # winter time: five hours behind
        (ns(2026, 4, 4, 4), 0),
        (ns(2022, 1, 1, 5), 1),
        (ns(2012, 7, 1, 4), 2),
    ],
)
def test_a_rate_changes_at_midnight_new_york_to_the_nanosecond(midnight, column):
    fees = fees_at(midnight - 1, midnight, midnight + 1)[:, column]
    assert fees[0] != fees[1]
    assert fees[1] == fees[2]


@pytest.mark.parametrize("table", TABLES)
def test_every_row_begins_at_midnight_new_york_of_its_day(table):
    for row in table:
        midnight = datetime(row.since.year, row.since.month, row.since.day, tzinfo=ZONE)
        start = int(midnight.timestamp()) * SECOND_NS
        before, after = fees_at(start - 1, start).tolist()
        assert before == rates_of(row.since - timedelta(days=1))
        assert after == rates_of(row.since)


def test_before_its_table_a_fee_is_nothing():
    assert fees_at(ns(1990, 1, 2, 21), ns(1997, 1, 1, 5) - 1).tolist() == [[0.0] * 3] * 2
    # Shares were sold under Section 31 before there was an activity fee.
    assert fees_of(2002, 9, 30).tolist() == [30.10 / 1e6, 0.0, 0.0]
    assert fees_of(2002, 10, 1).tolist() == [30.10 / 1e6, 0.00005, 5.0]


def test_the_last_rates_hold_on():
    assert fees_of(2028, 12, 29).tolist() == [20.60 / 1e6, 0.000195, 9.79]


@pytest.mark.parametrize("table", TABLES)
def test_first_days_ascend_and_every_row_names_its_source(table):
    days = [row.since for row in table]
    assert all(first < second for first, second in pairwise(days))
    assert all(row.source for row in table)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_changes_its_fee(table):
    rates = [row[1:-1] for row in table]
    assert all(first != second for first, second in pairwise(rates))


def test_rates_have_the_size_of_their_unit():
    assert all(0.0 <= row.usd_per_million < 50.0 for row in SECTION_31_FEES)
    # FINRA sets the maximum near the fee of 50,000 shares, until 2004 of 100,000.
    for row in TRADING_ACTIVITY_FEES:
        if row.maximum_usd > 0.0:
            shares = 100_000 if row.since < date(2004, 11, 1) else 50_000
            assert row.maximum_usd == pytest.approx(row.usd_per_share * shares, rel=0.005)


def test_one_row_of_three_fees_is_returned_per_close_and_the_closes_are_kept():
    closed_at = np.array([ns(2024, 6, 14, 20), ns(2001, 1, 2, 21), ns(2024, 6, 14, 20)], np.int64)
    kept = closed_at.copy()
    fees = sell_fees(closed_at)
    assert fees.shape == (3, 3)
    assert fees.dtype == np.float64
    assert fees[0].tolist() == fees[2].tolist() == [27.80 / 1e6, 0.000166, 8.30]
    assert fees[1].tolist() == [33.33 / 1e6, 0.0, 0.0]
    assert closed_at.tolist() == kept.tolist()


def test_no_close_has_no_fee():
    assert sell_fees(np.empty(0, np.int64)).shape == (0, 3)


@given(st.lists(st.integers(ns(1996, 1, 1), ns(2030, 1, 1)), min_size=1, max_size=20))
def test_fees_are_those_of_the_new_york_day(instants):
    days = [datetime.fromtimestamp(one // SECOND_NS, ZONE).date() for one in instants]
    assert fees_at(*instants).tolist() == [rates_of(day) for day in days]
