"""The source `synthetic`. In: a seed and a few numbers. Out: a market whose truth is known.

Two markets. Without a signal, prices are a martingale times a drift: nothing can be earned but the
drift. With one, each symbol carries a hidden two-state chain that its own finished bar gives away
and that moves the *next* bar between its open and its close, so that a decision after the close,
filled at the next open, can earn it; the best that any policy can earn is known (`optimal_growth`).
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.calendar import next_closes
from ploutos.market.config import PlantedSignal, SyntheticSource
from ploutos.market.data import MACRO_SERIES, FetchTerms, MarketData
from ploutos.market.schema import BAR_TYPES, empty_bars, empty_macro

BARS_PER_YEAR = 252
FIRST_PRICE = 100.0
OVERNIGHT_SHARE = 0.25
MEDIAN_VOLUME = 1_000_000.0
UP_VOLUME_FACTOR = 4.0
MAX_SHADOW = 0.02


def fetch_synthetic(source: SyntheticSource, terms: FetchTerms) -> MarketData:
    """Generate a market.

    One bar's log return is overnight + intraday. With sigma2 = annual_volatility^2 / 252 and
    b = annual_drift / 252 - sigma2 / 2:
    overnight ~ N(-sigma2 / 8, sigma2 / 4), intraday ~ N(b + sigma2 / 8, 3 sigma2 / 4), so that the
    expected price grows by exp(annual_drift) in 252 bars and a drift of 0 is a martingale.
    High and low add one-sided exponential shadows (mean a quarter of the bar's volatility, at most
    2 %); volume is lognormal around a million shares.

    With a signal, the chain's first state is a fair coin and it stays with probability
    `persistence`. Bar t tells its state s(t) in two ways: up - no upper shadow (high is the larger
    of open and close) and four times the volume; down - no lower shadow and plain volume. Bar t+1's
    intraday return is shifted by +drift_per_bar if s(t) is up, by -drift_per_bar if down.

    Symbols are independent; adding one does not change the others. There are no macro series, no
    splits and no dividends.

    Raises
    ------
    DataError
        If the exchange's calendar does not hold that many sessions from `first_on`.
    """
    closed_at = next_closes(terms.exchange, source.first_on, source.n_bars)["closed_at"]
    seeds = np.random.SeedSequence(source.seed).spawn(len(source.symbols))
    bars = [
        _generate(source, np.random.default_rng(seed)).with_columns(
            closed_at, symbol=pl.lit(symbol), split_ratio=pl.lit(1.0), cash_dividend=pl.lit(0.0)
        )
        for symbol, seed in zip(source.symbols, seeds, strict=True)
    ]
    return MarketData(
        name="synthetic-walk" if source.signal is None else "synthetic-signal",
        bars=pl.concat(bars).select(list(BAR_TYPES)),
        macro=empty_macro(),
        reference=empty_bars(),
        missing_series=MACRO_SERIES,
        exchange=terms.exchange,
        provenance={
            "price_basis": "synthetic",
            "parameters": source.model_dump(mode="json"),
        },
    )


def optimal_growth(source: SyntheticSource, cost: float = 0.0) -> float:
    """Return the best expected log growth per bar from one symbol and cash, all in or all out.

    The pair (state, position) is a Markov decision process with four states: holding through a bar
    earns b + drift in an up state and b - drift in a down state (see `fetch_synthetic`), changing
    the position costs -log(1 - cost). Solved by relative value iteration.

    Without costs this is (max(0, b + drift) + max(0, b - drift)) / 2.

    Parameters
    ----------
    source
        The market; the seed and the number of bars do not matter.
    cost
        Fraction of the traded value that each entry and each exit costs, 0 <= cost < 1.

    Returns
    -------
    float
        Expected log growth per bar; 0 if cash is best.

    Source
    ------
    Puterman, Markov Decision Processes (1994), section 8.5.
    """
    base = _base_drift(source)
    if source.signal is None:
        return max(0.0, base)
    stay, shift = source.signal.persistence, source.signal.drift_per_bar
    chain = np.array([[stay, 1 - stay], [1 - stay, stay]])
    # reward[state, held before, held now]
    reward = np.zeros((2, 2, 2))
    reward[0, :, 1] = base + shift
    reward[1, :, 1] = base - shift
    reward[:, 0, 1] += np.log1p(-cost)
    reward[:, 1, 0] += np.log1p(-cost)
    return _best_average(chain, reward)


def _best_average(chain: NDArray[np.float64], reward: NDArray[np.float64]) -> float:
    value = np.zeros((2, 2))
    lowest = highest = 0.0
    for _ in range(200_000):
        ahead = chain @ value  # (state, held now)
        updated = (reward + ahead[:, None, :]).max(axis=2)
        # Half a step towards the update: a chain that alternates would not converge otherwise.
        change = updated - value
        lowest, highest = float(change.min()), float(change.max())
        if highest - lowest < 1e-13:
            break
        value = value + change / 2
        value -= value[0, 0]
    return (lowest + highest) / 2


def _generate(source: SyntheticSource, rng: np.random.Generator) -> pl.DataFrame:
    count = source.n_bars
    variance = source.annual_volatility**2 / BARS_PER_YEAR
    overnight = _normal(rng, count, -OVERNIGHT_SHARE * variance / 2, OVERNIGHT_SHARE * variance)
    intraday = _normal(
        rng,
        count,
        _base_drift(source) + OVERNIGHT_SHARE * variance / 2,
        (1 - OVERNIGHT_SHARE) * variance,
    )
    shadows = rng.exponential(np.sqrt(variance) / 4, (2, count)).clip(max=MAX_SHADOW)
    volume = MEDIAN_VOLUME * np.exp(rng.normal(0.0, 0.25, count))
    if source.signal is not None:
        up = _draw_states(source.signal, rng, count)
        intraday[1:] += np.where(up[:-1], source.signal.drift_per_bar, -source.signal.drift_per_bar)
        shadows[0, up] = 0.0
        shadows[1, ~up] = 0.0
        volume[up] *= UP_VOLUME_FACTOR
    closed = FIRST_PRICE * np.exp(np.cumsum(overnight + intraday))
    opened = closed / np.exp(intraday)
    return pl.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, closed) * (1 + shadows[0]),
            "low": np.minimum(opened, closed) * (1 - shadows[1]),
            "close": closed,
            "volume": np.round(volume),
        }
    )


def _draw_states(signal: PlantedSignal, rng: np.random.Generator, count: int) -> NDArray[np.bool_]:
    first = rng.random() < 0.5
    switches = rng.random(count) >= signal.persistence
    switches[0] = False
    return (np.cumsum(switches) % 2 == 0) == first


def _base_drift(source: SyntheticSource) -> float:
    return (source.annual_drift - source.annual_volatility**2 / 2) / BARS_PER_YEAR


def _normal(
    rng: np.random.Generator, count: int, mean: float, variance: float
) -> NDArray[np.float64]:
    return mean + np.sqrt(variance) * rng.standard_normal(count)
