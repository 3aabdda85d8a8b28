"""The panel as the kernel sees it. In: a panel. Out: `Market`, a tuple of read-only arrays."""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.panel import Panel


class Market(NamedTuple):
    """What the kernel reads of the market, by row number.

    features (T, N, F) float32; macro (T, M) float32; open, mark (T, N) float64 (mark: the last
    close known at the row, NaN before the first bar); split_ratio, cash_dividend (T, N) float64;
    valid (T, N), macro_valid (T, M) uint8. The big arrays are views of the shared block; `open`
    and `mark` are the only copies, 16 bytes per bar and symbol.
    """

    features: np.ndarray
    macro: np.ndarray
    open: np.ndarray
    mark: np.ndarray
    split_ratio: np.ndarray
    cash_dividend: np.ndarray
    valid: np.ndarray
    macro_valid: np.ndarray


def market_of(panel: Panel) -> Market:
    """Bind a panel: views of its arrays, plus the opens and the carried-forward closes."""
    return Market(
        features=panel.features,
        macro=panel.macro,
        open=np.ascontiguousarray(panel.prices[:, :, 0]),
        mark=carry_forward(np.ascontiguousarray(panel.prices[:, :, 3])),
        split_ratio=panel.split_ratio,
        cash_dividend=panel.cash_dividend,
        valid=panel.valid,
        macro_valid=panel.macro_valid,
    )


@compiled
def carry_forward(close: np.ndarray) -> np.ndarray:
    """Return (T, N) closes with gaps filled by the last known close; leading NaN stay.

    A split on a date without a bar waits in the panel for the symbol's next bar, so the carried
    price and the number of shares held always belong together.
    """
    mark = close.copy()
    for t in range(1, mark.shape[0]):
        for n in range(mark.shape[1]):
            if np.isnan(mark[t, n]):
                mark[t, n] = mark[t - 1, n]
    return mark
