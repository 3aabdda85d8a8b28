"""The engine: evaluates catalog rows on bars. In: bars as traded. Out: one column per feature.

Rows written as `Expression` are one program for the compiled machine. Rows written as Polars
expressions are evaluated by Polars, on the columns of the machine that they name.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.bars import read_bars
from ploutos.features.bases import BASES
from ploutos.features.catalog import CATALOG, check_catalog, select_features
from ploutos.features.config import FeatureConfig
from ploutos.features.evaluate import Columns, Segments, evaluate_columns, evaluate_rows
from ploutos.features.expression import Expression, column
from ploutos.features.feature import Feature, outputs_of
from ploutos.features.program import Output


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
        If a column is missing, rows are unsorted or duplicated, a price is not a positive finite
        number, or Polars cannot compute a row that is written in its words.
    """
    wanted = select_features(config) if features is None else features
    check_catalog(wanted)
    columns, segments = read_bars(bars)
    columns, outputs = _with_polars_rows(bars, columns, segments, wanted)
    computed = evaluate_columns(columns, segments, outputs)
    added = pl.DataFrame(
        {feature.name: own for feature, own in zip(wanted, computed, strict=True)},
        schema=[feature.name for feature in wanted],
    )
    return bars.select("symbol", "closed_at").hstack(added.with_columns(pl.all().fill_nan(None)))


def compute_matrix(
    bars: pl.DataFrame,
    features: tuple[Feature, ...],
    target: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> NDArray[np.float32]:
    """Compute features straight into a row-major matrix: what a panel is made of.

    Parameters
    ----------
    bars
        As `compute_features` takes them.
    features
        The rows of the catalog to compute, one column each.
    target
        A (rows, F) matrix to write into, and for each bar its row there; rows that no bar has are
        left alone. Without it, a new matrix with one row per bar is made.

    Returns
    -------
    The matrix, float32: the values of `compute_features` rounded, NaN where those are null or
    beyond float32.

    Raises
    ------
    FeatureError
        As `compute_features`.
    """
    check_catalog(features)
    columns, segments = read_bars(bars)
    matrix, rows = target or (
        np.empty((bars.height, len(features)), np.float32),
        np.arange(bars.height),
    )
    columns, outputs = _with_polars_rows(bars, columns, segments, features)
    evaluate_rows(columns, segments, outputs, (matrix, rows))
    return matrix


def adjusted_closes(bars: pl.DataFrame) -> NDArray[np.float64]:
    """Return the close of each bar adjusted forward for splits and dividends.

    Raises
    ------
    FeatureError
        As `compute_features`.
    """
    columns, segments = read_bars(bars)
    return evaluate_columns(columns, segments, [Output(BASES["close"])])[0]


def _with_polars_rows(
    bars: pl.DataFrame, columns: Columns, segments: Segments, features: Sequence[Feature]
) -> tuple[Columns, list[Output]]:
    """Evaluate the rows that are Polars expressions, as columns; return all rows' outputs."""
    computed = {
        f"row {name}": values
        for name, values in _polars_columns(bars, columns, segments, features).items()
    }
    outputs = [
        Output(feature.expression, feature.warm_up_bars)
        if isinstance(feature.expression, Expression)
        else Output(column(f"row {feature.name}"), feature.warm_up_bars)
        for feature in features
    ]
    return {**columns, **computed}, outputs


def _polars_columns(
    bars: pl.DataFrame, columns: Columns, segments: Segments, features: Sequence[Feature]
) -> dict[str, NDArray[np.float64]]:
    """Evaluate the rows that are Polars expressions; null and infinite become NaN."""
    rows = [feature for feature in features if isinstance(feature.expression, pl.Expr)]
    computed = calendar_columns(segments, [row for row in rows if row.over == "instant"])
    rows = [feature for feature in rows if feature.over != "instant"]
    if not rows:
        return computed
    frame = _frame_of_bases(bars, columns, segments, features)
    for over in ("symbol", "closed_at"):
        own = [feature for feature in rows if feature.over == over]
        frame = _with_rows(frame, own, over).with_columns(
            pl.when((pl.col("bar") >= feature.warm_up_bars) & pl.col(feature.name).is_finite())
            .then(pl.col(feature.name))
            .alias(feature.name)
            for feature in own
        )
    return computed | {feature.name: frame[feature.name].to_numpy() for feature in rows}


def _frame_of_bases(
    bars: pl.DataFrame, columns: Columns, segments: Segments, features: Sequence[Feature]
) -> pl.DataFrame:
    """Return the columns that Polars rows name: bases, compiled features, and the bar's number."""
    named = {
        name
        for feature in features
        if isinstance(feature.expression, pl.Expr)
        for name in feature.expression.meta.root_names()
    }
    known = {name: Output(expression) for name, expression in BASES.items()}
    compiled = [one for one in (*CATALOG, *features) if isinstance(one.expression, Expression)]
    known |= dict(zip((one.name for one in compiled), outputs_of(compiled), strict=True))
    wanted = [name for name in sorted(named) if name in known]
    values = evaluate_columns(columns, segments, [known[name] for name in wanted])
    lengths = np.diff(segments.bounds)
    number = np.arange(bars.height) - np.repeat(segments.bounds[:-1], lengths)
    return bars.select("symbol", "closed_at").with_columns(
        pl.Series("bar", number),
        *(pl.Series(name, own).fill_nan(None) for name, own in zip(wanted, values, strict=True)),
    )


def calendar_columns(
    segments: Segments, features: Sequence[Feature]
) -> dict[str, NDArray[np.float64]]:
    """Evaluate rows that depend on the instant alone, once per distinct instant."""
    if not features:
        return {}
    distinct, places = segments.groups()
    clock = pl.DataFrame({"closed_at": distinct}).with_columns(
        pl.col("closed_at").cast(pl.Datetime("ns", "UTC"))
    )
    computed = _with_rows(clock, features, None)
    return {feature.name: computed[feature.name].to_numpy()[places] for feature in features}


def _with_rows(frame: pl.DataFrame, features: Sequence[Feature], over: str | None) -> pl.DataFrame:
    """Add rows that are Polars expressions; name the one that Polars cannot compute."""
    expressions = {
        feature.name: feature.expression.cast(pl.Float64)
        for feature in features
        if isinstance(feature.expression, pl.Expr)
    }
    if over is not None:
        expressions = {name: one.over(over) for name, one in expressions.items()}
    try:
        return frame.with_columns(**expressions)
    except pl.exceptions.PolarsError as error:
        for name, one in expressions.items():
            try:
                frame.select(one)
            except pl.exceptions.PolarsError as own:
                raise _not_computed(f"the feature '{name}'", own) from own
        raise _not_computed(f"the features {list(expressions)}", error) from error


def _not_computed(what: str, error: Exception) -> FeatureError:
    first_line = str(error).splitlines()[0]
    return FeatureError(
        f"{what} cannot be computed: {type(error).__name__}: {first_line}. It may name the bases "
        "of `ploutos.features.bases` and, with over='closed_at', other features."
    )
