import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from ploutos.errors import ConfigError, SourceError
from ploutos.market import IngestConfig, MarketData, fetch, load_snapshot, update_snapshot
from ploutos.market.config import AlpacaSource, QualityConfig
from tests.market.table_server import Query, Reply, TableServer, running
from tests.market.yahoo_server import weekdays

FIRST = date(2020, 8, 24)
DAYS = weekdays(FIRST, 10)  # to 2020-09-04
NOW = datetime(2020, 9, 5, 12, tzinfo=UTC)
SPLIT_ON = date(2020, 8, 31)
BARS, ACTIONS = "/v2/stocks/bars", "/v1/corporate-actions"
PAGE = 4


def bar(day: date, price: float) -> dict:
    # Midnight in New York, in summer 04:00 UTC.
    values = {"o": price, "h": price + 2, "l": price - 1, "c": price + 1, "v": 1000, "n": 9}
    return {"t": f"{day}T04:00:00Z", "vw": price, **values}


def listing(symbol: str) -> list[dict]:
    """AAPL as traded around its split 4:1; MSFT plain."""
    found: list[dict] = []
    for number, day in enumerate(DAYS):
        level = 500.0 + number if symbol == "MSFT" or day < SPLIT_ON else 125.0 + number
        found.append(bar(day, level))
    return found


class Alpaca:
    """Answers like Alpaca's data service, in pages."""

    def __init__(self) -> None:
        self.bars = {symbol: listing(symbol) for symbol in ("AAPL", "MSFT")}
        self.actions: dict[str, dict] = {
            "AAPL": {
                "forward_splits": [
                    {"symbol": "AAPL", "new_rate": 4, "old_rate": 1, "ex_date": str(SPLIT_ON)}
                ],
                "cash_dividends": [{"symbol": "AAPL", "rate": 0.82, "ex_date": "2020-08-26"}],
            }
        }

    def answer(self, path: str, query: Query) -> Reply:
        symbol = query.get("symbols", "")
        if path == ACTIONS:
            return reply({"corporate_actions": self.actions.get(symbol, {})})
        if path != BARS:
            return reply({"message": "not found"}, 404)
        days = (query["start"][:10], query["end"][:10])
        kept = [one for one in self.bars.get(symbol, []) if days[0] <= one["t"][:10] <= days[1]]
        start = int(query.get("page_token", 0))
        more = start + PAGE < len(kept)
        return reply(
            {
                "bars": {symbol: kept[start : start + PAGE]} if kept else {},
                "next_page_token": str(start + PAGE) if more else None,
            }
        )


def reply(value: dict, status: int = 200) -> Reply:
    return status, "application/json", json.dumps(value)


@pytest.fixture
def alpaca() -> Alpaca:
    return Alpaca()


@pytest.fixture
def server(alpaca: Alpaca, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TableServer]:
    monkeypatch.setenv("PLOUTOS_ALPACA_KEY_ID", "key")
    monkeypatch.setenv("PLOUTOS_ALPACA_SECRET_KEY", "canary-secret")
    with running() as started:
        started.answer = alpaca.answer
        yield started


def config(server: TableServer, **values) -> IngestConfig:
    network = {"attempts": 3, "backoff_s": 0.01} | values.pop("network", {})
    known = {"symbols": ("AAPL", "MSFT"), "start_on": FIRST, "url": server.url}
    return IngestConfig(source=AlpacaSource.model_validate(known | {"network": network} | values))


def load(server: TableServer, now: datetime = NOW, **values) -> MarketData:
    return fetch(config(server, **values), now=now)


def column(data: MarketData, symbol: str, name: str) -> dict[date, float]:
    rows = data.bars.filter(pl.col("symbol") == symbol)
    return dict(zip(rows["closed_at"].dt.date(), rows[name], strict=True))


def test_bars_arrive_as_traded_with_splits_and_dividends(server: TableServer):
    data = load(server)
    assert data.symbols == ("AAPL", "MSFT")
    close = column(data, "AAPL", "close")
    assert list(close) == DAYS
    assert (close[date(2020, 8, 28)], close[SPLIT_ON]) == (505.0, 131.0)
    splits = column(data, "AAPL", "split_ratio")
    assert {day: ratio for day, ratio in splits.items() if ratio != 1} == {SPLIT_ON: 4.0}
    assert column(data, "AAPL", "cash_dividend")[date(2020, 8, 26)] == 0.82
    assert set(column(data, "MSFT", "split_ratio").values()) == {1.0}
    assert data.missing_series == ("VIX", "TNX", "DXY")
    assert data.bars["closed_at"].max() == datetime(2020, 9, 4, 20, tzinfo=UTC)


