"""The US dollar index. In: ECB reference rates (units per euro). Out: index points.

Source: ICE, "U.S. Dollar Index: Contracts and Methodology": a geometric mean of six exchange rates
with fixed weights, scaled to 100 in March 1973. Here it is computed from the ECB's fixings, so that
it may differ by some tenths of a percent from the index at the New York close.
"""

import polars as pl

SCALE = 50.14348112
WEIGHTS = {
    "EURUSD": -0.576,
    "USDJPY": 0.136,
    "GBPUSD": -0.119,
    "USDCAD": 0.091,
    "USDSEK": 0.042,
    "USDCHF": 0.036,
}
EURO_RATES = ("USD", "JPY", "GBP", "CAD", "SEK", "CHF")


def dollar_index() -> pl.Expr:
    """Return the expression of the index over the columns of `EURO_RATES`.

    Each column holds units of that currency per euro (Float64); null where one is null.
    """
    usd = pl.col("USD")
    pairs = {
        "EURUSD": usd,
        "USDJPY": pl.col("JPY") / usd,
        "GBPUSD": usd / pl.col("GBP"),
        "USDCAD": pl.col("CAD") / usd,
        "USDSEK": pl.col("SEK") / usd,
        "USDCHF": pl.col("CHF") / usd,
    }
    index = pl.lit(SCALE)
    for pair, weight in WEIGHTS.items():
        index = index * pairs[pair].pow(weight)
    return index
