"""Builds a panel. In: market data, the feature config. Out: a panel file, by reference.

Everything is aligned by the instant of the close, never by position: the rows are the closes of
all symbols together, and a symbol without a bar at one of them has NaN prices and features there.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.calendar import decision_times
from ploutos.errors import PanelError
from ploutos.features import (
    MACRO_CATALOG,
    MACRO_SERIES,
    Feature,
    FeatureConfig,
    catalog_digest,
    compute_macro_features,
    compute_matrix,
    select_features,
)
from ploutos.features.bases import carry_actions
from ploutos.features.engine import adjusted_closes
from ploutos.market import MarketData
from ploutos.market.ended import MAX_SILENT_BARS, ended_symbols
from ploutos.panel.file import save_panel
from ploutos.panel.model import PRICE_FIELDS, Panel, PanelMeta, PanelRef

# Calendar codes of the exchanges whose next open follows 19:05 New York time.
DECIDABLE_EXCHANGES = frozenset({"XNYS", "NYSE", "XNAS", "NASDAQ", "AMEX", "BATS", "ARCX"})


def build_panel(data: MarketData, config: FeatureConfig, snapshot: str = "") -> PanelRef:
    """Compute the features of `data`, align them and write the panel file.

    Parameters
    ----------
    data
        Checked market data.
    config
        The feature stage's config.
    snapshot
        Digest of the market snapshot that `data` was loaded from, to be recorded.

    Returns
    -------
    The file under home/panels; the same inputs give the same bytes.

    Raises
    ------
    PanelError
        If there is no bar at all, a symbol has none, there are not more bars than the longest
        warm-up, or the symbols' closes cannot be aligned.
    FeatureError
        If the bars are not fit to compute features on.
    StoreError
        If the file cannot be written.
    """
    return save_panel(align(data, config, snapshot))


def align(data: MarketData, config: FeatureConfig, snapshot: str = "") -> Panel:
    """Compute the panel in memory; `build_panel` tells of parameters and errors."""
    _check_daily(data)
    bars = carry_actions(data.bars)
    features = select_features(config)
    warm_up = max(feature.warm_up_bars for feature in features)
    symbols = _check_symbols(data, bars)
    closed_at = np.unique(_nanoseconds(bars))
    if len(closed_at) <= warm_up:
        raise PanelError(
            f"panel '{data.name}': {len(closed_at)} bars, but the longest warm-up is {warm_up}; "
            "at least one bar more is needed. Fetch a longer history or choose fewer families."
        )
    _check_still_trading(data, bars)
    decided_at = decision_times(closed_at)
    cells = _cells(bars, symbols, closed_at)
    macro = compute_macro_features(data.macro, decided_at, config)
    macro_values = macro.to_numpy().astype(np.float32)  # (T, M)
    references = tuple(sorted(data.reference["symbol"].unique().to_list()))
    n_rows, n_symbols = len(closed_at), len(symbols)
    return Panel(
        meta=_describe(data, config, features, references, snapshot),
        closed_at=closed_at,
        decided_at=decided_at,
        features=_align_features(bars, features, cells, (n_rows, n_symbols)),
        macro=macro_values,
        prices=np.stack(
            [_scatter(bars[name], cells, (n_rows, n_symbols), np.nan) for name in PRICE_FIELDS],
            axis=-1,
        ),  # 5 x (T, N) -> (T, N, 5)
        split_ratio=_scatter(bars["split_ratio"], cells, (n_rows, n_symbols), 1.0),
        cash_dividend=_scatter(bars["cash_dividend"], cells, (n_rows, n_symbols), 0.0),
        reference=_align_reference(data.reference, references, closed_at),
        valid=_align_valid(bars, cells, (n_rows, n_symbols), warm_up),
        macro_valid=np.isfinite(macro_values).astype(np.uint8),
    )


def _check_daily(data: MarketData) -> None:
    if data.interval != "1d":
        raise PanelError(
            f"panel '{data.name}': expected daily bars, received bars of {data.interval}: "
            "decisions, annualisation and paper trading count sessions. Ingest with interval 1d."
        )
    if data.exchange not in DECIDABLE_EXCHANGES:
        raise PanelError(
            f"panel '{data.name}': expected an exchange among {sorted(DECIDABLE_EXCHANGES)}, "
            f"received {data.exchange}. Decisions are taken at 19:05 New York time, which "
            "elsewhere lies after the open that would have to fill them."
        )


def _check_still_trading(data: MarketData, bars: pl.DataFrame) -> None:
    """Refuse a symbol that ended: held for ever at its last price, it would flatter every curve."""
    ended = ended_symbols(bars)
    if ended:
        raise PanelError(
            f"panel '{data.name}': expected every symbol to trade until the end, but the last bar "
            f"of {list(ended)} is more than {MAX_SILENT_BARS} bars before it. "
            "Delistings are not modelled: leave the symbol out, or end the data with it."
        )


def _check_symbols(data: MarketData, bars: pl.DataFrame) -> tuple[str, ...]:
    if bars.is_empty():
        raise PanelError(f"panel '{data.name}': the market data hold no bar")
    present = set(bars["symbol"].unique().to_list())
    without = [symbol for symbol in data.symbols if symbol not in present]
    if without:
        raise PanelError(f"panel '{data.name}': no bar with prices for the symbols {without}")
    return tuple(sorted(present))


def _nanoseconds(frame: pl.DataFrame) -> NDArray[np.int64]:
    instants = frame["closed_at"].cast(pl.Datetime("ns", "UTC"))
    return instants.cast(pl.Int64).to_numpy()


def _cells(
    bars: pl.DataFrame, symbols: tuple[str, ...], closed_at: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each bar its row and its symbol's column in the panel."""
    rows = np.searchsorted(closed_at, _nanoseconds(bars))
    columns = np.searchsorted(np.array(symbols), bars["symbol"].to_numpy().astype(str))
    return rows, columns


