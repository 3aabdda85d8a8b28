"""The first layer of a policy over the market. In: observations, by value or by reference.

Out: `width` features. By value the layer is a linear one over the observation [W market rows |
account]. By reference the observation is [row number | account], and the layer gathers the market
itself: once per distinct row of a minibatch, from the block where it lies. Parameters, their
initialisation and results are the same, so a policy may be trained one way and act the other way.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from ploutos.agent.market_rows import MarketRows, MarketSource
from ploutos.block import Block, BlockRef, attach
from ploutos.env.market import market_of
from ploutos.env.observe import account_length
from ploutos.errors import PolicyError
from ploutos.panel import Panel


class MarketExtractor(BaseFeaturesExtractor):
    """A linear layer over the observation, and an activation.

    Parameters
    ----------
    observation_space : gym.spaces.Box
        Of the environments: (W*K + A,) by value, (1 + A,) by reference.
    width : int
        H, number of features.
    source : MarketSource, optional
        What to gather rows from; without it observations are taken by value.
    activation : type of torch.nn.Module, optional
        Applied to the layer's output; None leaves it linear.

    Raises
    ------
    PolicyError
        If the space and the source do not belong together.
    """

    def __init__(
        self,
        observation_space: gym.spaces.Box,
        width: int,
        source: MarketSource | None = None,
        activation: type[nn.Module] | None = nn.Tanh,
    ) -> None:
        super().__init__(observation_space, width)
        self._source = source
        self._rows: MarketRows | None = None
        self._block: Block | None = None
        length = _length(observation_space, None if source is None else self.rows)
        self.linear = nn.Linear(length, width)
        self.activation = nn.Identity() if activation is None else activation()

    @property
    def rows(self) -> MarketRows:
        """The market that the rows are gathered from; attached to when it is first asked for."""
        if self._source is None:
            raise PolicyError("expected a MarketSource: this extractor takes observations by value")
        if self._rows is None:
            self._rows, self._block = _open(self._source)
        return self._rows

    @property
    def is_by_reference(self) -> bool:
        """Whether observations begin with a row number that stands for the market."""
        return self._source is not None

    def bind(self, source: MarketSource) -> None:
        """Gather from another market from now on, say the newest panel of the same symbols.

        Raises
        ------
        PolicyError
            If its windows have another shape than those the layer was made for.
        """
        rows, block = _open(source)
        expected = (self.rows.window_bars, self.rows.length, self.rows.n_symbols)
        received = (rows.window_bars, rows.length, rows.n_symbols)
        if received != expected:
            raise PolicyError(
                f"expected a market with (window_bars, values per row, symbols) = {expected}, "
                f"received {received}. Train again on this panel."
            )
        self._source, self._rows, self._block = source, rows, block

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (B, H) features of (B, D) observations.

        Raises
        ------
        PolicyError
            If an observation by reference does not begin with a row number of the market.
        """
        if self._source is None:
            return self.activation(self.linear(observations))
        numbers = observations[:, 0]
        if not torch.equal(numbers, numbers.floor()):
            raise PolicyError(
                f"expected row numbers at index 0 of observations by reference, received "
                f"{numbers[:4].tolist()}. Do not normalise them: VecNormalize needs norm_obs=False."
            )
        indices = torch.unique(numbers.long(), return_inverse=True)
        features = _GatheredLinear.apply(
            self.linear.weight, self.linear.bias, observations[:, 1:], indices, self.rows
        )
        return self.activation(features)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is attached: whoever unpickles it attaches anew."""
        return self.__dict__ | {"_rows": None, "_block": None}


class _GatheredLinear(torch.autograd.Function):
    """`linear([window of market rows | account])`, with the market part once per distinct row.

    With x_b = [m_{r-W+1} .. m_r | a_b] and r the row of observation b:

        y_b = P_{u(b)} + V a_b + c,      P_u = sum_w U_w m_{u-W+1+w}
        dU_w = sum_u G_u (x) m_{u-W+1+w},   G_u = sum over the b that stand on u of dy_b

    Windows are never laid out: one window position after the other is multiplied and added up.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        bias: torch.Tensor,
        accounts: torch.Tensor,
        indices: tuple[torch.Tensor, torch.Tensor],
        rows: MarketRows,
    ) -> torch.Tensor:
        (distinct, inverse), length = indices, rows.length
        market = weight.new_zeros(distinct.numel(), weight.shape[0])  # (U, H)
        part = None
        for part in rows.parts(distinct, weight):
            sums = market[part.own]
            for w, values in enumerate(part.positions()):
                sums.addmm_(values, weight[:, w * length : (w + 1) * length].T)
        ctx.save_for_backward(weight, accounts, inverse, distinct)
        # A part that is all there is stays for the backward pass; several are gathered again.
        ctx.part = part if part is not None and part.own == slice(0, distinct.numel()) else None
        ctx.rows = rows
        account_weight = weight[:, rows.window_bars * length :]
        return torch.addmm(bias, accounts, account_weight.T).add_(market[inverse])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient = gradients[0]
        weight, accounts, inverse, distinct = ctx.saved_tensors
        rows, length = ctx.rows, ctx.rows.length
        by_row = gradient.new_zeros(distinct.numel(), weight.shape[0])  # (U, H)
        by_row.index_add_(0, inverse, gradient)
        of_weight = torch.zeros_like(weight)
        for part in [ctx.part] if ctx.part else rows.parts(distinct, weight):
            own_gradient = by_row[part.own].T  # (U, H) -> (H, U)
            for w, values in enumerate(part.positions()):
                of_weight[:, w * length : (w + 1) * length].addmm_(own_gradient, values)
        account_weight = weight[:, rows.window_bars * length :]
        of_weight[:, rows.window_bars * length :] = gradient.T @ accounts
        of_accounts = gradient @ account_weight if ctx.needs_input_grad[2] else None
        return of_weight, gradient.sum(0), of_accounts, None, None


def _open(source: MarketSource) -> tuple[MarketRows, Block | None]:
    """Return the rows of a source, and the block that was attached to for them."""
    data, block = source.data, None
    if isinstance(data, BlockRef):
        block = attach(data)
        data = block.panel
    market = market_of(data) if isinstance(data, Panel) else data
    return MarketRows(market, source.scaler, source.window_bars), block


def _length(space: gym.spaces.Box, rows: MarketRows | None) -> int:
    """Return W*K + A, the length that an observation has by value."""
    (length,) = space.shape
    if rows is None:
        # By reference the bounds of the row number differ from those of all other values.
        if np.unique(space.low).size > 1:
            raise PolicyError(
                "expected observations by value, received row numbers: give the extractor a "
                "MarketSource to gather the rows from."
            )
        return length
    account = account_length(rows.n_symbols)
    if length != 1 + account:
        raise PolicyError(
            f"expected observations by reference of length {1 + account}, a row number and an "
            f"account over {rows.n_symbols} symbols, received {length}. Configure the environments "
            "with by_reference, or leave the source out."
        )
    return rows.window_bars * rows.length + account
