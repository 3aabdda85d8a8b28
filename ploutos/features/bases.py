"""The columns that features are written in. In: bars as traded. Out: adjusted bars and bases.

Prices are adjusted forward, so that no value depends on a later bar: with the factor 1 at a
symbol's first bar,

    factor_t = factor_{t-1} * split_ratio_t * (1 + cash_dividend_t / close_t)

and adjusted price = traded price * factor, adjusted volume = volume / product of the splits.
The base columns are computed in stages; a stage sees the columns of those before it.
"""

import polars as pl

from ploutos.features.primitives import log_change, wilder

OPEN = pl.col("open")
HIGH = pl.col("high")
LOW = pl.col("low")
CLOSE = pl.col("close")
VOLUME = pl.col("volume")
CLOSED_AT = pl.col("closed_at")
PREVIOUS_CLOSE = pl.col("previous_close")
LOG_RETURN = pl.col("log_return")
TRUE_RANGE = pl.col("true_range")
TYPICAL_PRICE = pl.col("typical_price")
ATR = pl.col("atr_14")
UNIVERSE_RETURN = pl.col("universe_return")

# In 252 bars the weight of what came before falls to (13/14)^252 = 8e-9.
WILDER_WARM_UP_BARS = 252

_FACTOR = (pl.col("split_ratio") * (1.0 + pl.col("cash_dividend") / pl.col("close"))).cum_prod()
_SHARE_FACTOR = pl.col("split_ratio").cum_prod()

_OVER_SYMBOL: tuple[dict[str, pl.Expr], ...] = (
    {
        "bar": pl.int_range(pl.len(), dtype=pl.Int64),
        "open": OPEN * _FACTOR,
        "high": HIGH * _FACTOR,
        "low": LOW * _FACTOR,
        "close": CLOSE * _FACTOR,
        "volume": VOLUME.fill_nan(None) / _SHARE_FACTOR,
    },
    {
        "previous_close": CLOSE.shift(1),
        "log_return": log_change(CLOSE, 1),
        "true_range": (
            pl.max_horizontal(HIGH, CLOSE.shift(1)) - pl.min_horizontal(LOW, CLOSE.shift(1))
        ),
        "typical_price": (HIGH + LOW + CLOSE) / 3.0,
    },
    {"atr_14": wilder(TRUE_RANGE, 14)},
)
_OVER_CLOSED_AT: dict[str, pl.Expr] = {"universe_return": LOG_RETURN.mean()}


def add_bases(bars: pl.DataFrame) -> pl.DataFrame:
    """Replace the traded columns by adjusted ones and add the base columns.

    Parameters
    ----------
    bars
        Bars as traded, sorted by (symbol, closed_at), no null prices.

    Returns
    -------
    The same rows with `bar` (position within the symbol, from 0), adjusted open, high, low,
    close (quote currency of the first bar), volume (shares of the first bar), `previous_close`,
    `log_return`, `true_range`, `typical_price`, `atr_14` (Wilder) and `universe_return` (mean
    log return of the symbols that have this bar). The first bar of a symbol has neither
    previous close nor return; its true range is high - low.
    """
    for stage in _OVER_SYMBOL:
        bars = bars.with_columns(
            expression.over("symbol").alias(name) for name, expression in stage.items()
        )
    return bars.with_columns(
        expression.over("closed_at").alias(name) for name, expression in _OVER_CLOSED_AT.items()
    )


def base_expressions() -> dict[str, pl.Expr]:
    """Return every base column's expression by `stage.name`, for the catalog's digest."""
    staged = {
        f"{number}.{name}": expression
        for number, stage in enumerate(_OVER_SYMBOL)
        for name, expression in stage.items()
    }
    return staged | {f"universe.{name}": item for name, item in _OVER_CLOSED_AT.items()}


def carry_actions(bars: pl.DataFrame) -> pl.DataFrame:
    """Drop rows without prices and move their splits and dividends to the next present bar.

    A split that falls on a missing bar multiplies into the next present one. A dividend d paid per
    share of its own date becomes d / s there, s being the splits after it: the same cash for the
    same holding. What follows a symbol's last bar has no bar to go to and is dropped.

    Parameters
    ----------
    bars
        Bars sorted by (symbol, closed_at); a row in which a price is null or NaN is no bar.

    Returns
    -------
    Bars without missing prices; the very same values where none was missing.
    """
    prices = ["open", "high", "low", "close"]
    present = pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in prices)
    bars = bars.with_columns(
        pl.col("split_ratio").fill_nan(None).fill_null(1.0),
        pl.col("cash_dividend").fill_nan(None).fill_null(0.0),
        present.alias("present"),
    )
    if bars["present"].all():
        return bars.drop("present")
    arriving = pl.col("present").cast(pl.Int64).cum_sum(reverse=True).over("symbol")
    shares = pl.col("split_ratio").cum_prod().over("symbol")
    moved = (
        bars.with_columns(arriving.alias("arriving"), shares.alias("shares"))
        .filter(pl.col("arriving") > 0)
        .group_by("symbol", "arriving", maintain_order=True)
        .agg(
            pl.exclude("split_ratio", "cash_dividend", "shares").last(),
            pl.col("split_ratio").product(),
            (pl.col("cash_dividend") * pl.col("shares")).sum() / pl.col("shares").last(),
        )
    )
    return moved.select([name for name in bars.columns if name != "present"])
