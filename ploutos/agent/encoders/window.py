"""A policy's first layers over a window of rows. In: observations. Out: `width` features.

Every row is projected to a few channels, causal convolutions combine the rows, and one layer joins
the result with the account. By reference each distinct row of all windows is projected once, and
each distinct window is combined once; windows are laid out at the projected width only.

A GRU over the same rows took 5 to 8 times as long with as many parameters (16 and 60 rows, 32
channels, 512 and 2,048 windows, forward and backward on one thread): its steps wait for each other.
"""

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.nn.functional import linear, pad

from ploutos.agent.config import WindowEncoder
from ploutos.agent.encoders.reference import bound_market, distinct_rows, project, whole
from ploutos.agent.market_rows import BoundMarket, Layout, MarketSource


class WindowExtractor(BaseFeaturesExtractor):
    """Causal convolutions over the window's rows, and a layer over their result and the account.

    With m_t the market part of row t, r the row of the observation, and a its account part:

        h_0[t] = tanh(E m_t + e)                                  r - W < t <= r
        h_l[t] = tanh(A_l h_{l-1}[t - 2^(l-1)] + B_l h_{l-1}[t] + b_l)      l = 1 .. L
        y = tanh(G h_L[r] + V a + c)

    where h is 0 before the window, m is 0 before the market's first row, and L is the least number
    with 2^L >= W: kernels of two rows whose distance doubles, so that h_L[r] depends on every row
    of the window. Only what h_L[r] depends on is computed, half as many positions at each level.
    Source: dilated causal convolutions, van den Oord et al. 2016, "WaveNet".

    Parameters
    ----------
    observation_space : gym.spaces.Box
        Of the environments: (W*K + A,) by value, (1 + A,) by reference.
    encoder : WindowEncoder
        C, channels; H, width.
    layout : Layout
        Of the observations.
    source : MarketSource, optional
        What to gather rows from; without it observations are taken by value.

    Raises
    ------
    PolicyError
        If the space, the layout and the source do not belong together.
    """

    def __init__(
        self,
        observation_space: gym.spaces.Box,
        encoder: WindowEncoder,
        layout: Layout,
        source: MarketSource | None = None,
    ) -> None:
        super().__init__(observation_space, encoder.width)
        self.layout = layout
        self.market = bound_market(observation_space, layout, source)
        channels = encoder.channels
        levels = (layout.window_bars - 1).bit_length()
        self.row = nn.Linear(layout.row_length, channels)
        self.pairs = nn.ModuleList(nn.Linear(2 * channels, channels) for _ in range(levels))
        self.linear = nn.Linear(channels + layout.account_length, encoder.width)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return (B, H) features of (B, D) observations.

        Raises
        ------
        PolicyError
            If an observation by reference does not begin with a row number of the market.
        """
        if self.market is None:
            states = self._combine(self._rows_by_value(observations))
        else:
            distinct, inverse = distinct_rows(observations)
            states = self._combine(self._rows_by_reference(distinct, self.market))
            states = states.index_select(0, inverse)  # (U, C) -> (B, C)
        accounts = observations[:, -self.layout.account_length :]
        return torch.tanh(self.linear(torch.cat([states, accounts], dim=1)))

    def _rows_by_value(self, observations: torch.Tensor) -> torch.Tensor:
        """Return h_0 of each position of each window: (B, W, C)."""
        length, window_bars = self.layout.row_length, self.layout.window_bars
        projected = [
            linear(observations[:, w * length : (w + 1) * length], self.row.weight, self.row.bias)
            for w in range(window_bars)
        ]
        return torch.stack(projected, dim=1).tanh()  # W * (B, C) -> (B, W, C)

    def _rows_by_reference(self, distinct: torch.Tensor, market: BoundMarket) -> torch.Tensor:
        """Return h_0 of each position of the windows that end at distinct rows: (U, W, C)."""
        window_bars = self.layout.window_bars
        back = torch.arange(1 - window_bars, 1, device=distinct.device)
        # All rows before the first one are alike.
        numbers = (distinct[:, None] + back).clamp_min(-1)  # (U, W)
        needed, places = torch.unique(numbers, return_inverse=True)
        (projected,) = project(market.rows, needed, 1, [(whole, self.row.weight)])
        rows = torch.tanh(projected + self.row.bias)  # (R, C)
        return rows.index_select(0, places.flatten()).unflatten(0, numbers.shape)  # (U, W, C)

    def _combine(self, states: torch.Tensor) -> torch.Tensor:
        """Return h_L at the last row of windows, (U, C), of h_0 at all their rows, (U, W, C)."""
        for pair in self.pairs:
            if states.shape[1] % 2:
                states = pad(states, (0, 0, 1, 0))
            pairs = states.unflatten(1, (-1, 2)).flatten(2)  # (U, 2n, C) -> (U, n, 2C)
            states = torch.tanh(pair(pairs))
        return states.squeeze(1)  # (U, 1, C) -> (U, C)