def test_a_dividend_in_shares_is_a_split(server: TableServer, alpaca: Alpaca):
    given = {"symbol": "MSFT", "rate": 0.05, "ex_date": str(DAYS[3])}
    alpaca.actions["MSFT"] = {"stock_dividends": [given]}
    assert column(load(server), "MSFT", "split_ratio")[DAYS[3]] == 1.05


def test_raw_prices_of_the_feed_and_the_key_are_asked_for(server: TableServer):
    load(server, feed="sip")
    queries = server.queries()[BARS]
    assert {(query["adjustment"], query["feed"], query["timeframe"]) for query in queries} == {
        ("raw", "sip", "1Day")
    }
    headers = {name.lower(): value for name, value in server.asked[0][2].items()}
    assert headers["apca-api-key-id"] == "key"
    assert headers["apca-api-secret-key"] == "canary-secret"


@pytest.mark.parametrize(
    "trouble",
    [
        (429, "application/json", '{"message": "too many requests"}'),
        (500, "text/html", "<html>"),
        (200, "text/html", "<html>"),
        (200, "application/json", '{"bars": {"AAPL"'),
        (200, "application/json", "{}"),
    ],
    ids=["429", "500", "HTML", "truncated", "no bars"],
)
def test_a_passing_trouble_is_asked_again_and_a_lasting_one_refused(
    server: TableServer, trouble: Reply
):
    server.troubles = [trouble]
    assert len(column(load(server, symbols=("AAPL",)), "AAPL", "close")) == 10
    server.troubles = [trouble] * 50
    with pytest.raises(SourceError, match="AAPL: 3 attempts failed") as refused:
        load(server, symbols=("AAPL",))
    assert len(server.troubles) == 50 - 3
    assert "canary-secret" not in str(refused.value)


def test_a_wrong_key_is_not_tried_again(server: TableServer):
    server.troubles = [(403, "application/json", '{"message": "forbidden"}')] * 50
    with pytest.raises(SourceError, match=r"AAPL: Alpaca refuses \(403\)"):
        load(server, symbols=("AAPL",))
    assert len(server.troubles) == 49


def test_a_slow_answer_is_given_up(server: TableServer):
    server.drip_s = 0.5
    with pytest.raises(SourceError, match=r"AAPL: 1 attempts failed.*[Tt]imed out"):
        load(server, symbols=("AAPL",), network={"timeout_s": 0.2, "attempts": 1})


def test_an_unknown_symbol_is_refused_or_left_out_as_the_config_says(server: TableServer):
    with pytest.raises(SourceError, match="NOPE: Alpaca has no bar"):
        load(server, symbols=("AAPL", "NOPE"))
    data = load(server, symbols=("AAPL", "NOPE"), max_failed_symbols=1)
    assert data.symbols == ("AAPL",)
    assert list(data.provenance["failed_symbols"]) == ["NOPE"]


def test_a_missing_session_is_refused_with_its_date(server: TableServer, alpaca: Alpaca):
    del alpaca.bars["MSFT"][5]
    with pytest.raises(SourceError, match=f"MSFT: .* 9 bars of 10 .*{DAYS[5]}"):
        load(server)


def test_a_split_on_a_session_that_may_be_missing_is_not_lost(server: TableServer, alpaca: Alpaca):
    del alpaca.bars["AAPL"][DAYS.index(SPLIT_ON)]
    quality = QualityConfig(max_quarantined_share=0.2)
    asked = config(server, max_missing_bars=1).model_copy(update={"quality": quality})
    data = fetch(asked, now=NOW)
    assert column(data, "AAPL", "split_ratio")[date(2020, 9, 1)] == 4.0


def test_a_second_fetch_asks_only_for_what_is_new(server: TableServer):
    first = load_snapshot(update_snapshot(config(server), now=datetime(2020, 9, 3, tzinfo=UTC)))
    server.asked.clear()
    second = load_snapshot(update_snapshot(config(server), now=NOW))
    assert {query["start"][:10] for query in server.queries()[BARS]} == {"2020-08-27"}
    assert column(second, "AAPL", "close").keys() == set(DAYS)
    before = second.bars.filter(pl.col("closed_at") <= first.bars["closed_at"].max())
    assert before.equals(first.bars)


def test_without_a_key_the_source_says_which_variables_to_set(
    server: TableServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PLOUTOS_ALPACA_SECRET_KEY")
    with pytest.raises(ConfigError, match="PLOUTOS_ALPACA_SECRET_KEY"):
        load(server)


def test_without_the_extra_the_source_says_what_to_install(server: TableServer):
    code = (
        "import sys; sys.modules['alpaca'] = None\n"
        "from ploutos.market import IngestConfig, fetch\n"
        "from ploutos.market.config import AlpacaSource\n"
        "fetch(IngestConfig(source=AlpacaSource(symbols=('AAPL',))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "pip install 'ploutos[alpaca]'" in done.stderr
