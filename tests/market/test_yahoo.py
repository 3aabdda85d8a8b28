import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
import yfinance  # noqa: F401  (its import sets warning filters, which would undo ours below)

from ploutos.errors import SourceError
from ploutos.market import DataFetcher, IngestConfig, MarketData, fetch
from ploutos.market.config import NetworkTerms, YahooSource
from ploutos.market.yahoo import traded_prices
from tests.market.yahoo_server import (
    Answer,
    Listed,
    LoopbackCurlSession,
    LoopbackSession,
    YahooServer,
    running,
    weekdays,
)

FIRST = date(2020, 8, 3)
DAYS = weekdays(FIRST, 25)  # to 2020-09-04; no holiday in between
NOW = datetime(2020, 9, 5, 12, tzinfo=UTC)
SPLIT_DAY = date(2020, 8, 31)
HTML: Answer = (200, "text/html", "<html><body>Sorry, we are busy</body></html>")
TOO_MANY: Answer = (429, "text/plain", "Too Many Requests")
TRUNCATED: Answer = (200, "application/json", '{"chart": {"result": [{"meta": {"curr')
FETCH_IN_A_FRESH_PROCESS = """
import sys
from datetime import date, datetime, UTC
from ploutos.market import IngestConfig, fetch
from ploutos.market.config import NetworkTerms, YahooSource
from tests.market.yahoo_server import LoopbackSession

source = YahooSource(symbols=("MSFT",), start_on=date(2020, 8, 3), macro=())
now = datetime(2020, 9, 5, 12, tzinfo=UTC)
print(fetch(IngestConfig(source=source), LoopbackSession(sys.argv[1]), now).bars.height)
"""
EMPTY: Answer = (200, "application/json", '{"chart": {"result": [], "error": null}}')

# yfinance calls pandas in ways that pandas 4 will not know; nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def flat(days: list[date], price: float = 100.0) -> dict[date, tuple[float | None, ...]]:
    """Rows whose close and volume do not move; the high does, or they would be a frozen feed."""
    return {
        day: (price, price + 2 + number % 2, price - 1, price + 1, 1000)
        for number, day in enumerate(days)
    }


@pytest.fixture
def yahoo(home: Path) -> Iterator[YahooServer]:
    with running() as server:
        server.listed = {
            "AAPL": Listed(
                flat(DAYS, 125.0),
                dividends={date(2020, 8, 7): 0.205},
                splits={SPLIT_DAY: 4.0},
            ),
            "MSFT": Listed(flat(DAYS, 210.0), dividends={date(2020, 8, 19): 0.51}),
            "^VIX": Listed(flat(DAYS, 22.0)),
            "^TNX": Listed(flat(DAYS, 0.6)),
            "DX-Y.NYB": Listed(flat(DAYS, 92.0)),
        }
        yield server


def load(server: YahooServer, now: datetime = NOW, **source) -> MarketData:
    network = {"attempts": 3, "backoff_s": 0.01} | {
        key: source.pop(key) for key in ("attempts", "threads", "timeout_s") if key in source
    }
    values = {"symbols": ("AAPL", "MSFT"), "start_on": FIRST, "network": network}
    config = IngestConfig(source=YahooSource.model_validate(values | source))
    return fetch(config, session=server.session(), now=now)


def column(data: MarketData, symbol: str, name: str) -> dict[date, float]:
    rows = data.bars.filter(pl.col("symbol") == symbol)
    return dict(zip(rows["closed_at"].dt.date(), rows[name], strict=True))


def test_bars_and_macro_series_arrive_complete(yahoo: YahooServer):
    data = load(yahoo)
    assert data.symbols == ("AAPL", "MSFT")
    assert list(column(data, "MSFT", "close")) == DAYS
    assert set(column(data, "MSFT", "close").values()) == {211.0}
    assert set(data.macro["series"]) == {"VIX", "TNX", "DXY"}
    assert data.macro.height == 3 * 25
    assert data.provenance["as_of"] == "2020-09-04"


