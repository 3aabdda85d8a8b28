import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from ploutos.errors import DataError, SourceError
from ploutos.features import FeatureConfig
from ploutos.market import IngestConfig, fetch, load_snapshot, save_snapshot
from ploutos.market.config import FilesSource, YahooSource
from ploutos.market.data import MarketData
from ploutos.market.schema import empty_bars, empty_macro
from ploutos.market.universe import Universe, describe_choice, load_universe
from ploutos.panel import build_panel, load_panel
from tests.market.frames import bars

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DATA = MarketData("x", bars(), empty_macro(), empty_bars())  # from 2013-02-28


def write(folder: Path, **values) -> Path:
    path = folder / "universe.json"
    whole = {"name": "Four", "as_of_on": "2013-03-01", "symbols": ["AAPL", "MSFT"]}
    path.write_text(json.dumps(whole | values))
    return path


def test_a_universe_chosen_after_the_first_bar_is_survivor_biased():
    chosen = Universe(name="Two", as_of_on=date(2013, 3, 1), symbols=("AAA", "BBB"))
    known = describe_choice(DATA, chosen, NOW)
    assert known["survivor_biased"] is True
    assert known["survivor_bias"] == (
        "The universe 'Two' was chosen as of 2013-03-01, after the first bar of 2013-02-28: "
        "symbols that left before are absent, and results are biased upwards by survivorship."
    )


def test_a_universe_chosen_before_the_first_bar_is_not():
    chosen = Universe(name="Two", as_of_on=date(2013, 2, 28), symbols=("AAA", "BBB"))
    known = describe_choice(DATA, chosen, NOW)
    assert known["survivor_biased"] is False
    assert "free of survivorship" in known["survivor_bias"]


def test_symbols_named_by_hand_are_survivors():
    known = describe_choice(DATA, None, NOW)
    assert known["survivor_biased"] is True
    assert "named by hand" in known["survivor_bias"]


def test_a_universe_file_chooses_the_symbols(tmp_path: Path):
    data = fetch(IngestConfig(universe=write(tmp_path)))
    assert data.symbols == ("AAPL", "MSFT")


def test_a_symbol_of_the_universe_that_the_source_lacks_is_refused(tmp_path: Path):
    with pytest.raises(SourceError, match="NOPE"):
        fetch(IngestConfig(universe=write(tmp_path, symbols=["AAPL", "NOPE"])))


@pytest.mark.parametrize(
    "wrong",
    [
        {"as_of_on": None},
        {"as_of_on": "yesterday"},
        {"symbols": []},
        {"symbols": ["A", "A"]},
        {"members": 3},
    ],
)
def test_a_wrong_universe_file_is_refused_by_name(tmp_path: Path, wrong: dict):
    with pytest.raises(DataError, match=r"universe\.json"):
        load_universe(write(tmp_path, **wrong))


def test_a_missing_universe_file_is_refused_by_name(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.json"):
        load_universe(tmp_path / "nowhere.json")


def test_symbols_are_named_once(tmp_path: Path):
    with pytest.raises(ValidationError, match="not in both"):
        IngestConfig(universe=write(tmp_path), symbols=("AAPL",))
    with pytest.raises(ValidationError, match="needs symbols or a universe"):
        IngestConfig(source=YahooSource())


def test_the_sentence_reaches_the_panel(home: Path, tmp_path: Path):
    sample = fetch(IngestConfig())
    data = load_snapshot(save_snapshot(sample))
    assert "survivors" in data.survivor_bias
    panel = load_panel(build_panel(data, FeatureConfig(families=("seasonal",))))
    assert panel.meta.survivor_bias == data.survivor_bias


def test_the_sentence_of_files_is_recorded(tmp_path: Path):
    folder = tmp_path / "bars"
    folder.mkdir()
    lines = ["date,open,high,low,close,volume", "2012-11-21,10,12,9,11,1000"]
    (folder / "AAA.csv").write_text("\n".join(lines) + "\n")
    path = write(tmp_path, symbols=["AAA"], as_of_on="2012-01-03")
    data = fetch(IngestConfig(source=FilesSource(folder=folder), universe=path))
    assert data.provenance["universe"] == {"name": "Four", "as_of_on": "2012-01-03", "source": ""}
    assert "free of survivorship" in data.survivor_bias
