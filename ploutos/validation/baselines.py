"""What a policy must beat, through the same fills and costs. In: rows. Out: trajectories.

A baseline is a cash account, whatever the policies may do: it never borrows and is never short.
"""

import numpy as np

from ploutos.agent.play import Trajectory, play_orders
from ploutos.env.account import Accounts
from ploutos.env.config import EnvConfig
from ploutos.env.market import Market
from ploutos.folds import Rows
from ploutos.portfolio.config import Rules
from ploutos.portfolio.costs import fillable_micro
from ploutos.portfolio.fills import Trades


def hold_cash(market: Market, rows: Rows, config: EnvConfig) -> Trajectory:
    """Never trade; the cash earns interest where the config pays any."""
    return play_orders(market, rows, _without_margin(config), _write_nothing)


def buy_and_hold(market: Market, rows: Rows, config: EnvConfig) -> Trajectory:
    """Buy every valid symbol for the same share of cash at the first open, then never trade.

    Limits, stops and holding rules of the policies do not apply; costs and the participation cap
    do. The number of shares is fixed once, at the first decision. Where an order of them is larger
    than a bar carries, or there is no bar, the rest is bought at the opens that follow; what cash
    did not cover is given up. Dividends and interest stay in cash.
    """
    return play_orders(market, rows, _without_margin(config), _Purchase(rows.start - 1))


class _Purchase:
    """Shares still to be bought: fixed at the row `first`, then written as orders bar by bar."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._left = np.zeros(0)
        self._sent = np.zeros(0)

    def __call__(
        self, market: Market, accounts: Accounts, trades: Trades, row: int, rules: Rules
    ) -> None:
        if row == self._first:
            self._left = _equal_weights(market, accounts, row, rules)
        else:
            # What was sent to an open is done with, whether or not cash covered it.
            arrived = np.where(market.open[row] > 0, self._sent, 0.0)
            self._left = np.floor((self._left - arrived) * market.split_ratio[row])
        self._sent = np.array(
            [
                _whole_lots(fillable_micro(left, volume, rules), rules)
                for left, volume in zip(self._left, market.volume[row], strict=True)
            ]
        )
        trades.order[:] = self._sent


def _write_nothing(
    market: Market, accounts: Accounts, trades: Trades, row: int, rules: Rules
) -> None:
    """Write no order."""


def _equal_weights(market: Market, accounts: Accounts, row: int, rules: Rules) -> np.ndarray:
    """Return the micro-shares (N,) that equal shares of all cash buy at the row's closes."""
    valid = market.valid[row] != 0
    if not valid.any():
        return np.zeros(valid.shape)
    value = accounts.cash[0] / valid.sum() / (1.0 + rules.half_spread + rules.commission)
    return np.floor(np.divide(value, market.mark[row], out=np.zeros(valid.shape), where=valid))


def _whole_lots(size_micro: float, rules: Rules) -> float:
    return float(np.floor(size_micro / rules.lot_micro) * rules.lot_micro)


def _without_margin(config: EnvConfig) -> EnvConfig:
    portfolio = config.portfolio.model_copy(update={"margin": None, "maximum_gross": 1.0})
    return config.model_copy(update={"portfolio": portfolio})
