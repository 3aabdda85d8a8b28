"""What a catalog row is. In: nothing. Out: the frozen `Feature`, the unit of the catalog."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ploutos.features.expression import Expression
from ploutos.features.program import Output

MAX_WARM_UP_BARS = 252


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: a causal, scale-free expression and what a reader must know about it.

    Attributes
    ----------
    name
        Column name, unique in the catalog.
    family
        The file under `ploutos/features/` that holds it; any word for a feature of one's own.
    expression
        An `Expression` over the bases of `ploutos.features.bases`, which the compiled machine
        computes; or a Polars expression without `.over` that names the bases (`pl.col("close")`
        is the adjusted close), for what no primitive says, at the speed of Polars.
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
        Where a Polars expression is evaluated: over the bars of one symbol, over the symbols of one
        bar (it may then name other features), or over the distinct instants, where it may read
        `closed_at` only.
    """

    name: str
    family: str
    expression: Expression | pl.Expr
    warm_up_bars: int
    unit: str
    formula: str
    source: str
    over: Literal["symbol", "closed_at", "instant"] = "symbol"


def outputs_of(features: Iterable[Feature]) -> list[Output]:
    """Return what the machine is to compute for the rows that it can compute."""
    return [
        Output(feature.expression, feature.warm_up_bars)
        for feature in features
        if isinstance(feature.expression, Expression)
    ]
