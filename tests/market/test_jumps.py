from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.errors import DataError
from ploutos.market import IngestConfig, fetch
from ploutos.market.config import FilesSource, QualityConfig, SampleSource
from ploutos.market.jumps import find_jumps
from tests.market.frames import bars

# Apple around its split 4:1 of 2020-08-31, as traded; the days before at 125 where adjusted.
AS_TRADED = ("2020-08-27,500,502,498,500,1000", "2020-08-28,500,502,498,499,1000")
ADJUSTED = ("2020-08-27,125,126,124,125,4000", "2020-08-28,125,126,124,125,4000")
AFTER = ("2020-08-31,127,131,126,129,4000", "2020-09-01,132,135,130,134,4000")


def step(factor: float, split_ratio: float = 1.0, dividend: float = 0.0) -> pl.DataFrame:
    """Three bars of which the second opens at `factor` times the first close, 11."""
    level = [1.0, factor, factor]
    values = {name: [price * one for one in level] for name, price in PRICES.items()}
    events = {"split_ratio": [1.0, split_ratio, 1.0], "cash_dividend": [0.0, dividend, 0.0]}
    return bars(("AAA",), **values, **events)


PRICES = {"open": 11.0, "high": 12.0, "low": 9.0, "close": 11.0}


@pytest.mark.parametrize("ratio", [1.5, 2, 2.5, 3, 4, 5, 7, 10, 20, 100, 1 / 2, 1 / 8, 1 / 10])
@pytest.mark.parametrize("news", [0.97, 1.0, 1.03])
def test_a_split_that_is_not_declared_is_found_and_a_declared_one_is_none(
    ratio: float, news: float
):
    found = find_jumps(step(news / ratio))
    assert found["closed_at"].to_list() == bars(("AAA",))["closed_at"].to_list()[1:2]
    assert found["factor"].to_list() == pytest.approx([news / ratio])
    assert find_jumps(step(news / ratio, split_ratio=ratio)).is_empty()
    # Declared, but the prices do not show it: they are adjusted for it already.
    assert find_jumps(step(news, split_ratio=ratio)).height == 1


@pytest.mark.parametrize("factor", [0.6, 0.75, 0.88, 1.12, 1.3, 1.7])
def test_bad_and_good_news_are_no_split(factor: float):
    assert find_jumps(step(factor)).is_empty()


def test_a_large_dividend_explains_a_large_fall():
    assert find_jumps(step(0.5)).height == 1
    assert find_jumps(step(0.5, dividend=5.5)).is_empty()


def test_the_first_bar_of_a_symbol_is_compared_with_no_other_symbol():
    high = step(1.0).with_columns(pl.col(PRICES) * 100, symbol=pl.lit("BBB"))
    assert find_jumps(pl.concat([step(1.0), high])).is_empty()


@settings(max_examples=60, deadline=None)
@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_a_unit_of_money_does_not_matter(factor: float, unit: float):
    scaled = step(factor).with_columns(pl.col(PRICES) * unit)
    assert find_jumps(scaled).height == find_jumps(step(factor)).height


@pytest.mark.parametrize("name", ["tech-2004", "macro-2014"])
def test_years_of_real_bars_hold_no_jump(name: str):
    data = fetch(IngestConfig(source=SampleSource.model_validate({"name": name})))
    assert data.bars.filter(pl.col("split_ratio") != 1).height > 0 or name == "macro-2014"
    assert find_jumps(data.bars).is_empty()


def load(folder: Path, header: str, *lines: str, **quality):
    columns = f"date,open,high,low,close,volume{header}"
    (folder / "AAPL.csv").write_text("\n".join([columns, *lines]) + "\n")
    source = FilesSource(folder=folder)
    return fetch(IngestConfig(source=source, quality=QualityConfig(**quality)))


def test_a_file_that_leaves_a_split_out_is_refused_with_the_row(tmp_path: Path):
    with pytest.raises(DataError) as refused:
        load(tmp_path, "", *AS_TRADED, *AFTER)
    assert (
        "AAPL 2020-08-31 20:00:00+00:00: open 127.0 after a close of 499.0 looks like a "
        "split_ratio of 3.93 that is not declared"
    ) in str(refused.value)
    assert "expected at most 0 jumps, received 1" in str(refused.value)
    assert "quality.max_jumps" in str(refused.value)
    assert load(tmp_path, "", *AS_TRADED, *AFTER, max_jumps=1).bars.height == 4


def test_a_file_with_splits_over_prices_that_are_adjusted_already_is_refused(tmp_path: Path):
    rows = [*(f"{row},1" for row in ADJUSTED), f"{AFTER[0]},4", f"{AFTER[1]},1"]
    with pytest.raises(DataError, match=r"AAPL 2020-08-31 .* a split_ratio of 4 is declared"):
        load(tmp_path, ",split_ratio", *rows)


def test_one_price_in_another_unit_is_refused(tmp_path: Path):
    pence = ("2020-08-28,12500,12600,12400,12500,4000",)
    with pytest.raises(DataError, match=r"AAPL 2020-08-28 .*AAPL 2020-08-31 .* 98\.4"):
        load(tmp_path, "", ADJUSTED[0], *pence, *AFTER)