def _scatter(
    values: pl.Series,
    cells: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, int],
    empty: float,
) -> NDArray[np.float64]:
    out = np.full(shape, empty)
    out[cells] = values.cast(pl.Float64).to_numpy()
    return out


def _align_features(
    bars: pl.DataFrame,
    features: tuple[Feature, ...],
    cells: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    n_rows, n_symbols = shape
    rows, columns = cells
    out = np.full((n_rows * n_symbols, len(features)), np.nan, dtype=np.float32)
    compute_matrix(bars, features, (out, rows * n_symbols + columns))
    return out.reshape(n_rows, n_symbols, len(features))  # (T*N, F) -> (T, N, F)


def _align_valid(
    bars: pl.DataFrame,
    cells: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, int],
    warm_up: int,
) -> NDArray[np.uint8]:
    position = bars.select(pl.int_range(pl.len()).over("symbol")).to_series().to_numpy()
    valid = np.zeros(shape, dtype=np.uint8)
    valid[cells] = position >= warm_up
    return valid


def _align_reference(
    reference: pl.DataFrame, names: tuple[str, ...], closed_at: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (T, R) closes with dividends reinvested; only the close of a benchmark is read."""
    out = np.full((len(closed_at), len(names)), np.nan)
    if not names:
        return out
    closes = (pl.col("close").alias(name) for name in ("open", "high", "low"))
    carried = carry_actions(reference.with_columns(closes))
    adjusted = carried.with_columns(pl.Series("close", adjusted_closes(carried)))
    for column, name in enumerate(names):
        own = adjusted.filter(pl.col("symbol") == name)
        _, rows, taken = np.intersect1d(
            closed_at, _nanoseconds(own), assume_unique=True, return_indices=True
        )
        out[rows, column] = own["close"].to_numpy()[taken]
    return out


def _describe(
    data: MarketData,
    config: FeatureConfig,
    features: tuple[Feature, ...],
    references: tuple[str, ...],
    snapshot: str,
) -> PanelMeta:
    with_data = set(data.macro["series"].unique().to_list())
    absent = {series for series in MACRO_SERIES if series not in with_data}
    return PanelMeta(
        name=data.name,
        symbols=data.symbols,
        feature_names=tuple(feature.name for feature in features),
        macro_names=tuple(feature.name for feature in MACRO_CATALOG),
        units={feature.name: feature.unit for feature in (*features, *MACRO_CATALOG)},
        reference_names=references,
        catalog_digest=catalog_digest(config, features),
        snapshot=snapshot,
        exchange=data.exchange,
        survivor_bias=data.survivor_bias,
        missing_series=tuple(sorted(absent | set(data.missing_series))),
        first_row=max(feature.warm_up_bars for feature in features),
    )
