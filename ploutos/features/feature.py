"""What a catalog row is. In: nothing. Out: the frozen `Feature`, the unit of the catalog."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

MAX_WARM_UP_BARS = 252


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: a causal, scale-free expression and what a reader must know about it.

    Attributes
    ----------
    name
        Column name, unique in the catalog.
    family
        The file under `ploutos/features/` that holds it.
    expression
        Polars expression without `.over`. It may name the adjusted bar columns and the base
        columns of `ploutos.features.bases`; with `over="closed_at"` other features as well.
    warm_up_bars
        Number of leading bars of a symbol at which the value is null, 0 to 252. After them the
        value does not depend on where the history starts (relative error below 1e-6).
    unit
        Unit of the value, never price or shares.
    formula
        The formula in words, from which the oracle in the tests is written.
    source
        Paper, book or rule that the formula comes from.
    over
        The partition it is computed in: the bars of one symbol, or the symbols of one bar.
    """

    name: str
    family: str
    expression: pl.Expr
    warm_up_bars: int
    unit: str
    formula: str
    source: str
    over: Literal["symbol", "closed_at"] = "symbol"
