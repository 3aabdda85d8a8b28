"""The observation: market row, masks, account. In: a row and an account. Out: float32 numbers.

The same functions serve training, validation and paper trading. Layout of the (D,) vector:

| part | length | value |
|---|---|---|
| features | N*F | scaled, clipped; 0 where missing |
| macro | M | scaled, clipped; 0 where missing |
| validity of symbols | N | 1 tradable, 0 masked |
| validity of macro | M | 1 known, 0 missing |
| account | 2 + 4N | see `observe_account` |
"""

import numpy as np

from ploutos.compiled import compiled
from ploutos.env.market import Market
from ploutos.env.scaler import Scaler
from ploutos.panel import Panel
from ploutos.portfolio.accounting import equity_micro

ACCOUNT_FIXED = 2
ACCOUNT_PER_SYMBOL = 4
# A holding of this many bars shows as an age of one half.
HALF_AGE_BARS = 20.0


def account_length(n_symbols: int) -> int:
    """Return A, the number of account values in an observation."""
    return ACCOUNT_FIXED + ACCOUNT_PER_SYMBOL * n_symbols


def observation_length(market: Market | Panel) -> int:
    """Return D, the length of a by-value observation of a market or of the panel it is bound to."""
    n_symbols, n_features = market.features.shape[1:]
    n_macro = market.macro.shape[1]
    return n_symbols * (n_features + 1) + 2 * n_macro + account_length(n_symbols)


@compiled
def _scaled(value: float, center: float, scale: float, clip: float) -> float:
    """Scale one value; NaN becomes 0 (the validity mask says that it is missing)."""
    result = (value - center) / scale
    if np.isnan(result):
        return 0.0
    return min(max(result, -clip), clip)


@compiled
def observe_market(market: Market, scaler: Scaler, row: int, out: np.ndarray) -> int:
    """Write the market part of row `row` into `out` (float32) and return its length."""
    clip = scaler.clip[0]
    n_symbols, n_features = market.features.shape[1], market.features.shape[2]
    n_macro = market.macro.shape[1]
    at = 0
    for n in range(n_symbols):
        for f in range(n_features):
            value = market.features[row, n, f]
            out[at] = _scaled(value, scaler.center[f], scaler.scale[f], clip)
            at += 1
    for m in range(n_macro):
        value = market.macro[row, m]
        out[at] = _scaled(value, scaler.macro_center[m], scaler.macro_scale[m], clip)
        at += 1
    for n in range(n_symbols):
        out[at] = market.valid[row, n]
        at += 1
    for m in range(n_macro):
        out[at] = market.macro_valid[row, m]
        at += 1
    return at


@compiled
def observe_account(
    cash_micro: int,
    peak_micro: int,
    holdings: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    mark: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the account part, 2 + 4N float32 values, all bounded and free of scale.

    cash fraction of equity in [0, 1]; drawdown from the episode's peak in [0, 1]; then for every
    symbol: weight in [0, 1], unrealised return since the average entry clipped to [-1, 1], age
    `held / (held + 20)` in [0, 1), last action (hold 0, buy 1, sell -1).

    Parameters
    ----------
    cash_micro, peak_micro : int
        Cash and highest equity so far, micro-USD.
    holdings : (N,) int64, (N,) float64, (N,) int64, (N,) int64
        Quantity in micro-shares, average entry price in USD, bars held, last action.
    mark : (N,) float64
        Last known close, USD.
    out : (2 + 4N,) float32
        Written.
    """
    quantity_micro, entry_price, held_bars, last_action = holdings
    equity = equity_micro(cash_micro, quantity_micro, mark)
    out[0] = cash_micro / equity
    out[1] = 1.0 - equity / max(peak_micro, equity)
    for n in range(quantity_micro.shape[0]):
        at = 2 + 4 * n
        out[at] = 0.0
        out[at + 1] = 0.0
        out[at + 2] = 0.0
        if quantity_micro[n] != 0:
            out[at] = quantity_micro[n] * mark[n] / equity
            if entry_price[n] > 0.0:
                out[at + 1] = min(max(mark[n] / entry_price[n] - 1.0, -1.0), 1.0)
            out[at + 2] = held_bars[n] / (held_bars[n] + HALF_AGE_BARS)
        out[at + 3] = 1.0 if last_action[n] == 1 else (-1.0 if last_action[n] == 2 else 0.0)
