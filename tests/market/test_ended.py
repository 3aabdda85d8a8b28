from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from ploutos.calendar import closes
from ploutos.errors import DataError
from ploutos.market import IngestConfig, MarketData, fetch
from ploutos.market.config import FilesSource, QualityConfig
from ploutos.market.ended import ended_symbols

SESSIONS = closes("XNYS", date(2012, 11, 1), date(2012, 11, 30))["session"].to_list()


def write(folder: Path, symbol: str, count: int) -> None:
    lines = [
        f"{day},{10 + n},{12 + n},{9 + n},{11 + n},1000" for n, day in enumerate(SESSIONS[:count])
    ]
    header = "date,open,high,low,close,volume"
    (folder / f"{symbol}.csv").write_text("\n".join([header, *lines]) + "\n")


def load(folder: Path, allowed: int = 0, universe: Path | None = None) -> MarketData:
    quality = QualityConfig(max_ended_symbols=allowed)
    source = FilesSource(folder=folder)
    return fetch(IngestConfig(source=source, quality=quality, universe=universe))


def test_a_symbol_ends_when_its_last_bar_is_more_than_ten_bars_back():
    stamps = [datetime(2020, 1, day, tzinfo=UTC) for day in range(1, 22)]
    ends = {"AAA": 21, "BBB": 11, "CCC": 10}
    rows = [(symbol, stamp) for symbol, count in ends.items() for stamp in stamps[:count]]
    bars = pl.DataFrame(rows, schema=["symbol", "closed_at"], orient="row")
    assert list(ended_symbols(bars)) == ["CCC"]
    assert ended_symbols(bars.clear()) == {}


def test_a_symbol_that_ended_is_refused_with_its_last_bar(tmp_path: Path):
    write(tmp_path, "AAA", len(SESSIONS))
    write(tmp_path, "GONE", 8)
    with pytest.raises(DataError, match=r"GONE at 2012-11-12 21:00:00\+00:00.*max_ended_symbols"):
        load(tmp_path)


def test_a_symbol_that_ended_is_left_out_and_recorded_where_the_config_allows_it(tmp_path: Path):
    write(tmp_path, "AAA", len(SESSIONS))
    write(tmp_path, "ZZZ", len(SESSIONS))
    alone = load(tmp_path)
    write(tmp_path, "GONE", 8)
    data = load(tmp_path, allowed=1)
    assert data.bars.equals(alone.bars)
    assert data.provenance["ended_symbols"] == {"GONE": "2012-11-12 21:00:00+00:00"}


def test_a_universe_that_lost_a_symbol_is_not_free_of_survivorship(tmp_path: Path):
    folder = tmp_path / "bars"
    folder.mkdir()
    write(folder, "AAA", len(SESSIONS))
    write(folder, "GONE", 8)
    path = tmp_path / "universe.json"
    path.write_text('{"name": "Two", "as_of_on": "2012-01-03", "symbols": ["AAA", "GONE"]}')
    data = load(folder, allowed=1, universe=path)
    assert data.provenance["survivor_biased"] is True
    assert "but GONE could not be fetched or stopped trading" in data.survivor_bias
