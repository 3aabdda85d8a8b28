"""A policy's first layers, shared by all symbols. In: observations. Out: an embedding per symbol.

One small MLP reads a symbol's features and what the account holds of it, and sees the macro values
and the account as a whole beside them; it is the same for every symbol. Its parameters do not grow
with the universe, and it does not matter in which order the symbols come. By reference the market
part of its first layer is computed once per distinct row and symbol.
"""

from typing import NamedTuple

import gymnasium as gym
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.nn.functional import linear

from ploutos.agent.config import SymbolEncoder
from ploutos.agent.encoders.reference import Cut, bound_market, distinct_rows, project
from ploutos.agent.market_rows import BoundMarket, Layout, MarketSource
from ploutos.env.observe import ACCOUNT_FIXED, ACCOUNT_PER_SYMBOL


class SymbolFeatures(NamedTuple):
    """What the heads read, for B observations of N symbols, H numbers each.

    symbols (B, N, H): embeddings. pooled (B, H): their mean over the symbols that can be traded,
    zeros if there is none. context (B, H): of the macro values and the account as a whole.
    """

    symbols: torch.Tensor
    pooled: torch.Tensor
    context: torch.Tensor


class SymbolExtractor(BaseFeaturesExtractor):
    """An MLP over each symbol, with shared weights, and the mean of what it gives.

    With x_{w,n} = [features of symbol n, its validity] and g_w = [macro values, their validity] at
    row w of the window's W rows, a_n what the account shows of symbol n (weight, return since the
    entry, age, last action), a_0 its four values as a whole, v_n the validity at the last row:

        q     = S [g_1 .. g_W | a_0] + s
        e_n^1 = tanh(U [x_{1,n} .. x_{W,n} | a_n] + q)
        e_n^l = tanh(A_l e_n^{l-1} + b_l)                    l = 2 .. layers;  e_n = e_n^layers
        pooled = sum_n v_n e_n / max(sum_n v_n, 1),  context = tanh(q)

    Parameters
    ----------
    observation_space : gym.spaces.Box
        Of the environments: (W*K + A,) by value, (1 + A,) by reference.
    encoder : SymbolEncoder
        H, width; layers.
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
        encoder: SymbolEncoder,
        layout: Layout,
        source: MarketSource | None = None,
    ) -> None:
        # A head reads two vectors: a symbol's and the pooled one, or that and the context.
        super().__init__(observation_space, 2 * encoder.width)
        self.layout = layout
        self.market = bound_market(observation_space, layout, source)
        width, rows = encoder.width, layout.window_bars
        of_symbol = rows * (layout.n_features + 1) + ACCOUNT_PER_SYMBOL
        self.symbol = nn.Linear(of_symbol, width, bias=False)
        self.context = nn.Linear(rows * 2 * layout.n_macro + ACCOUNT_FIXED, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(encoder.layers - 1))

    def forward(self, observations: torch.Tensor) -> SymbolFeatures:
        """Return the features of (B, D) observations.

        Raises
        ------
        PolicyError
            If an observation by reference does not begin with a row number of the market.
        """
        if self.market is None:
            symbols, context, valid = self._market_by_value(observations)
        else:
            symbols, context, valid = self._market_by_reference(observations, self.market)
        account = observations[:, -self.layout.account_length :]
        fixed, own = account.tensor_split([ACCOUNT_FIXED], dim=1)
        own = own.unflatten(1, (ACCOUNT_PER_SYMBOL, -1)).transpose(1, 2)  # (B, 4N) -> (B, N, 4)
        context = context + linear(fixed, self._context_parts()[1], self.context.bias)
        embeddings = symbols + linear(own, self._symbol_parts()[1]) + context[:, None]
        embeddings = torch.tanh(embeddings)  # (B, N, H)
        for layer in self.layers:
            embeddings = torch.tanh(layer(embeddings))
        weights = valid / valid.sum(dim=1, keepdim=True).clamp_min(1.0)  # (B, N)
        pooled = torch.bmm(weights[:, None], embeddings).squeeze(1)  # (B, 1, N) (B, N, H)
        return SymbolFeatures(embeddings, pooled, torch.tanh(context))

    def _market_by_value(self, observations: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the market parts of the first layer, (B, N, H) and (B, H), and validity (B, N)."""
        length, rows = self.layout.row_length, self.layout.window_bars
        windows = observations[:, : rows * length].unflatten(1, (rows, length))  # (B, W, K)
        symbols = symbols_of(windows, self.layout)  # (B, W, N, F + 1)
        context = macro_of(windows, self.layout).flatten(1)  # (B, W, 2M) -> (B, W*2M)
        by_symbol = symbols.transpose(1, 2).flatten(2)  # -> (B, N, W, F + 1) -> (B, N, W*(F + 1))
        return (
            linear(by_symbol, self._symbol_parts()[0]),
            linear(context, self._context_parts()[0]),
            symbols[:, -1, :, -1],
        )

    def _market_by_reference(
        self, observations: torch.Tensor, market: BoundMarket
    ) -> tuple[torch.Tensor, ...]:
        """Return what `_market_by_value` does, computed once per distinct row."""
        distinct, inverse = distinct_rows(observations)
        layers = zip(self._cuts(), (self._symbol_parts()[0], self._context_parts()[0]), strict=True)
        of_symbols, context = project(market.rows, distinct, self.layout.window_bars, tuple(layers))
        symbols = of_symbols.reshape(distinct.numel(), -1)  # (U*N, H) -> (U, N*H)
        symbols = symbols.index_select(0, inverse)  # (U, N*H) -> (B, N*H)
        return (
            symbols.unflatten(1, (self.layout.n_symbols, -1)),  # (B, N*H) -> (B, N, H)
            context.index_select(0, inverse),  # (U, H) -> (B, H)
            market.rows.valid(distinct, context).index_select(0, inverse),  # (U, N) -> (B, N)
        )

    def _cuts(self) -> tuple[Cut, Cut]:
        """Return the cuts of market parts (R, K) into (R*N, F + 1) and (R, 2M)."""
        layout = self.layout
        return (
            lambda rows: symbols_of(rows, layout).flatten(0, 1),  # (R, N, F + 1) -> (R*N, F + 1)
            lambda rows: macro_of(rows, layout),
        )

    def _symbol_parts(self) -> tuple[torch.Tensor, ...]:
        """Return U's columns for the market, (H, W*(F + 1)), and for the account, (H, 4)."""
        return self.symbol.weight.tensor_split([-ACCOUNT_PER_SYMBOL], dim=1)

    def _context_parts(self) -> tuple[torch.Tensor, ...]:
        """Return S's columns for the market, (H, W*2M), and for the account, (H, 4)."""
        return self.context.weight.tensor_split([-ACCOUNT_FIXED], dim=1)


def symbols_of(rows: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return [features, validity] of each symbol, (..., N, F + 1), of market parts (..., K)."""
    n_symbols, n_features, n_macro, _ = layout
    parts = [n_symbols * n_features, n_macro, n_symbols, n_macro]
    features, _, valid, _ = rows.split(parts, dim=-1)
    features = features.unflatten(-1, (n_symbols, n_features))  # (..., N*F) -> (..., N, F)
    return torch.cat([features, valid[..., None]], dim=-1)


def macro_of(rows: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Return [macro values, their validity], (..., 2M), of market parts (..., K)."""
    n_symbols, n_features, n_macro, _ = layout
    parts = [n_symbols * n_features, n_macro, n_symbols, n_macro]
    _, values, _, valid = rows.split(parts, dim=-1)
    return torch.cat([values, valid], dim=-1)
