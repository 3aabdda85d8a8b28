from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.errors import DataError
from ploutos.market import IngestConfig, MarketData, fetch
from ploutos.market.config import PlantedSignal, SyntheticSource
from ploutos.market.synthetic import optimal_growth

LONG = 8000


def generate(**source) -> MarketData:
    return fetch(IngestConfig(source=SyntheticSource(**source)))


def returns(data: MarketData, symbol: str = "SYN1") -> np.ndarray:
    close = data.bars.filter(pl.col("symbol") == symbol)["close"].to_numpy()
    return np.diff(np.log(close))


def with_signal(drift_per_bar: float, persistence: float, **source) -> SyntheticSource:
    signal = PlantedSignal(drift_per_bar=drift_per_bar, persistence=persistence)
    return SyntheticSource(signal=signal, **source)


def test_the_same_seed_gives_the_same_market_and_another_seed_another():
    assert generate(seed=5).bars.equals(generate(seed=5).bars)
    assert not generate(seed=5).bars.equals(generate(seed=6).bars)


def test_another_symbol_does_not_change_the_first():
    alone = generate(symbols=("SYN1",)).bars
    beside = generate(symbols=("SYN1", "SYN2")).bars
    assert beside.filter(pl.col("symbol") == "SYN1").equals(alone)


def test_it_declares_that_it_has_no_macro_series():
    data = generate()
    assert data.macro.is_empty()
    assert data.missing_series == ("VIX", "TNX", "DXY")
    assert data.provenance["price_basis"] == "synthetic"


def test_it_has_as_many_bars_as_asked_for_from_the_first_day_on():
    data = generate(n_bars=10, first_on=date(2012, 11, 20), symbols=("SYN1",))
    days = data.bars["closed_at"].dt.date().to_list()
    assert len(days) == 10
    assert days[:3] == [date(2012, 11, 20), date(2012, 11, 21), date(2012, 11, 23)]


def test_more_bars_than_the_calendar_has_are_refused():
    with pytest.raises(DataError, match="Start earlier or ask for fewer"):
        generate(n_bars=15_000)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(-1, 1),
    st.floats(0, 2),
    st.none() | st.builds(PlantedSignal, drift_per_bar=st.floats(1e-6, 0.1)),
)
def test_any_parameters_give_bars_that_pass_the_border(
    seed: int, annual_drift: float, annual_volatility: float, signal: PlantedSignal | None
):
    data = generate(
        seed=seed,
        n_bars=60,
        annual_drift=annual_drift,
        annual_volatility=annual_volatility,
        signal=signal,
    )
    assert data.bars.height == 120


def test_without_a_drift_the_expected_price_does_not_move():
    many = generate(n_bars=100, symbols=tuple(f"S{number}" for number in range(100)))
    growth = np.exp(np.concatenate([returns(many, symbol) for symbol in many.symbols]))
    # Standard error of the mean of 9,900 bars: 0.2 / sqrt(252) / sqrt(9900) = 0.00013.
    assert growth.mean() == pytest.approx(1.0, abs=0.0005)
    assert growth.std() == pytest.approx(0.2 / np.sqrt(252), rel=0.05)


def test_returns_of_the_random_walk_are_not_correlated():
    r = returns(generate(n_bars=5000))
    # 1 / sqrt(5000) = 0.014 is the standard error.
    assert abs(np.corrcoef(r[1:], r[:-1])[0, 1]) < 0.05
    assert r.std() == pytest.approx(0.2 / np.sqrt(252), rel=0.05)


