"""Features against other libraries, as time per feature-row. In: nothing. Out: one figure each.

A feature-row is one value of one feature. Ours is `compute_matrix` on the workload of the issue,
100 symbols x 5,000 bars, from checked bars to the float32 matrix, warm (the kernels are compiled
before). A peer that would take minutes gets fewer symbols; the unit stays the feature-row. Where
both sides have the same indicators, ours computes exactly those rows; otherwise both compute their
own default set.
"""

import resource
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from ploutos.features import CATALOG, LiveFeatures, compute_matrix
from tests.benchmarks import feature_peers as peers
from tests.benchmarks import pandas_peer
from tests.features.conftest import make_bars

SYMBOLS, BARS, PAIRS = 100, 5_000, 5
Figure = dict[str, Any]


def run() -> Iterator[Figure]:
    """Yield every figure of the feature stage."""
    warnings.filterwarnings("ignore")
    bars = _bars(SYMBOLS, BARS)
    compute_matrix(bars, CATALOG)
    yield from _against_ta(bars)
    yield _against_pandas_ta(bars)
    yield from _against_pandas(bars)
    yield from _against_talib(bars)
    yield _growth()
    yield _update()


def _bars(symbols: int, n_bars: int, seed: int = 0) -> pl.DataFrame:
    """Repeat ten generated symbols at other price levels, named in the order of their rows.

    Ticks are so small that moves do not tie: TA-Lib decides a tie by a rounding error.
    """
    ten = make_bars(min(10, symbols), n_bars, seed=seed, tick=1e-7)
    parts = [
        ten.with_columns(
            pl.format("{}{}", pl.lit(f"W{copy:05d}"), "symbol").alias("symbol"),
            *(pl.col(name) * (1.0 + 0.01 * copy) for name in ("open", "high", "low", "close")),
        )
        for copy in range(-(-symbols // 10))
    ]
    return pl.concat(parts).head(symbols * n_bars).rechunk()


def _rows_named(names: set[str]) -> tuple:
    return tuple(row for row in CATALOG if row.name in names)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _compare(
    name: str, ours: tuple[Callable, float], peer: tuple[Callable, float], detail: str, pairs: int
) -> Figure:
    """Alternate both sides; each is (work, feature-rows that it computes)."""
    ours[0](), peer[0]()
    times = [(_seconds(ours[0]) / ours[1], _seconds(peer[0]) / peer[1]) for _ in range(pairs)]
    ratios = sorted(theirs / own for own, theirs in times)
    return {
        "name": name,
        "value": round(statistics.median(ratios), 2),
        "unit": "x",
        "ours": round(statistics.median(own for own, _ in times) * 1e9, 3),
        "peer": round(statistics.median(theirs for _, theirs in times) * 1e9, 3),
        "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
        "detail": f"ns per feature-row; {detail}; {pairs} pairs A B",
    }


def _pandas_of(bars: pl.DataFrame, symbols: int) -> list[pd.DataFrame]:
    wanted = bars["symbol"].unique(maintain_order=True)[:symbols]
    columns = ("open", "high", "low", "close", "volume")
    return [
        pd.DataFrame({name: own[name].to_numpy() for name in columns})
        for own in (bars.filter(pl.col("symbol") == symbol) for symbol in wanted)
    ]


def _against_ta(bars: pl.DataFrame) -> Iterator[Figure]:
    import ta  # noqa: PLC0415 - a peer that only this benchmark needs

    frames = _pandas_of(bars, 1)
    ours = (lambda: compute_matrix(bars, CATALOG), len(CATALOG) * bars.height)
    for name, vectorized, symbols, pairs in (
        ("features.vs_ta", False, 1, 3),
        ("features.vs_ta_vectorized", True, 1, 5),
    ):

        def peer(vectorized: bool = vectorized, symbols: int = symbols) -> int:
            added = 0
            for frame in frames[:symbols]:
                full = ta.add_all_ta_features(
                    frame.copy(), "open", "high", "low", "close", "volume", vectorized=vectorized
                )
                added = full.shape[1] - frame.shape[1]
            return added

        n_features = peer()
        detail = (
            f"ours {len(CATALOG)} features on {SYMBOLS} x {BARS}, ta's {n_features} on "
            f"{symbols} x {BARS}, vectorized={vectorized}"
        )
        yield _compare(name, ours, (peer, n_features * symbols * BARS), detail, pairs)


def _against_pandas_ta(bars: pl.DataFrame) -> Figure:
    import pandas_ta_classic as pandas_ta  # noqa: PLC0415 - a peer that only this benchmark needs

    rows = _rows_named(set(peers.SHARED))
    frames = _pandas_of(bars, 4)
    aliases = {"linearreg_slope": "slope", "ultosc": "uo"}

    def peer() -> None:
        for own in frames:
            for name, inputs, arguments in peers.SHARED.values():
                series = [own[one] for one in inputs]
                if name in {"max", "min"}:
                    getattr(series[0].rolling(int(arguments[0])), name)()
                elif name not in {"plus_di", "minus_di"}:
                    function = getattr(pandas_ta, aliases.get(name, name))
                    options = {"length": int(arguments[0])} if name != "ultosc" else {}
                    function(*series, talib=False, **options)

    detail = (
        f"the same {len(rows)} indicators (its adx gives both DI), talib=False, ours on "
        f"{SYMBOLS} x {BARS}, peer on 4 x {BARS}"
    )
    ours = (lambda: compute_matrix(bars, rows), len(rows) * bars.height)
    return _compare("features.vs_pandas_ta", ours, (peer, len(rows) * 4 * BARS), detail, PAIRS)


def _against_pandas(bars: pl.DataFrame) -> Iterator[Figure]:
    frames = _pandas_of(bars, SYMBOLS)
    whole = pd.concat(frames, ignore_index=True)
    symbols = bars["symbol"].to_pandas().astype("category")
    rows = tuple(row for name in pandas_peer.FEATURES for row in CATALOG if row.name == name)
    received = compute_matrix(bars, rows)
    works = {
        "features.vs_pandas": lambda: pandas_peer.grouped(whole, symbols),
        "features.vs_pandas_loop": lambda: pandas_peer.one_by_one(frames),
    }
    ours = (lambda: compute_matrix(bars, rows), len(rows) * bars.height)
    for name, peer in works.items():
        expected = peer()
        for place, row in enumerate(rows):
            _gate(received[:, place], expected[row.name].to_numpy(), row.name)
        detail = f"the same {len(rows)} features, none by rolling.apply, {SYMBOLS} x {BARS}"
        yield _compare(name, ours, (peer, len(rows) * bars.height), detail, PAIRS)


def _against_talib(bars: pl.DataFrame) -> Iterator[Figure]:
    rows = tuple(row for name in peers.SHARED for row in CATALOG if row.name == name)
    columns = ("high", "low", "close", "volume")
    symbols = [
        {name: bars[name].to_numpy()[low : low + BARS].copy() for name in columns}
        for low in range(0, bars.height, BARS)
    ]
    received = compute_matrix(bars, rows)
    values = peers.with_talib(symbols)
    for place, row in enumerate(rows):
        if row.name in peers.GATED:
            expected = np.concatenate([own[place] for own in values]) / peers.GATED[row.name]
            after = np.arange(len(expected)) % BARS >= 300
            _gate(received[after, place], expected[after], row.name)
    ours = (lambda: compute_matrix(bars, rows), len(rows) * bars.height)
    frame = bars.select("symbol", *columns).with_columns(pl.col("symbol").set_sorted())
    detail = f"{len(rows)} indicators both have, {SYMBOLS} x {BARS}"
    work = len(rows) * bars.height
    expressions = (lambda: peers.with_polars_talib(frame), work)
    yield _compare("features.vs_polars_talib", ours, expressions, detail, PAIRS)
    detail += "; TA-Lib's arrays stay apart, ours end in one matrix"
    calls = (lambda: peers.with_talib(symbols), work)
    yield _compare("features.vs_talib", ours, calls, detail, PAIRS)


def _growth() -> Figure:
    """Compare the cost per row of 10^5 rows and of 10^7, the latter in chunks of symbols."""
    small, chunk = _bars(20, BARS), _bars(200, BARS)
    chunks = 10

    def cost(bars: pl.DataFrame, times: int) -> float:
        return sum(_seconds(lambda: compute_matrix(bars, CATALOG)) for _ in range(times)) / (
            times * bars.height
        )

    pairs = [(cost(small, 5), cost(chunk, chunks)) for _ in range(3)]
    ratios = sorted(large / own for own, large in pairs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "name": "features.growth",
        "value": round(statistics.median(ratios), 3),
        "unit": "x (<=)",
        "ours": round(statistics.median(large for _, large in pairs) * 1e9, 1),
        "peer": round(statistics.median(own for own, _ in pairs) * 1e9, 1),
        "spread": [round(ratios[0], 3), round(ratios[-1], 3)],
        "detail": (
            f"ns per row of {len(CATALOG)} features, 10^7 rows as {chunks} chunks of 10^6 against "
            f"10^5 rows; peak of the process {peak:.2f} GiB"
        ),
    }


def _update() -> Figure:
    """Append one session to 3,000 symbols, against recomputing 20 years of them by chunks."""
    symbols, chunk = 3_000, 300
    history = _bars(chunk, BARS)
    number = pl.int_range(pl.len()).over("symbol")
    before = history.with_columns(number=number)
    live = LiveFeatures(_many(before.filter(pl.col("number") < BARS - PAIRS), symbols), CATALOG)
    errors, ours, theirs = [], [], []
    for step in range(PAIRS):
        at = BARS - PAIRS + step
        session = _many(before.filter(pl.col("number") == at), symbols)
        began = time.perf_counter()
        received = live.advance(session)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        whole = compute_matrix(before.filter(pl.col("number") <= at), CATALOG)
        theirs.append((time.perf_counter() - began) * symbols / chunk)
        expected = whole.reshape(chunk, at + 1, -1)[:, -1]
        own = [place for place, row in enumerate(CATALOG) if row.family != "cross_section"]
        scale = np.nanmedian(np.abs(whole), axis=0)[own] + 1e-9
        error = np.abs(received[:chunk, own] - expected[:, own])
        errors.append(np.nanmax(error / np.maximum(np.abs(expected[:, own]), scale)))
    if max(errors) > 1e-6:
        raise ValueError(f"the update differs from recomputing by {max(errors):.1e}")
    ratios = sorted(slow / fast for fast, slow in zip(ours, theirs, strict=True))
    return {
        "name": "features.update",
        "value": round(statistics.median(ratios), 1),
        "unit": "x",
        "ours": round(statistics.median(ours), 4),
        "peer": round(statistics.median(theirs), 3),
        "spread": [round(ratios[0], 1), round(ratios[-1], 1)],
        "detail": (
            f"seconds; {symbols} symbols, one session, against {BARS} bars each (measured on "
            f"{chunk} symbols, scaled); largest relative error {max(errors):.1e}"
        ),
    }


def _many(bars: pl.DataFrame, symbols: int) -> pl.DataFrame:
    present = bars["symbol"].n_unique()
    return pl.concat(
        bars.with_columns(pl.format("{}{}", pl.lit(f"C{copy:04d}"), "symbol").alias("symbol"))
        for copy in range(symbols // present)
    )


def _gate(received: np.ndarray, expected: np.ndarray, name: str) -> None:
    """Refuse to time two sides that do not compute the same.

    One value in a thousand may differ: a peer's running sums keep a residue of larger values.
    """
    both = np.isfinite(received) & np.isfinite(expected)
    scale = np.median(np.abs(expected[both]))
    error = np.abs(received - expected)[both] / np.maximum(np.abs(expected[both]), scale)
    alike = np.mean(error < 1e-5)
    if both.mean() < 0.9 or alike < 0.999:
        raise ValueError(
            f"{name}: only {alike:.2%} of the values agree, known on {both.mean():.0%}"
        )
