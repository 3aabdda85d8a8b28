"""How much the clip cuts off. In: a panel, folds, their scalers. Out: one row for each feature.

A feature with many values at the clip says "very much" where it could say how much; above one in a
hundred its form or its scale deserves a look.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ploutos.env.scaler import Scaler, clip_shares
from ploutos.folds import Fold
from ploutos.panel import Panel


def scaling_rows(
    panel: Panel, folds: Sequence[Fold], scalers: Mapping[int, Scaler]
) -> list[dict[str, Any]]:
    """Return the share of each feature's values that is at the clip, the largest first.

    Parameters
    ----------
    panel, folds
        What was trained and tested on.
    scalers
        The scaler of each fold, by the fold's index.

    Returns
    -------
    Rows `feature`, `train`, `test`: the share in the worst fold, a fraction of the known values on
    the fold's training rows and on its test rows; NaN where no value is known in any fold.
    """
    train = _worst([clip_shares(panel, fold.train, scalers[fold.index]) for fold in folds])
    test = _worst([clip_shares(panel, fold.test, scalers[fold.index]) for fold in folds])
    names = (*panel.meta.feature_names, *panel.meta.macro_names)
    rows = [
        {"feature": name, "train": float(fitted), "test": float(unseen)}
        for name, fitted, unseen in zip(names, train, test, strict=True)
    ]
    return sorted(rows, key=lambda row: (-_largest(row), row["feature"]))


def most_clipped(rows: Sequence[Mapping[str, Any]], part: str) -> dict[str, Any]:
    """Return `feature` and `share` of the largest share of a part, `train` or `test`."""
    known = [row for row in rows if math.isfinite(row[part])]
    if not known:
        return {"feature": "", "share": 0.0}
    worst = max(known, key=lambda row: row[part])
    return {"feature": worst["feature"], "share": worst[part]}


def _worst(shares: list[np.ndarray]) -> np.ndarray:
    """Return the largest share over the folds, NaN where no fold knows one."""
    return np.fmax.reduce(shares)  # folds x (F + M,) -> (F + M,)


def _largest(row: Mapping[str, Any]) -> float:
    return float(np.nan_to_num(np.fmax(row["train"], row["test"]), nan=-1.0))
