"""The market part of the input layer, for observations by reference. In: rows. Out: products.

A row number stands for the window of market rows that ends there, so what the input layer makes of
it is a function of the row and the parameters: it is computed once per distinct row, in a rollout
once per update of the policy, in a minibatch once per part.
"""

import numpy as np

from ploutos.agent.fused.network import N_OUT, Net, market_weight
from ploutos.agent.fused.options import fused
from ploutos.agent.market_rows import MarketRows

# Windows that are laid out at a time, in values.
_MOST_VALUES = 2**21


class MarketTable:
    """Market parts of the input layer by row number, (T, H), computed when they are asked for."""

    def __init__(self, rows: MarketRows, net: Net) -> None:
        self._rows, self._net = rows, net
        self.values = np.zeros((rows.n_rows, int(net.input_layer[N_OUT])), np.float32)
        self._known = np.zeros(rows.n_rows, np.bool_)

    def forget(self) -> None:
        """Note that the parameters have changed."""
        self._known[:] = False

    def look_up(self, numbers: np.ndarray) -> np.ndarray:
        """Return the table, with the rows `numbers`, (E,) int64, filled in.

        Raises
        ------
        PolicyError
            If a row lies behind the market's last one.
        """
        self._rows.check(numbers)
        missing = np.unique(numbers[~self._known[numbers]])
        weight = market_weight(self._net, self._net.parameters)
        most = max(1, _MOST_VALUES // self._net.n_market)
        for first in range(0, missing.size, most):
            own = missing[first : first + most]
            windows = np.empty((own.size, self._net.n_market), np.float32)
            self._rows.gather_windows(own, windows)
            self.values[own] = windows @ weight
        self._known[missing] = True
        return self.values


@fused
def group_by_row(
    numbers: np.ndarray, slots: np.ndarray, place: np.ndarray, distinct: np.ndarray
) -> int:
    """Find the distinct rows of some samples.

    Parameters
    ----------
    numbers : (n,) int64
        Row numbers of the samples.
    slots : (T,) int64
        All -1, and so again afterwards.
    place : (n,) int64
        Written: for each sample, which of `distinct` is its row.
    distinct : (n,) int64
        Written: the distinct rows in the order of their first samples.

    Returns
    -------
    int
        How many rows are distinct.
    """
    count = 0
    for i in range(numbers.shape[0]):
        row = numbers[i]
        if slots[row] < 0:
            slots[row], distinct[count] = count, row
            count += 1
        place[i] = slots[row]
    for i in range(count):
        slots[distinct[i]] = -1
    return count


class PartMarket:
    """The market part of the input layer for the parts that one thread works off."""

    def __init__(self, rows: MarketRows, net: Net) -> None:
        self._rows, self._net = rows, net
        self._slots = np.full(rows.n_rows, -1, np.int64)
        self._windows = np.empty((0, net.n_market), np.float32)
        self._products = np.empty((2, 0, int(net.input_layer[N_OUT])), np.float32)
        self._count = 0

    def of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what `part_gradient` takes as `market` for samples on rows (n,) int64."""
        place, distinct = np.empty_like(numbers), np.empty_like(numbers)
        self._count = group_by_row(numbers, self._slots, place, distinct)
        if self._count > self._windows.shape[0]:
            self._windows = np.empty((self._count, self._net.n_market), np.float32)
            self._products = np.empty((2, self._count, self._products.shape[2]), np.float32)
        windows = self._windows[: self._count]
        self._rows.gather_windows(distinct[: self._count], windows)
        parts, gradient = self._products[:, : self._count]
        np.matmul(windows, market_weight(self._net, self._net.parameters), out=parts)
        return parts, place, gradient

    def write_gradient(self, gradient: np.ndarray, of_parameters: np.ndarray) -> None:
        """Write the gradient of the market's weights, given that of what `of` returned."""
        windows = self._windows[: self._count]
        np.matmul(windows.T, gradient, out=market_weight(self._net, of_parameters))
