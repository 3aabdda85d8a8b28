from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ploutos.errors import SourceError
from ploutos.market import IngestConfig, MarketData, fetch
from ploutos.market.config import YahooSource
from tests.market.yahoo_server import Listed, YahooServer, opens_at, running, trading_period

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


def midnight(day: date) -> int:
    return opens_at(day) - 9 * 3600 - 1800


def test_weeks_and_months_end_with_their_last_session(yahoo: YahooServer):
    mondays = [date(2020, 11, 9), date(2020, 11, 16), date(2020, 11, 23), date(2020, 11, 30)]
    rows = [(10.0 + n, 12.0 + n, 9.0 + n, 11.0 + n, 100) for n in range(4)]
    listed = yahoo.listed["MSFT"]
    listed.others["1wk"] = dict(zip(map(midnight, mondays), rows, strict=True))
    months = [date(2020, 10, 1), date(2020, 11, 1)]
    listed.others["1mo"] = dict(zip(map(midnight, months), rows[:2], strict=True))
    # Asked from a Wednesday on, the week is fetched from its Monday; the last one is not over.
    weekly = load(yahoo, "1wk", start_on=date(2020, 11, 11), now=datetime(2020, 12, 2, tzinfo=UTC))
    assert weekly.bars["closed_at"].to_list() == [
        datetime(2020, 11, 13, 21, tzinfo=UTC),
        datetime(2020, 11, 20, 21, tzinfo=UTC),
        datetime(2020, 11, 27, 18, tzinfo=UTC),
    ]
    assert weekly.bars["open"].to_list() == [10.0, 11.0, 12.0]
    monthly = load(yahoo, "1mo", start_on=date(2020, 10, 5), now=datetime(2020, 12, 2, tzinfo=UTC))
    assert monthly.bars["closed_at"].to_list() == [
        datetime(2020, 10, 30, 20, tzinfo=UTC),
        datetime(2020, 11, 30, 21, tzinfo=UTC),
    ]


def test_a_split_counts_from_the_first_bar_of_its_day(yahoo: YahooServer):
    yahoo.listed["MSFT"].splits = {DAYS[2]: 2.0}
    data = load(yahoo, "60m")
    first_of_day = datetime(2020, 11, 25, 15, 30, tzinfo=UTC)
    split = data.bars.filter(pl.col("split_ratio") != 1)
    assert split["closed_at"].to_list() == [first_of_day]
    before = data.bars.filter(pl.col("closed_at") < first_of_day)
    plain = [row[3] for row in list(session_bars(60).values())[: before.height]]
    assert before["close"].to_list() == [2 * close for close in plain]
