"""The first layer of a policy over the market. In: observations, by value or by reference.

Out: `width` features. By value the layer is a linear one over the observation [W market rows |
account]. By reference the observation is [row number | account], and the layer gathers the market
itself: once per distinct row of a minibatch, from the block where it lies. Parameters, their
initialisation and results are the same, so a policy may be trained one way and act the other way.
"""

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from ploutos.agent.encoders.reference import (
    check_by_reference,
    check_by_value,
    distinct_rows,
    project,
    whole,
)
from ploutos.agent.market_rows import BoundMarket, MarketRows, MarketSource
from ploutos.errors import PolicyError


class MarketExtractor(BaseFeaturesExtractor):
    """A linear layer over the observation, and an activation.

    With x_b = [m_{r-W+1} .. m_r | a_b] and r the row of observation b:

        y_b = f(P_r + V a_b + c),   P_r = sum_w U_w m_{r-W+w}

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
        self._market = None if source is None else BoundMarket(source)
        length = _length(observation_space, None if source is None else self.rows)
        self.linear = nn.Linear(length, width)
        self.activation = nn.Identity() if activation is None else activation()

    @property
    def rows(self) -> MarketRows:
        """The market that the rows are gathered from; attached to when it is first asked for."""
        return self._bound().rows

    @property
    def is_by_reference(self) -> bool:
        """Whether observations begin with a row number that stands for the market."""
        return self._market is not None

    def bind(self, source: MarketSource) -> None:
        """Gather from another market from now on, say the newest panel of the same symbols.

        Raises
        ------
        PolicyError
            If its observations have another layout than those the layer was made for.
        """
        self._bound().bind(source)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (B, H) features of (B, D) observations.

        Raises
        ------
        PolicyError
            If an observation by reference does not begin with a row number of the market.
        """
        if self._market is None:
            return self.activation(self.linear(observations))
        distinct, inverse = distinct_rows(observations)
        rows, weight = self.rows, self.linear.weight
        of_market, of_account = weight.tensor_split([rows.window_bars * rows.length], dim=1)
        (market,) = project(rows, distinct, rows.window_bars, [(whole, of_market)])
        account = nn.functional.linear(observations[:, 1:], of_account, self.linear.bias)
        return self.activation(account + market.index_select(0, inverse))  # (U, H) -> (B, H)

    def _bound(self) -> BoundMarket:
        if self._market is None:
            raise PolicyError("expected a MarketSource: this extractor takes observations by value")
        return self._market


def _length(space: gym.spaces.Box, rows: MarketRows | None) -> int:
    """Return W*K + A, the length that an observation has by value."""
    if rows is None:
        check_by_value(space)
        return space.shape[0]
    check_by_reference(space, rows.n_symbols)
    return rows.layout.length
