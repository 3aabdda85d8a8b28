"""A loopback server that answers like Yahoo's chart endpoint, and a session that leads to it."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import curl_cffi.requests
import requests

NEW_YORK = ZoneInfo("America/New_York")
CHART = "/v8/finance/chart/"
Answer = tuple[int, str, str]


def opens_at(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK).timestamp())


def trading_period(day: date, closes: tuple[int, int] = (16, 0)) -> dict[str, Any]:
    """Describe a session as Yahoo does; `closes` is the New York time of its end."""
    end = datetime(day.year, day.month, day.day, *closes, tzinfo=NEW_YORK)
    return {
        "timezone": "EST",
        "gmtoffset": -18000,
        "start": opens_at(day),
        "end": int(end.timestamp()),
    }


@dataclass
class Listed:
    """A symbol on the server: split-adjusted rows (open, high, low, close, volume) by day."""

    rows: dict[date, tuple[float | None, ...]]
    dividends: dict[date, float] = field(default_factory=dict)
    splits: dict[date, float] = field(default_factory=dict)
    # Only a fund has them.
    capital_gains: dict[date, float] = field(default_factory=dict)
    renamed_to: str | None = None
    first_trade: date | None = None
    # Bars of other lengths than a day: by interval, by the start in seconds since 1970.
    others: dict[str, dict[int, tuple[float | None, ...]]] = field(default_factory=dict)
    trading_periods: list[dict[str, Any]] = field(default_factory=list)

    def bars(self, interval: str) -> dict[int, tuple[float | None, ...]]:
        """List the bars of an interval by their starts."""
        return self.others.get(interval) or {opens_at(day): row for day, row in self.rows.items()}

    def chart(self, symbol: str, first: int, last: int, interval: str = "1d") -> dict[str, Any]:
        """Answer a question for the bars that start from `first` to before `last`."""
        bars = self.bars(interval)
        starts = [start for start in sorted(bars) if first <= start < last]
        columns = list(zip(*(bars[start] for start in starts), strict=True)) or [()] * 5
        names = ("open", "high", "low", "close", "volume")
        quote = dict(zip(names, map(list, columns), strict=True))
        meta = {
            "symbol": self.renamed_to or symbol,
            "currency": "USD",
            "instrumentType": "ETF" if self.capital_gains else "EQUITY",
            "exchangeTimezoneName": "America/New_York",
            "firstTradeDate": opens_at(self.first_trade or min(self.rows)),
            "priceHint": 2,
            "validRanges": ["1d", "max"],
        }
        if self.trading_periods:
            meta["tradingPeriods"] = [self.trading_periods]
        paid = {"dividends": self.dividends, "capitalGains": self.capital_gains}
        events: dict[str, Any] = {
            **{
                kind: {
                    str(opens_at(day)): {"amount": amount, "date": opens_at(day)}
                    for day, amount in amounts.items()
                    if first <= opens_at(day) < last
                }
                for kind, amounts in paid.items()
                if amounts
            },
            "splits": {
                str(opens_at(day)): {
                    "date": opens_at(day),
                    "numerator": ratio,
                    "denominator": 1,
                    "splitRatio": f"{ratio}:1",
                }
                for day, ratio in self.splits.items()
                if first <= opens_at(day) < last
            },
        }
        result = {
            "meta": meta,
            "timestamp": starts,
            "indicators": {"quote": [quote], "adjclose": [{"adjclose": quote["close"]}]},
            "events": events,
        }
        return {"chart": {"result": [result], "error": None}}


@dataclass
class YahooServer:
    """What is listed, which answers come first, and what was asked."""

    url: str = ""
    listed: dict[str, Listed] = field(default_factory=dict)
    first_answers: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    delay_s: float = 0.0
    claim_more_bytes: int = 0
    delays_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def session(self) -> requests.Session:
        """Return a session that sends every request to this server, whatever its host."""
        return LoopbackSession(self.url)

    def histories_of(self, symbol: str) -> list[dict[str, str]]:
        """List the queries for the history of a symbol, without those for its time zone."""
        return [query for name, query in self.asked if name == symbol and "period1" in query]

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """Answer one request."""
        if not path.startswith(CHART):
            return (200, "text/plain", "crumb") if "getcrumb" in path else (404, "text/plain", "")
        symbol = path.removeprefix(CHART).replace("%5E", "^")
        with self.lock:
            self.asked.append((symbol, query))
            delay_s = self.delays_s[symbol].pop(0) if self.delays_s[symbol] else 0.0
        threading.Event().wait(delay_s)
        with self.lock:
            if self.first_answers[symbol]:
                return self.first_answers[symbol].pop(0)
        if symbol not in self.listed:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return as_json({"chart": {"result": None, "error": error}}, 404)
        first = int(query.get("period1", 0))
        last = int(query.get("period2", 2**40))
        listed = self.listed[symbol]
        return as_json(listed.chart(symbol, first, last, query.get("interval", "1d")))


class LoopbackSession(requests.Session):
    """A real session whose every request goes to one local address."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = url
        self.trust_env = False

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any):
        """Send the request to the local address, with path and query as they are."""
        parts = urlsplit(str(url))
        query = f"?{parts.query}" if parts.query else ""
        return super().request(method, f"{self.base}{parts.path}{query}", *args, **kwargs)


class LoopbackCurlSession(curl_cffi.requests.Session):
    """As `LoopbackSession`, with the client that yfinance itself takes."""

    def __init__(self, url: str) -> None:
        super().__init__(impersonate="chrome")
        self.base = url

    def request(self, method: Any, url: str, *args: Any, **kwargs: Any):
        """Send the request to the local address, with path and query as they are."""
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return super().request(method, f"{self.base}{parts.path}{query}", *args, **kwargs)


def as_json(value: Any, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(value)


def weekdays(first: date, count: int, holidays: tuple[date, ...] = ()) -> list[date]:
    days = (first + timedelta(days=number) for number in range(count * 3))
    return [day for day in days if day.weekday() < 5 and day not in holidays][:count]


@contextmanager
def running() -> Iterator[YahooServer]:
    """Run the server on a free port of the loopback interface."""
    state = YahooServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with state.lock:
                state.at_once += 1
                state.most_at_once = max(state.most_at_once, state.at_once)
            if state.delay_s:
                threading.Event().wait(state.delay_s)
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, kind, text = state.answer(parts.path, query)
            with state.lock:
                state.at_once -= 1
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) + state.claim_more_bytes))
            self.end_headers()
            with suppress(ConnectionError):  # whoever gave up does not listen any more
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any):  # noqa: A002  (the base's name)
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
