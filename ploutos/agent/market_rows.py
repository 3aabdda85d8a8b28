"""Market rows for a network that observes by reference. In: row numbers. Out: scaled values.

The values are those of observations by value, from the same compiled function. Nothing is kept:
the market stays where it lies, and only the rows that are asked for are gathered.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from ploutos.block import Block, BlockRef, attach
from ploutos.env.market import Market, market_of
from ploutos.env.observe import account_length, market_length, observe_rows, observe_windows
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


class Layout(NamedTuple):
    """Sizes that say what stands where in an observation (`ploutos.env.observe`).

    n_symbols: N; n_features: F, of a symbol; n_macro: M; window_bars: W.
    """

    n_symbols: int
    n_features: int
    n_macro: int
    window_bars: int

    @property
    def row_length(self) -> int:
        """K = N*(F + 1) + 2*M, the length of one row's market part."""
        return self.n_symbols * (self.n_features + 1) + 2 * self.n_macro

    @property
    def account_length(self) -> int:
        """A, the length of the account part."""
        return account_length(self.n_symbols)

    @property
    def length(self) -> int:
        """D = W*K + A, the length of an observation by value."""
        return self.window_bars * self.row_length + self.account_length


def layout_of(market: Market | Panel, window_bars: int) -> Layout:
    """Return the layout of observations of a market, or of the panel it is bound to."""
    n_symbols, n_features = market.features.shape[1:]
    return Layout(n_symbols, n_features, market.macro.shape[1], window_bars)


def layout_of_length(length: int, n_symbols: int, n_features: int, window_bars: int) -> Layout:
    """Return the layout of by-value observations of length D.

    Raises
    ------
    PolicyError
        If no number of macro values gives that length.
    """
    without = Layout(n_symbols, n_features, 0, window_bars)
    n_macro, rest = divmod(length - without.length, 2 * window_bars)
    if rest or n_macro < 0:
        raise PolicyError(
            f"expected an observation of {without.length} values and {2 * window_bars} more for "
            f"each macro series, for {without}, received {length}."
        )
    return without._replace(n_macro=n_macro)


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
        self.layout = layout_of(market, window_bars)
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
        self.check(numbers)
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
        self.check(numbers)
        observe_windows(self._market, self._scaling, numbers, self.window_bars, out)

    def check(self, numbers: np.ndarray) -> None:
        """Refuse row numbers behind the market's last one.

        Raises
        ------
        PolicyError
            If there is one.
        """
        if numbers.size and numbers.max() >= self.n_rows:
            raise PolicyError(
                f"expected rows below {self.n_rows}, received {numbers.max()}. The observations "
                "come from another market than the policy was given."
            )

    def valid(self, distinct: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return which symbols can be traded at rows (U,): (U, N), 1 or 0, in the type of `like`.

        The rows are those of decisions, which none before the first one is.
        """
        return torch.from_numpy(self._market.valid[distinct.cpu().numpy()]).to(like)

    def parts(self, distinct: torch.Tensor, window_bars: int, like: torch.Tensor) -> Iterator[Part]:
        """Yield the windows that end at distinct sorted rows (U,), in parts of bounded size.

        Neighbours share most of their windows' rows: each row is gathered once per part.
        """
        numbers = distinct.cpu().numpy()
        waiting = [slice(0, numbers.size)]
        while waiting:
            own = waiting.pop()
            back = np.arange(1 - window_bars, 1)
            needed, at = np.unique(numbers[own, None] + back, return_inverse=True)  # (U, W)
            count = own.stop - own.start
            if count > 1 and needed.size * self.length * 4 > PART_BYTES:
                middle = own.start + count // 2
                waiting += [slice(middle, own.stop), slice(own.start, middle)]
                continue
            values = torch.from_numpy(self.gather(needed)).to(like)
            yield Part(own, values, [_places(places, like.device) for places in at.T])


class BoundMarket:
    """The market that row numbers stand for; attached to when it is first asked for.

    What is attached is not pickled: whoever unpickles it attaches anew.
    """

    def __init__(self, source: MarketSource) -> None:
        self._source = source
        self._rows: MarketRows | None = None
        self._block: Block | None = None

    @property
    def rows(self) -> MarketRows:
        """The market that the rows are gathered from."""
        if self._rows is None:
            self._rows, self._block = _open(self._source)
        return self._rows

    def bind(self, source: MarketSource) -> None:
        """Gather from another market from now on, say the newest panel of the same symbols.

        Raises
        ------
        PolicyError
            If its observations have another layout than those the network was made for.
        """
        rows, block = _open(source)
        if rows.layout != self.rows.layout:
            raise PolicyError(
                f"expected a market with {self.rows.layout}, received {rows.layout}. Train again "
                "on this panel."
            )
        self._source, self._rows, self._block = source, rows, block

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": None, "_block": None}


def _open(source: MarketSource) -> tuple[MarketRows, Block | None]:
    """Return the rows of a source, and the block that was attached to for them."""
    data, block = source.data, None
    if isinstance(data, BlockRef):
        block = attach(data)
        data = block.panel
    market = market_of(data) if isinstance(data, Panel) else data
    return MarketRows(market, source.scaler, source.window_bars), block


def _places(at: np.ndarray, device: torch.device) -> slice | torch.Tensor:
    """Return increasing indices as a slice where they have no gaps: a slice copies nothing."""
    if at[-1] - at[0] == at.size - 1:
        return slice(int(at[0]), int(at[-1]) + 1)
    return torch.from_numpy(np.ascontiguousarray(at)).to(device)
