from dataclasses import replace

import pandas as pd
import polars as pl
import pytest
from pydantic import ValidationError

from ploutos.errors import DataError, SourceError
from ploutos.market import DataFetcher, IngestConfig, MarketData, fetch
from ploutos.market.config import SampleSource, SyntheticSource, YahooSource
from ploutos.market.ingest import check_market
from ploutos.market.schema import BAR_TYPES, empty_bars
from tests.market.frames import bars, macro


def hand_made(**parts) -> MarketData:
    values = {"name": "hand-made", "bars": bars(), "macro": macro(), "reference": empty_bars()}
    return MarketData(**(values | parts))


def test_by_default_the_data_that_travel_with_the_package_are_fetched():
    data = fetch(IngestConfig())
    assert data.name == "tech-2004"
    assert data.bars.schema == pl.Schema(BAR_TYPES)


def test_fetching_twice_gives_the_same_data():
    first, second = fetch(IngestConfig()), fetch(IngestConfig())
    assert first.bars.equals(second.bars)
    assert first.macro.equals(second.macro)


def test_only_the_symbols_asked_for_are_kept():
    data = fetch(IngestConfig(symbols=("MSFT", "AAPL")))
    assert data.symbols == ("AAPL", "MSFT")
    assert data.bars.height == 2 * 2148


def test_an_unknown_symbol_is_refused_and_the_known_ones_named():
    with pytest.raises(SourceError, match=r"\['NOPE'\]; it has \['AAPL', 'GOOG', 'IBM', 'MSFT'\]"):
        fetch(IngestConfig(symbols=("AAPL", "NOPE")))


def test_an_unknown_key_of_the_config_is_refused():
    with pytest.raises(ValidationError, match="sybmols"):
        IngestConfig.model_validate({"sybmols": ["AAPL"]})
    with pytest.raises(ValidationError, match="volume"):
        IngestConfig.model_validate({"source": {"kind": "sample", "volume": 1}})


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "ftp"},
        {"kind": "sample", "name": "tech-1929"},
        {"kind": "yahoo", "symbols": []},
        {"kind": "yahoo", "symbols": ["A B"]},
        {"kind": "yahoo", "symbols": ["A"], "start_on": "2020-01-02", "end_on": "2020-01-01"},
        {"kind": "yahoo", "symbols": ["A"], "network": {"threads": 5}},
        {"kind": "synthetic", "annual_volatility": float("nan")},
        {"kind": "files"},
    ],
)
def test_a_source_that_makes_no_sense_is_refused(source: dict):
    with pytest.raises(ValidationError):
        IngestConfig.model_validate({"source": source})


@pytest.mark.parametrize(
    "source", [SampleSource(), SyntheticSource(), YahooSource(symbols=("AAPL", "BRK-B", "^GSPC"))]
)
def test_a_config_survives_json(source):
    config = IngestConfig(source=source)
    assert IngestConfig.model_validate_json(config.model_dump_json()) == config


def test_every_field_of_the_config_is_described():
    schema = IngestConfig.model_json_schema()
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            assert field.get("description"), f"{model['title']}.{name}"


def test_data_without_a_bar_are_refused():
    with pytest.raises(DataError, match="expected bars, received none"):
        check_market(hand_made(bars=empty_bars()))


def test_a_symbol_cannot_be_traded_and_be_a_reference():
    with pytest.raises(DataError, match="BBB"):
        check_market(hand_made(reference=bars(("BBB", "CCC"))))


def test_a_series_with_values_cannot_be_declared_missing():
    with pytest.raises(DataError, match="VIX"):
        check_market(hand_made(missing_series=("VIX",)))


def test_series_without_values_become_declared_missing():
    assert check_market(hand_made()).missing_series == ("TNX", "DXY")


def test_bad_reference_rows_are_refused():
    bad = bars(("SPX",)).with_columns(volume=pl.lit(-1.0))
    with pytest.raises(DataError, match="reference of hand-made: SPX"):
        check_market(hand_made(reference=bad))


def test_shuffled_bars_become_canonical():
    shuffled = hand_made(bars=bars().reverse())
    assert check_market(shuffled).bars.equals(bars())
    assert check_market(replace(shuffled, bars=bars())).symbols == ("AAA", "BBB")


def test_the_data_fetcher_hands_out_pandas_frames():
    fetcher = DataFetcher(IngestConfig(source=SampleSource(name="macro-2014")))
    ohlcv, series = fetcher.fetch_ohlcv(), fetcher.fetch_macro()
    assert isinstance(ohlcv, pd.DataFrame)
    assert list(ohlcv.columns) == list(BAR_TYPES)
    assert len(ohlcv) == 2 * 815
    assert str(ohlcv["closed_at"].dtype) == "datetime64[ns, UTC]"
    assert sorted(series["series"].unique()) == ["DXY", "TNX", "VIX"]


def test_the_data_fetcher_needs_no_config():
    assert DataFetcher().config == IngestConfig()
