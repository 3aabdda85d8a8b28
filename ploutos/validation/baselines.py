"""What a policy must beat, through the same fills and costs. In: rows. Out: trajectories."""

import math

import numpy as np

from ploutos.agent.play import Trajectory, play_orders
from ploutos.env.account import Accounts
from ploutos.env.config import EnvConfig
from ploutos.env.market import Market
from ploutos.folds import Rows
from ploutos.portfolio.config import Rules


def hold_cash(market: Market, rows: Rows, config: EnvConfig) -> Trajectory:
    """Never trade."""
    return play_orders(market, rows, config, _write_nothing)


def buy_and_hold(market: Market, rows: Rows, config: EnvConfig) -> Trajectory:
    """Buy every valid symbol for the same share of cash at the first open, then never trade.

    Position limits of the policies do not apply; costs do. Dividends stay in cash.
    """
    first = rows.start - 1

    def write_orders(market: Market, accounts: Accounts, row: int, rules: Rules) -> None:
        if row == first:
            _write_equal_weights(market, accounts, row, rules)

    return play_orders(market, rows, config, write_orders)


def _write_nothing(market: Market, accounts: Accounts, row: int, rules: Rules) -> None:
    """Write no order."""


def _write_equal_weights(market: Market, accounts: Accounts, row: int, rules: Rules) -> None:
    valid = np.flatnonzero(market.valid[row])
    one_way = rules.half_spread + rules.commission
    for n in valid:
        value = accounts.cash_micro[0] / valid.size / (1.0 + one_way)
        accounts.order_micro[0, n] = math.floor(value / market.mark[row, n])