def test_prices_volumes_and_dividends_are_rebuilt_as_traded(yahoo: YahooServer):
    # Apple split 4:1 on 2020-08-31 and had paid 0.82 on 2020-08-07, which Yahoo lists as 0.205.
    data = load(yahoo)
    close, volume = column(data, "AAPL", "close"), column(data, "AAPL", "volume")
    assert close[date(2020, 8, 28)] == 504.0
    assert close[SPLIT_DAY] == 126.0
    assert volume[date(2020, 8, 28)] == 250.0
    assert volume[SPLIT_DAY] == 1000.0
    assert column(data, "AAPL", "split_ratio")[SPLIT_DAY] == 4.0
    assert sum(column(data, "AAPL", "split_ratio").values()) == 4.0 + 24
    assert column(data, "AAPL", "cash_dividend")[date(2020, 8, 7)] == pytest.approx(0.82)
    assert column(data, "MSFT", "cash_dividend")[date(2020, 8, 19)] == pytest.approx(0.51)


def test_a_split_after_the_last_day_asked_for_still_counts(yahoo: YahooServer):
    data = load(yahoo, end_on=date(2020, 8, 14))
    close = column(data, "AAPL", "close")
    assert max(close) == date(2020, 8, 14)
    assert set(close.values()) == {504.0}
    assert data.macro["released_at"].max() < datetime(2020, 8, 15, 4, tzinfo=UTC)


def test_two_splits_multiply_and_a_dividend_on_a_split_day_is_of_new_shares():
    frame = pl.DataFrame(
        {
            "start": DAYS[:4],
            **dict.fromkeys(("open", "high", "low", "close"), [10.0] * 4),
            "volume": [600.0] * 4,
            "dividend": [0.0, 0.1, 0.0, 0.1],
            "split": [0.0, 2.0, 0.0, 3.0],
        }
    )
    traded = traded_prices(frame)
    assert traded["close"].to_list() == [60.0, 30.0, 30.0, 10.0]
    assert traded["volume"].to_list() == [100.0, 200.0, 200.0, 600.0]
    assert traded["split_ratio"].to_list() == [1.0, 2.0, 1.0, 3.0]
    assert traded["cash_dividend"].to_list() == pytest.approx([0.0, 0.3, 0.0, 0.1])


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2020, 9, 4, 19, 59, tzinfo=UTC), date(2020, 9, 3)),  # before the close
        (datetime(2020, 9, 4, 20, 10, tzinfo=UTC), date(2020, 9, 3)),  # not settled yet
        (datetime(2020, 9, 4, 20, 30, tzinfo=UTC), date(2020, 9, 4)),
    ],
)
def test_a_partial_last_bar_is_left_out(yahoo: YahooServer, now: datetime, last: date):
    data = load(yahoo, now=now)
    assert max(column(data, "MSFT", "close")) == last
    assert data.macro["released_at"].max() <= now


def test_a_macro_value_that_is_not_settled_is_left_out(yahoo: YahooServer):
    # The VIX is released at 16:15 New York; a quarter of an hour later Yahoo may still change it.
    for minute, last in ((44, date(2020, 9, 3)), (45, date(2020, 9, 4))):
        data = load(yahoo, now=datetime(2020, 9, 4, 20, minute, tzinfo=UTC), macro=("VIX",))
        assert data.macro["released_at"].max().date() == last


@pytest.mark.parametrize(
    "answer", [HTML, TOO_MANY, TRUNCATED], ids=["HTML", "rate limit", "truncated"]
)
def test_a_passing_trouble_is_asked_again(yahoo: YahooServer, answer: Answer):
    # yfinance itself asks twice when it is refused, so one trouble may eat two answers.
    yahoo.first_answers["MSFT"] = [answer, answer]
    assert list(column(load(yahoo), "MSFT", "close")) == DAYS


@pytest.mark.parametrize(
    "answer", [HTML, TOO_MANY, TRUNCATED], ids=["HTML", "rate limit", "truncated"]
)
def test_a_lasting_trouble_ends_after_the_attempts_and_names_the_symbol(
    yahoo: YahooServer, home: Path, answer: Answer
):
    yahoo.first_answers["MSFT"] = [answer] * 1000
    with pytest.raises(SourceError, match="MSFT: 3 attempts failed") as refused:
        load(yahoo)
    assert "AAPL" not in str(refused.value)
    assert "1 of 2 symbols" in str(refused.value)
    assert not (home / "snapshots").exists()
    assert 1000 - len(yahoo.first_answers["MSFT"]) < 20


