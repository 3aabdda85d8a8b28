"""What all layers over observations by reference share. In: row numbers. Out: projected rows.

The market part of a layer is the same for every environment that stands on the same row. `project`
computes it once per distinct row, exactly, in the rollout and in the update.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from ploutos.agent.market_rows import BoundMarket, Layout, MarketRows, MarketSource
from ploutos.env.observe import account_length
from ploutos.errors import PolicyError

# Cuts market parts (R, K) into the inputs (R * n, C) that a weight is applied to.
Cut = Callable[[torch.Tensor], torch.Tensor]


def whole(rows: torch.Tensor) -> torch.Tensor:
    """Leave market parts (R, K) as they are."""
    return rows


def distinct_rows(observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distinct sorted rows (U,) of observations by reference, and which is whose (B,).

    Raises
    ------
    PolicyError
        If an observation does not begin with a row number.
    """
    numbers = observations[:, 0]
    if not torch.equal(numbers, numbers.floor()):
        raise PolicyError(
            f"expected row numbers at index 0 of observations by reference, received "
            f"{numbers[:4].tolist()}. Do not normalise them: VecNormalize needs norm_obs=False."
        )
    return torch.unique(numbers.long(), return_inverse=True)


def project(
    rows: MarketRows,
    distinct: torch.Tensor,
    window_bars: int,
    layers: Sequence[tuple[Cut, torch.Tensor]],
) -> tuple[torch.Tensor, ...]:
    """Apply linear layers to the windows that end at distinct rows, each row gathered once.

    With m_t the market part of row t, for each layer (cut, U = [U_1 .. U_W]):

        P_u = sum_w cut(m_{u-W+w}) U_w^T

    Windows are never laid out: one window position after the other is multiplied and added up.

    Parameters
    ----------
    rows : MarketRows
        Where market parts are gathered from; zeros before the first row.
    distinct : (U,) int64
        Sorted row numbers, none twice.
    window_bars : int
        W, rows up to and including the distinct one.
    layers : sequence of (cut, weight)
        Weights are (H, W*C), the columns of the oldest row first, for a cut into C columns.

    Returns
    -------
    (U * n, H), one for each layer; n is how many inputs its cut makes of one row.
    """
    cuts = tuple(cut for cut, _ in layers)
    gathering = _Gathering(rows, distinct, window_bars, cuts)
    return _Projection.apply(gathering, *(weight for _, weight in layers))


class _Gathering(NamedTuple):
    """What a projection is over: see `project`."""

    rows: MarketRows
    distinct: torch.Tensor
    window_bars: int
    cuts: tuple[Cut, ...]


class _Projection(torch.autograd.Function):
    """`project`, and its gradient with respect to the weights.

    dU_w = sum_u dP_u^T cut(m_{u-W+w}), over the same gathered rows.
    """

    @staticmethod
    def forward(
        ctx: Any, gathering: _Gathering, *weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        rows, distinct, window_bars, cuts = gathering
        found: list[list[torch.Tensor]] = [[] for _ in cuts]
        part = None
        for part in rows.parts(distinct, window_bars, weights[0]):
            sums: list[torch.Tensor] = []
            for w, values in enumerate(part.positions()):
                for i, (cut, weight) in enumerate(zip(cuts, weights, strict=True)):
                    inputs, own = cut(values), _at(weight, w, window_bars)
                    if w == 0:
                        sums.append(inputs @ own.T)
                    else:
                        sums[i].addmm_(inputs, own.T)
            for own_sums, all_sums in zip(sums, found, strict=True):
                all_sums.append(own_sums)
        # A part that is all there is stays for the backward pass; several are gathered again.
        ctx.part = part if len(found[0]) == 1 else None
        ctx.gathering = gathering
        ctx.shapes = [weight.shape for weight in weights]
        return tuple(sums[0] if len(sums) == 1 else torch.cat(sums) for sums in found)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, distinct, window_bars, cuts = ctx.gathering
        of_weights = [gradients[0].new_zeros(shape) for shape in ctx.shapes]
        again = rows.parts(distinct, window_bars, gradients[0])
        for part in [ctx.part] if ctx.part else again:
            # Each distinct row has as many of a layer's gradients as the cut makes inputs of it.
            own_gradients = [_of_part(one, part.own, distinct.numel()).T for one in gradients]
            for w, values in enumerate(part.positions()):
                for cut, own, total in zip(cuts, own_gradients, of_weights, strict=True):
                    _at(total, w, window_bars).addmm_(own, cut(values))
        return None, *of_weights


def _at(weight: torch.Tensor, w: int, window_bars: int) -> torch.Tensor:
    """Return the columns (H, C) of a weight (H, W*C) that belong to position w of the window."""
    columns = weight.shape[1] // window_bars
    return weight[:, w * columns : (w + 1) * columns]


def _of_part(gradient: torch.Tensor, own: slice, n_distinct: int) -> torch.Tensor:
    """Return the rows of a gradient (U * n, H) that belong to the distinct rows `own`."""
    each = gradient.shape[0] // n_distinct
    return gradient[own.start * each : own.stop * each]


def check_by_value(space: gym.spaces.Box) -> None:
    """Refuse the space of observations by reference where no market was given.

    Raises
    ------
    PolicyError
        If the observations are row numbers.
    """
    # By reference the bounds of the row number differ from those of all other values.
    if np.unique(space.low).size > 1:
        raise PolicyError(
            "expected observations by value, received row numbers: give the extractor a "
            "MarketSource to gather the rows from."
        )


def check_by_reference(space: gym.spaces.Box, n_symbols: int) -> None:
    """Refuse a space that is not that of a row number and an account over N symbols.

    Raises
    ------
    PolicyError
        If the length differs.
    """
    (length,) = space.shape
    account = account_length(n_symbols)
    if length != 1 + account:
        raise PolicyError(
            f"expected observations by reference of length {1 + account}, a row number and an "
            f"account over {n_symbols} symbols, received {length}. Configure the environments "
            "with by_reference, or leave the source out."
        )


def bound_market(
    space: gym.spaces.Box, layout: Layout, source: MarketSource | None
) -> BoundMarket | None:
    """Return the market to gather from, None by value, once space, layout and source fit.

    Raises
    ------
    PolicyError
        If they do not.
    """
    if source is None:
        check_by_value(space)
        if space.shape != (layout.length,):
            raise PolicyError(
                f"expected observations by value of length {layout.length} for {layout}, received "
                f"{space.shape}. The layout is that of other environments."
            )
        return None
    check_by_reference(space, layout.n_symbols)
    market = BoundMarket(source)
    if market.rows.layout != layout:
        raise PolicyError(
            f"expected a source with {layout}, received {market.rows.layout}. The source is not "
            "the market of the environments."
        )
    return market
