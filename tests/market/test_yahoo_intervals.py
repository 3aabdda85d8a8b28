from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ploutos.errors import SourceError
from ploutos.market import IngestConfig, MarketData, fetch, load_snapshot, update_snapshot
from ploutos.market.config import YahooSource
from ploutos.market.quality import survey
from tests.market.yahoo_server import (
    Listed,
    YahooServer,
    opens_at,
    running,
    trading_period,
    weekdays,
)

# The week of Thanksgiving 2020: no session on Thursday 26th, and 27th closes at 13:00.
DAYS = (date(2020, 11, 23), date(2020, 11, 24), date(2020, 11, 25), date(2020, 11, 27))
HALF_DAY = DAYS[-1]
NOW = datetime(2020, 11, 28, 12, tzinfo=UTC)
MINUTES = {"1m": 1, "2m": 2, "5m": 5, "15m": 15, "30m": 30, "60m": 60, "90m": 90, "1h": 60}

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def session_bars(minutes: int) -> dict[int, tuple[float | None, ...]]:
    starts: list[int] = []
    for day in DAYS:
        hours = 3.5 if day == HALF_DAY else 6.5
        starts += range(opens_at(day), opens_at(day) + int(hours * 3600), minutes * 60)
    return {
        start: (100.0 + n, 102.0 + n, 99.0 + n, 101.0 + n, 500) for n, start in enumerate(starts)
    }


@pytest.fixture
def yahoo(home: Path) -> Iterator[YahooServer]:
    bars = {name: session_bars(minutes) for name, minutes in MINUTES.items()}
    periods = [trading_period(day, (13, 0) if day == HALF_DAY else (16, 0)) for day in DAYS]
    with running() as server:
        server.listed["MSFT"] = Listed(
            {}, first_trade=date(1986, 3, 13), others=bars, trading_periods=periods
        )
        yield server


def load(server: YahooServer, interval: str, now: datetime = NOW, **source) -> MarketData:
    values = {
        "symbols": ("MSFT",),
        "start_on": DAYS[0],
        "interval": interval,
        "macro": (),
        "network": {"attempts": 1},
    }
    config = IngestConfig(source=YahooSource.model_validate(values | source))
    return fetch(config, session=server.session(), now=now)


# Minutes of the four sessions, 3 x 390 and 210, in bars that begin with the session.
@pytest.mark.parametrize(
    ("interval", "count"),
    [
        ("1m", 3 * 390 + 210),
        ("2m", 3 * 195 + 105),
        ("5m", 3 * 78 + 42),
        ("15m", 3 * 26 + 14),
        ("30m", 3 * 13 + 7),
        ("60m", 3 * 7 + 4),
        ("90m", 3 * 5 + 3),
        ("1h", 3 * 7 + 4),
    ],
)
def test_bars_inside_a_session_are_stamped_by_their_closes(
    yahoo: YahooServer, interval: str, count: int
):
    data = load(yahoo, interval)
    closed = data.bars["closed_at"].to_list()
    first_open = datetime(2020, 11, 23, 14, 30, tzinfo=UTC)
    assert data.interval == interval
    assert len(closed) == count
    assert closed[0] == first_open + timedelta(minutes=MINUTES[interval])
    # The last bar of a session ends with it, on a half day too.
    assert datetime(2020, 11, 25, 21, tzinfo=UTC) in closed
    assert closed[-1] == datetime(2020, 11, 27, 18, tzinfo=UTC)
    assert data.quarantine.is_empty()


def test_a_bar_that_is_not_finished_is_left_out(yahoo: YahooServer):
    # 30 minutes after the second hour of the first session, which ended at 16:30 UTC.
    data = load(yahoo, "60m", now=datetime(2020, 11, 23, 17, 0, tzinfo=UTC))
    assert data.bars["closed_at"].to_list() == [
        datetime(2020, 11, 23, 15, 30, tzinfo=UTC),
        datetime(2020, 11, 23, 16, 30, tzinfo=UTC),
    ]


def test_a_missing_bar_inside_a_session_is_refused_with_its_start(yahoo: YahooServer):
    del yahoo.listed["MSFT"].others["60m"][opens_at(DAYS[1]) + 3600]
    with pytest.raises(SourceError, match=r"24 bars of 25 .*2020-11-24 15:30:00"):
        load(yahoo, "60m")
    assert load(yahoo, "60m", max_missing_bars=1).bars.height == 24


def test_a_bar_off_the_schedule_goes_into_quarantine(yahoo: YahooServer):
    yahoo.listed["MSFT"].others["5m"][opens_at(DAYS[1]) + 61] = (1.0, 1.0, 1.0, 1.0, 5)
    data = load(yahoo, "5m")
    assert data.bars.height == 3 * 78 + 42
    (row,) = data.quarantine.to_dicts()
    assert row["stamp"] == "2020-11-24 14:31:01+00:00"
    assert row["reason"] == "the exchange's schedule has no such bar"


def test_days_that_yahoo_keeps_no_more_are_refused(yahoo: YahooServer):
    with pytest.raises(SourceError, match=r"keeps 1m bars for 30 days; .* 2020-10-30 on, received"):
        load(yahoo, "1m", start_on=date(2020, 10, 29))


def test_one_minute_bars_are_asked_for_week_by_week(yahoo: YahooServer):
    assert load(yahoo, "1m", start_on=date(2020, 11, 2), max_missing_bars=10**6).bars.height > 1000
    asked = [(int(q["period1"]), int(q["period2"])) for q in yahoo.histories_of("MSFT")]
    assert len(asked) == 4
    assert all(last - first <= 8 * 86400 for first, last in asked[:-1])