def test_an_unknown_symbol_is_refused_by_name_and_not_asked_for_again_and_again(
    yahoo: YahooServer,
):
    with pytest.raises(SourceError, match="NOPE: unknown to Yahoo"):
        load(yahoo, symbols=("AAPL", "NOPE"), attempts=10)
    # yfinance looks in several places for the time zone; our ten attempts must not multiply that.
    assert len([name for name, _ in yahoo.asked if name == "NOPE"]) < 10


def test_an_answer_without_bars_is_refused(yahoo: YahooServer):
    load(yahoo)  # the time zone is known from here on
    yahoo.first_answers["MSFT"] = [EMPTY] * 1000
    with pytest.raises(SourceError, match="MSFT: unknown to Yahoo, or without data"):
        load(yahoo)


def test_a_symbol_that_answers_under_another_name_is_refused(yahoo: YahooServer):
    yahoo.listed["FB"] = Listed(flat(DAYS), renamed_to="META")
    with pytest.raises(SourceError, match="FB: Yahoo answered for 'META'"):
        load(yahoo, symbols=("FB",))


@pytest.mark.parametrize("gone", [0, 12, 24], ids=["first", "middle", "last"])
def test_a_missing_session_is_refused_with_its_date(yahoo: YahooServer, gone: int):
    del yahoo.listed["MSFT"].rows[DAYS[gone]]
    yahoo.listed["MSFT"].first_trade = date(1986, 3, 13)
    with pytest.raises(SourceError, match=f"MSFT: .* 24 bars of 25 .*{DAYS[gone]}"):
        load(yahoo)


def test_missing_sessions_may_be_allowed(yahoo: YahooServer):
    del yahoo.listed["MSFT"].rows[DAYS[12]]
    assert DAYS[12] not in column(load(yahoo, max_missing_bars=1), "MSFT", "close")


def test_a_symbol_listed_later_begins_with_its_first_day(yahoo: YahooServer):
    yahoo.listed["NEW"] = Listed(flat(DAYS[10:]))
    assert list(column(load(yahoo, symbols=("NEW",)), "NEW", "close")) == DAYS[10:]


def test_a_row_of_nulls_counts_as_missing(yahoo: YahooServer):
    yahoo.listed["MSFT"].rows[DAYS[5]] = (None, None, None, None, None)
    with pytest.raises(SourceError, match=str(DAYS[5])):
        load(yahoo)


def test_macro_series_that_are_not_asked_for_are_declared_missing(yahoo: YahooServer):
    data = load(yahoo, macro=("VIX",))
    assert data.missing_series == ("TNX", "DXY")
    assert {name for name, _ in yahoo.asked} == {"AAPL", "MSFT", "^VIX"}


def test_never_more_requests_at_once_than_threads(yahoo: YahooServer):
    yahoo.delay_s = 0.05
    yahoo.listed |= {f"S{number}": Listed(flat(DAYS)) for number in range(6)}
    load(yahoo, symbols=tuple(f"S{number}" for number in range(6)), threads=2)
    assert yahoo.most_at_once == 2


def test_the_history_is_asked_for_up_to_the_present(yahoo: YahooServer):
    load(yahoo, end_on=date(2020, 8, 14))
    (query,) = yahoo.histories_of("AAPL")
    assert query["interval"] == "1d"
    assert int(query["period2"]) > datetime(2025, 1, 1, tzinfo=UTC).timestamp()