def test_the_state_is_written_on_the_bar_and_moves_the_next_one():
    source = with_signal(0.01, 0.8, n_bars=5000, symbols=("SYN1",), first_on=date(2000, 1, 3))
    bars = fetch(IngestConfig(source=source)).bars
    up = (bars["high"] == bars.select(pl.max_horizontal("open", "close")).to_series()).to_numpy()
    intraday = np.log(bars["close"] / bars["open"]).to_numpy()
    error = 0.2 / np.sqrt(252) / np.sqrt(2500)
    assert intraday[1:][up[:-1]].mean() == pytest.approx(0.01, abs=5 * error)
    assert intraday[1:][~up[:-1]].mean() == pytest.approx(-0.01, abs=5 * error)
    assert (up[1:] == up[:-1]).mean() == pytest.approx(0.8, abs=0.03)
    volume = bars["volume"].to_numpy()
    assert np.median(volume[up]) / np.median(volume[~up]) == pytest.approx(4.0, rel=0.1)
    low = bars.select(pl.min_horizontal("open", "close")).to_series()
    assert ((bars["low"] == low).to_numpy() == ~up).all()


@pytest.mark.parametrize(
    ("drift_per_bar", "annual_drift", "annual_volatility"),
    [(0.004, 0.0, 0.2), (0.001, 0.6, 0.1), (0.001, -0.6, 0.1), (0.02, 0.1, 0.4)],
)
def test_without_costs_the_optimum_is_the_closed_form(
    drift_per_bar: float, annual_drift: float, annual_volatility: float
):
    source = with_signal(
        drift_per_bar, 0.9, annual_drift=annual_drift, annual_volatility=annual_volatility
    )
    base = (annual_drift - annual_volatility**2 / 2) / 252
    expected = (max(0.0, base + drift_per_bar) + max(0.0, base - drift_per_bar)) / 2
    assert optimal_growth(source) == pytest.approx(expected, abs=1e-9)


def test_with_costs_that_are_worth_paying_the_optimum_pays_two_per_cycle():
    # Base 0. In when up, out when down: 0.01 in half the bars; the state changes in a tenth of
    # them, and each change is one trade.
    source = with_signal(0.01, 0.9, annual_volatility=0.0)
    expected = 0.01 / 2 + 0.1 * np.log(1 - 0.001)
    assert optimal_growth(source, 0.001) == pytest.approx(expected, abs=1e-9)


def test_with_costs_that_eat_the_signal_the_optimum_holds_or_stays_out():
    falling = with_signal(0.001, 0.5, annual_drift=-0.1)
    assert optimal_growth(falling, 0.01) == pytest.approx(0.0, abs=1e-9)
    rising = with_signal(0.001, 0.5, annual_drift=0.5, annual_volatility=0.1)
    assert optimal_growth(rising, 0.01) == pytest.approx((0.5 - 0.005) / 252, abs=1e-9)


def test_a_state_that_alternates_has_an_optimum_too():
    source = with_signal(0.01, 0.0, annual_volatility=0.0)
    assert optimal_growth(source) == pytest.approx(0.005, abs=1e-9)


def test_without_a_signal_the_optimum_is_to_hold_or_not():
    assert optimal_growth(SyntheticSource()) == 0.0
    rising = SyntheticSource(annual_drift=0.1, annual_volatility=0.2)
    assert optimal_growth(rising) == pytest.approx((0.1 - 0.02) / 252)


def test_following_the_state_from_open_to_open_earns_the_optimum():
    source = with_signal(
        0.004, 0.9, n_bars=LONG, symbols=("SYN1",), first_on=date(1980, 1, 2), seed=3
    )
    bars = fetch(IngestConfig(source=source)).bars
    opened = np.log(bars["open"].to_numpy())
    body_top = bars.select(pl.max_horizontal("open", "close")).to_series()
    up = (bars["high"] == body_top).to_numpy()
    # Decided after bar t, bought at the open of t + 1, held to the open of t + 2.
    earned = np.where(up[:-2], opened[2:] - opened[1:-1], 0.0)
    error = earned.std() / np.sqrt(len(earned))
    assert earned.mean() == pytest.approx(optimal_growth(source), abs=4 * error)
    assert earned.mean() > 4 * error
