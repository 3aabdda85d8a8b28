"""The columns that features are written in. In: bars as traded. Out: adjusted bars and bases.

Prices are adjusted forward, so that no value depends on a later bar: with the factor 1 before a
symbol's first bar,

    factor_t = factor_{t-1} * split_ratio_t * (1 + cash_dividend_t / close_t)

and adjusted price = traded price * factor, adjusted volume = volume / product of the splits.
"""

import polars as pl

from ploutos.features.expression import Expression, column, maximum, minimum
from ploutos.features.primitives import running_product, universe_mean, wilder
from ploutos.market import actions

_FACTOR = running_product(column("split_ratio") * (1.0 + column("cash_dividend") / column("close")))

OPEN = column("open") * _FACTOR
HIGH = column("high") * _FACTOR
LOW = column("low") * _FACTOR
CLOSE = column("close") * _FACTOR
VOLUME = column("volume") / running_product(column("split_ratio"))
ELAPSED_DAYS = column("elapsed_days")
LOG_OPEN = OPEN.log()
LOG_HIGH = HIGH.log()
LOG_LOW = LOW.log()
LOG_CLOSE = CLOSE.log()
PREVIOUS_CLOSE = CLOSE.shift(1)
LOG_RETURN = LOG_CLOSE.diff()
TRUE_RANGE = maximum(HIGH, PREVIOUS_CLOSE) - minimum(LOW, PREVIOUS_CLOSE)
TYPICAL_PRICE = (HIGH + LOW + CLOSE) / 3.0
ATR = wilder(TRUE_RANGE, 14)
UNIVERSE_RETURN = universe_mean(LOG_RETURN)

# In 252 bars the weight of what came before falls to (13/14)^252 = 8e-9.
WILDER_WARM_UP_BARS = 252

# Prices are whole ticks, so their differences tie; in floating point the tie is off by a rounding
# error that depends on the unit of the price. Below this share of the price it counts as a tie.
TIE = 1e-9 * CLOSE

# What a row written as a Polars expression may name. The first bar of a symbol has neither a
# previous close nor a return; its true range is high - low.
BASES: dict[str, Expression] = {
    "open": OPEN,
    "high": HIGH,
    "low": LOW,
    "close": CLOSE,
    "volume": VOLUME,
    "elapsed_days": ELAPSED_DAYS,
    "previous_close": PREVIOUS_CLOSE,
    "log_return": LOG_RETURN,
    "true_range": TRUE_RANGE,
    "typical_price": TYPICAL_PRICE,
    "atr_14": ATR,
    "universe_return": UNIVERSE_RETURN,
}


def rounded(x: Expression) -> Expression:
    """Return x to the next multiple of 2^-32, for |x| below 2^19.

    Values that are equal but for rounding errors become equal, so that a rank sees the tie. Beside
    2^20 a double keeps just these bits of x.
    """
    return (x + 2.0**20) - 2.0**20


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
    complete = pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in prices)
    filled = bars.with_columns(
        pl.col("split_ratio").fill_nan(None).fill_null(1.0),
        pl.col("cash_dividend").fill_nan(None).fill_null(0.0),
    )
    return actions.carry_actions(filled, bars.select(complete).to_series())
