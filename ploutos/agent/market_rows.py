"""Market rows for a network that observes by reference. In: row numbers. Out: scaled values.

The values are those of observations by value, from the same compiled function. Nothing is kept:
the market stays where it lies, and only the rows that are asked for are gathered.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from ploutos.block import BlockRef
from ploutos.env.market import Market
from ploutos.env.observe import market_length, observe_rows, observe_windows
from ploutos.env.scaler import Scaler, Scaling, scaling_of
from ploutos.errors import PolicyError
from ploutos.panel import Panel

# Distinct rows are gathered in parts of about this size, however many a minibatch has.
PART_BYTES = 64 * 2**20


class MarketSource(NamedTuple):
    """What the row number of an observation stands for.

    data: the market; a `BlockRef` is small and is attached in whichever process it is used in, a
    panel or market is pickled whole. scaler: as of the environments. window_bars: W.
    """

    data: BlockRef | Panel | Market
    scaler: Scaler
    window_bars: int


class Part:
    """Gathered rows of some windows.

    own: which of the distinct rows the windows end at. values (R, K): market parts. places: for
    each of the W positions in a window, which of `values` the windows have there.
    """

    def __init__(
        self, own: slice, values: torch.Tensor, places: list[slice | torch.Tensor]
    ) -> None:
        self.own = own
        self._values, self._places = values, places

    def positions(self) -> Iterator[torch.Tensor]:
        """Yield what the windows have at each of their W positions, (U, K), for the moment only."""
        # One array for all positions: fresh ones would cost as much as what is copied into them.
        room = self._values.new_empty(self.own.stop - self.own.start, self._values.shape[1])
        for places in self._places:
            if isinstance(places, slice):
                yield self._values[places]
            else:
                yield torch.index_select(self._values, 0, places, out=room)


class MarketRows:
    """Scaled market rows by number, as observations by value hold them."""

    def __init__(self, market: Market, scaler: Scaler, window_bars: int) -> None:
        self.window_bars = window_bars
        self.length = market_length(market)
        self.n_rows, self.n_symbols = market.mark.shape
        self._market = market
        self._scaling: Scaling = scaling_of(scaler, self.n_symbols)

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        """Return the market parts (R, K) float32 of rows (R,) int64; zeros before the first row.

        Raises
        ------
        PolicyError
            If a row lies behind the market's last one.
        """
        self._check(numbers)
        values = np.empty((numbers.size, self.length), np.float32)
        observe_rows(self._market, self._scaling, numbers, values)
        return values

    def gather_windows(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """Write the market parts of the windows that end at rows (R,) int64 to `out`, (R, W*K).

        Raises
        ------
        PolicyError
            As `gather` does.
        """
        self._check(numbers)
        observe_windows(self._market, self._scaling, numbers, self.window_bars, out)

    def _check(self, numbers: np.ndarray) -> None:
        if numbers.size and numbers.max() >= self.n_rows:
            raise PolicyError(
                f"expected rows below {self.n_rows}, received {numbers.max()}. The observations "
                "come from another market than the policy was given."
            )

    def parts(self, distinct: torch.Tensor, like: torch.Tensor) -> Iterator[Part]:
        """Yield the windows that end at distinct sorted rows (U,), in parts of bounded size.

        Neighbours share most of their windows' rows: each row is gathered once per part.
        """
        numbers = distinct.cpu().numpy()
        waiting = [slice(0, numbers.size)]
        while waiting:
            own = waiting.pop()
            back = np.arange(1 - self.window_bars, 1)
            needed, at = np.unique(numbers[own, None] + back, return_inverse=True)  # (U, W)
            count = own.stop - own.start
            if count > 1 and needed.size * self.length * 4 > PART_BYTES:
                middle = own.start + count // 2
                waiting += [slice(middle, own.stop), slice(own.start, middle)]
                continue
            values = torch.from_numpy(self.gather(needed)).to(like)
            yield Part(own, values, [_places(places, like.device) for places in at.T])


def _places(at: np.ndarray, device: torch.device) -> slice | torch.Tensor:
    """Return increasing indices as a slice where they have no gaps: a slice copies nothing."""
    if at[-1] - at[0] == at.size - 1:
        return slice(int(at[0]), int(at[-1]) + 1)
    return torch.from_numpy(np.ascontiguousarray(at)).to(device)
