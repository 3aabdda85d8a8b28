"""The engine: evaluates catalog rows on bars. In: bars as traded. Out: one column per feature.

Each expression of a select holds exactly one `.over`, so that Polars builds the groups once.
Features over the symbols of a bar come after, and read the masked features of the bars.
"""

import polars as pl

from ploutos.errors import FeatureError
from ploutos.features.bases import add_bases
from ploutos.features.catalog import CATALOG, check_catalog, select_features
from ploutos.features.config import FeatureConfig
from ploutos.features.feature import Feature

BAR_COLUMNS: tuple[str, ...] = (
    "symbol",
    "closed_at",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "split_ratio",
    "cash_dividend",
)


def compute_features(
    bars: pl.DataFrame, config: FeatureConfig, features: tuple[Feature, ...] | None = None
) -> pl.DataFrame:
    """Compute the technical features of the config's families.

    Parameters
    ----------
    bars
        Bars as traded: symbol, closed_at, open, high, low, close (quote currency), volume (shares),
        split_ratio, cash_dividend; sorted by (symbol, closed_at), unique, prices positive.
        A missing bar is an absent row. The volume may be null; a feature that needs it is null
        while the window holds such a bar.
    config
        Picks the families.
    features
        Rows to compute instead, a user's own for instance; `config` is then not consulted.

    Returns
    -------
    The same rows in the same order: symbol, closed_at and one Float64 column per feature. Null in
    the feature's first `warm_up_bars` bars of a symbol and where its family's docstring says so;
    never NaN, never infinite. Known when the bar has closed.

    Raises
    ------
    FeatureError
        If a column is missing, rows are unsorted or duplicated, or a price is not a positive
        finite number.
    """
    wanted = select_features(config) if features is None else features
    check_catalog(wanted)
    _check_bars(bars)
    by_symbol, across = _plan(wanted)
    frame = add_bases(bars.select(BAR_COLUMNS))
    frame = _evaluate(frame, by_symbol)
    frame = _evaluate(frame, across)
    return frame.select("symbol", "closed_at", *(feature.name for feature in wanted))


def _plan(wanted: tuple[Feature, ...]) -> tuple[list[Feature], list[Feature]]:
    """Split into features over a symbol's bars (with those only read by others) and the rest."""
    names = {feature.name for feature in wanted}
    across = [feature for feature in wanted if feature.over == "closed_at"]
    read = {name for feature in across for name in feature.expression.meta.root_names()}
    by_symbol = [feature for feature in wanted if feature.over == "symbol"]
    by_symbol += [
        feature for feature in CATALOG if feature.name in read and feature.name not in names
    ]
    return by_symbol, across


def _evaluate(frame: pl.DataFrame, features: list[Feature]) -> pl.DataFrame:
    frame = frame.with_columns(
        feature.expression.cast(pl.Float64).over(feature.over).alias(feature.name)
        for feature in features
    )
    return frame.with_columns(
        pl.when((pl.col("bar") >= feature.warm_up_bars) & pl.col(feature.name).is_finite())
        .then(pl.col(feature.name))
        .alias(feature.name)
        for feature in features
    )


def _check_bars(bars: pl.DataFrame) -> None:
    missing = [name for name in BAR_COLUMNS if name not in bars.columns]
    if missing:
        raise FeatureError(
            f"bars: missing columns {missing}; received {bars.columns}. Names are lower case."
        )
    same_symbol = pl.col("symbol") == pl.col("symbol").shift(1)
    unsorted = bars.select("symbol", "closed_at").filter(
        (pl.col("symbol") < pl.col("symbol").shift(1))
        | (same_symbol & (pl.col("closed_at") <= pl.col("closed_at").shift(1)))
    )
    if unsorted.height:
        symbol, closed_at = unsorted.row(0)
        raise FeatureError(
            f"bars must be sorted by (symbol, closed_at) without duplicates; the row of {symbol} "
            f"at {closed_at} is out of order"
        )
    prices = ("open", "high", "low", "close")
    sound = pl.all_horizontal(
        (pl.col(name).is_finite() & (pl.col(name) > 0.0)).fill_null(False) for name in prices
    )
    unsound = bars.filter(~sound)
    if unsound.height:
        row = unsound.row(0, named=True)
        raise FeatureError(
            f"bars: prices must be positive finite numbers; {row['symbol']} at {row['closed_at']} "
            f"has { ({name: row[name] for name in prices}) }. Remove the row: a missing bar is an "
            "absent row."
        )