# All sessions of autumn 2020, as the exchange published them.
HOLIDAYS = (date(2020, 9, 7), date(2020, 11, 26), date(2020, 12, 25))
AUTUMN = weekdays(date(2020, 8, 31), 85, holidays=HOLIDAYS)


def autumn_rows() -> dict[date, tuple[float | None, ...]]:
    return {
        day: (50.0 + n, 53.0 + n + n % 3, 49.0 + n - n % 2, 51.0 + n, 1000.0 + n)
        for n, day in enumerate(AUTUMN)
    }


def by_pandas(rule: str) -> pd.DataFrame:
    """The same rows, joined by another library."""
    names = ["open", "high", "low", "close", "volume"]
    daily = pd.DataFrame.from_dict(autumn_rows(), orient="index", columns=names)
    daily.index = pd.to_datetime(daily.index)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    return daily.resample(rule, label="left", closed="left").agg(how)


@pytest.mark.parametrize(
    ("interval", "first_on", "now", "joined", "last"),
    [
        ("1wk", date(2020, 11, 11), date(2020, 12, 3), ("W-MON", "2020-11-09"), (11, 27, 18)),
        ("1mo", date(2020, 9, 5), date(2020, 12, 2), ("MS", "2020-09-01"), (11, 30, 21)),
        ("3mo", date(2020, 9, 15), date(2020, 12, 31), ("QS", "2020-07-01"), (9, 30, 20)),
    ],
)
def test_longer_bars_are_those_that_pandas_makes_of_the_daily_ones(
    yahoo: YahooServer,
    interval: str,
    first_on: date,
    now: date,
    joined: tuple[str, str],
    last: tuple[int, int, int],
):
    # The symbol is first traded inside the quarter, of which the bar then holds a part.
    yahoo.listed["MSFT"] = Listed(autumn_rows())
    midnight = datetime(now.year, now.month, now.day, tzinfo=UTC)
    data = load(yahoo, interval, midnight, start_on=first_on)
    rule, starts = joined
    expected = by_pandas(rule)[starts:][: data.bars.height]
    names = ("open", "high", "low", "close", "volume")
    assert data.bars.select(names).rows() == list(expected.itertuples(index=False, name=None))
    # Stamped by the close of the last session, the half day after Thanksgiving included.
    assert data.bars["closed_at"][-1] == datetime(2020, *last, tzinfo=UTC)
    assert data.interval == interval
    assert {query["interval"] for query in yahoo.histories_of("MSFT")} == {"1d"}


def test_bars_of_five_sessions_do_not_depend_on_the_first_day_asked_for(yahoo: YahooServer):
    yahoo.listed["MSFT"] = Listed(autumn_rows(), first_trade=date(1986, 3, 13))
    now = datetime(2020, 12, 31, tzinfo=UTC)
    whole = load(yahoo, "5d", now, start_on=AUTUMN[10]).bars
    later = load(yahoo, "5d", now, start_on=AUTUMN[33]).bars
    assert 3 < later.height < whole.height
    assert later.equals(whole.tail(later.height))
    ends = [AUTUMN.index(moment.date()) for moment in whole["closed_at"]]
    assert set(np.diff(ends)) == {5}
    rows = autumn_rows()
    for end, bar in zip(ends, whole.iter_rows(named=True), strict=True):
        five = [rows[day] for day in AUTUMN[end - 4 : end + 1]]
        assert (bar["open"], bar["close"]) == (five[0][0], five[-1][3])
        assert bar["high"] == max(row[1] for row in five)
        assert bar["volume"] == sum(row[4] for row in five)


def test_a_missing_day_inside_a_longer_bar_is_refused_with_its_date(yahoo: YahooServer):
    rows = autumn_rows()
    del rows[date(2020, 11, 24)]
    yahoo.listed["MSFT"] = Listed(rows, first_trade=date(1986, 3, 13))
    now = datetime(2020, 12, 2, tzinfo=UTC)
    with pytest.raises(SourceError, match="missing are 2020-11-24"):
        load(yahoo, "1wk", now)
    (bar,) = load(yahoo, "1wk", now, max_missing_bars=1).bars.to_dicts()
    assert bar["closed_at"] == datetime(2020, 11, 27, 18, tzinfo=UTC)
    assert bar["close"] == rows[date(2020, 11, 27)][3]


def test_weekly_bars_are_continued_week_by_week(yahoo: YahooServer):
    yahoo.listed["MSFT"] = Listed(autumn_rows(), first_trade=date(1986, 3, 13))
    source = YahooSource(symbols=("MSFT",), start_on=date(2020, 9, 14), interval="1wk", macro=())
    config = IngestConfig(source=source)
    first, second = (
        load_snapshot(
            update_snapshot(config, yahoo.session(), datetime(2020, month, 9, tzinfo=UTC))
        )
        for month in (11, 12)
    )
    assert second.bars[: first.bars.height].equals(first.bars)
    assert second.bars.height == first.bars.height + 4
    asked = int(yahoo.histories_of("MSFT")[1]["period1"])
    assert datetime.fromtimestamp(asked, UTC).date() == date(2020, 10, 5)
    assert survey(second)["missing"].to_list() == [0]


def test_a_split_counts_from_the_first_bar_of_its_day(yahoo: YahooServer):
    yahoo.listed["MSFT"].splits = {DAYS[2]: 2.0}
    data = load(yahoo, "60m")
    first_of_day = datetime(2020, 11, 25, 15, 30, tzinfo=UTC)
    split = data.bars.filter(pl.col("split_ratio") != 1)
    assert split["closed_at"].to_list() == [first_of_day]
    before = data.bars.filter(pl.col("closed_at") < first_of_day)
    plain = [row[3] for row in list(session_bars(60).values())[: before.height]]
    assert before["close"].to_list() == [2 * close for close in plain]