def test_yahoos_caches_stay_under_the_home_folder(yahoo: YahooServer, home: Path):
    # yfinance fixes the place of its cache once per process: look at it in a fresh one.
    done = subprocess.run(
        [sys.executable, "-c", FETCH_IN_A_FRESH_PROCESS, yahoo.url],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "XDG_CACHE_HOME": str(home / "not-here")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.strip() == "25", done.stderr
    assert (home / "yahoo" / "tkr-tz.db").is_file()
    assert not (home / "not-here").exists()


def test_days_without_a_finished_session_are_refused(yahoo: YahooServer):
    with pytest.raises(SourceError, match="no finished 1d bar"):
        load(yahoo, start_on=date(2020, 9, 5))
    assert yahoo.asked == []


def test_without_a_network_the_failure_is_a_source_error(home: Path):
    with running() as server:
        session = server.session()
    network = NetworkTerms(attempts=2, backoff_s=0.0)
    source = YahooSource(symbols=("AAPL",), start_on=FIRST, network=network)
    with pytest.raises(SourceError, match="AAPL: 2 attempts failed"):
        DataFetcher(IngestConfig(source=source), session=session).fetch_ohlcv()


def test_capital_gains_of_a_fund_are_paid_once(yahoo: YahooServer):
    # Alone; less than the dividend, which may hold it already; more than it, which cannot.
    yahoo.listed["VTI"] = Listed(
        flat(DAYS),
        dividends={DAYS[5]: 0.5, DAYS[7]: 0.1},
        capital_gains={DAYS[3]: 0.3, DAYS[5]: 0.2, DAYS[7]: 0.4},
    )
    paid = column(load(yahoo, symbols=("VTI",)), "VTI", "cash_dividend")
    assert {day: one for day, one in paid.items() if one} == pytest.approx(
        {DAYS[3]: 0.3, DAYS[5]: 0.5, DAYS[7]: 0.5}
    )


@pytest.mark.parametrize("session", [LoopbackSession, LoopbackCurlSession])
def test_both_clients_deliver_and_fail_alike(yahoo: YahooServer, session: type):
    network = NetworkTerms(attempts=2, backoff_s=0.01, timeout_s=0.25)
    source = YahooSource(symbols=("MSFT",), start_on=FIRST, macro=(), network=network)
    config = IngestConfig(source=source)
    yahoo.first_answers["MSFT"] = [TOO_MANY]
    assert fetch(config, session(yahoo.url), NOW).bars.height == 25
    for trouble in ("short", "slow"):
        yahoo.claim_more_bytes = 100 if trouble == "short" else 0
        yahoo.delay_s = 0.4 if trouble == "slow" else 0.0
        with pytest.raises(SourceError, match="MSFT: 2 attempts failed"):
            fetch(config, session(yahoo.url), NOW)


def test_a_slow_answer_is_given_up_and_asked_again(yahoo: YahooServer):
    yahoo.delays_s["MSFT"] = [1.0, 1.0]
    assert list(column(load(yahoo, timeout_s=0.3, threads=1), "MSFT", "close")) == DAYS


def test_an_answer_that_is_always_too_slow_ends_after_the_attempts(yahoo: YahooServer):
    yahoo.delays_s["MSFT"] = [0.6] * 100
    with pytest.raises(SourceError, match=r"MSFT: 2 attempts failed.*[Tt]ime"):
        load(yahoo, timeout_s=0.2, attempts=2)


def test_a_symbol_that_fails_is_left_out_by_name_where_the_config_allows_it(yahoo: YahooServer):
    yahoo.listed |= {"AAA": Listed(flat(DAYS, 10.0)), "ZZZ": Listed(flat(DAYS, 30.0))}
    symbols = ("AAA", "NOPE", "MSFT", "ZZZ")
    with pytest.raises(SourceError, match="did not deliver 1 of 4 symbols, allowed are 0: NOPE"):
        load(yahoo, symbols=symbols)
    data = load(yahoo, symbols=symbols, max_failed_symbols=1)
    whole = load(yahoo, symbols=("AAA", "MSFT", "ZZZ"))
    assert data.bars.equals(whole.bars)
    assert list(data.provenance["failed_symbols"]) == ["NOPE"]
    assert "unknown to Yahoo" in data.provenance["failed_symbols"]["NOPE"]


def test_all_symbols_may_not_fail(yahoo: YahooServer):
    with pytest.raises(SourceError, match="did not deliver 1 of 1"):
        load(yahoo, symbols=("NOPE",), max_failed_symbols=5)


def test_an_answer_cut_off_between_two_bars_is_refused_as_incomplete(yahoo: YahooServer):
    # Whole JSON, but the last ten days are not in it.
    yahoo.listed["MSFT"].rows = {day: yahoo.listed["MSFT"].rows[day] for day in DAYS[:15]}
    with pytest.raises(SourceError, match=rf"MSFT: .* 15 bars of 25 .*{DAYS[15]}.*10 in all"):
        load(yahoo)
