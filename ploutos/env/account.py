"""Accounts over time. In: a market, a row, an action. Out: the account one bar later.

Equations of one step from row t to t+1, for an account with cash C, holdings q, and close marks m:

    orders       o = plan_orders(a_t, C, q, m_t)                      at the close of t
    corporate    q <- q * split_{t+1},  o <- o * split_{t+1}          before the open of t+1
                 C <- C + sum q * dividend_{t+1}
    fills        C, q <- fill_orders(o, open_{t+1}, C, q)             at the open of t+1
    mark         equity_{t+1} = C + sum q * m_{t+1}                   at the close of t+1

`decide` is the first line, `settle` the rest. Paper trading calls them a session apart; a training
step calls them one after the other. Accounts are rows of struct-of-arrays, changed in place.
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.env.market import Market
from ploutos.env.observe import observe_account, observe_market
from ploutos.env.scaler import Scaler
from ploutos.portfolio.accounting import apply_corporate_actions, equity_micro, fill_orders
from ploutos.portfolio.config import Rules
from ploutos.portfolio.orders import plan_orders


class Accounts(NamedTuple):
    """E accounts over N symbols, as arrays.

    cash_micro, peak_micro, dividend_micro (E,) int64: cash, highest equity at a close so far, and
    the last settled bar's dividends, micro-USD. quantity_micro (E, N) int64: holdings,
    micro-shares. entry_price (E, N) float64: average price paid per share, in USD, 0 when flat.
    held_bars, last_action (E, N) int64. order_micro (E, N) int64: signed orders waiting for the
    next open. fill_micro (E, N) int64, fill_price (E, N) float64, fee_micro (E, N) int64: the last
    settled bar's fills, NaN price where there was none.
    """

    cash_micro: np.ndarray
    peak_micro: np.ndarray
    dividend_micro: np.ndarray
    quantity_micro: np.ndarray
    entry_price: np.ndarray
    held_bars: np.ndarray
    last_action: np.ndarray
    order_micro: np.ndarray
    fill_micro: np.ndarray
    fill_price: np.ndarray
    fee_micro: np.ndarray


def open_accounts(n_accounts: int, n_symbols: int, cash_micro: int) -> Accounts:
    """Return `n_accounts` fresh accounts that hold `cash_micro` micro-USD each and nothing else."""
    one, many = (n_accounts,), (n_accounts, n_symbols)
    return Accounts(
        cash_micro=np.full(one, cash_micro, np.int64),
        peak_micro=np.full(one, cash_micro, np.int64),
        dividend_micro=np.zeros(one, np.int64),
        quantity_micro=np.zeros(many, np.int64),
        entry_price=np.zeros(many, np.float64),
        held_bars=np.zeros(many, np.int64),
        last_action=np.zeros(many, np.int64),
        order_micro=np.zeros(many, np.int64),
        fill_micro=np.zeros(many, np.int64),
        fill_price=np.full(many, np.nan),
        fee_micro=np.zeros(many, np.int64),
    )


@compiled
def decide(
    market: Market, accounts: Accounts, e: int, row: int, action: np.ndarray, rules: Rules
) -> None:
    """Turn account `e`'s action (N,) at the close of `row` into waiting orders."""
    plan_orders(
        action,
        (accounts.cash_micro[e], accounts.quantity_micro[e]),
        market.mark[row],
        market.valid[row],
        rules,
        accounts.order_micro[e],
    )
    accounts.last_action[e] = action


@compiled
def settle(market: Market, accounts: Accounts, e: int, row: int, rules: Rules) -> int:
    """Carry account `e` through bar `row`, from before its open to its close.

    Returns
    -------
    int
        Equity at the close of `row`, micro-USD.
    """
    quantity = accounts.quantity_micro[e]
    order = accounts.order_micro[e]
    split = market.split_ratio[row]
    dividend = apply_corporate_actions(quantity, order, split, market.cash_dividend[row])
    accounts.dividend_micro[e] = dividend
    fills = (accounts.fill_micro[e], accounts.fill_price[e], accounts.fee_micro[e])
    cash = accounts.cash_micro[e] + dividend
    accounts.cash_micro[e] = fill_orders(order, market.open[row], cash, quantity, rules, fills)
    for n in range(quantity.shape[0]):
        accounts.entry_price[e, n] = _entry_price(
            accounts.entry_price[e, n] / split[n], quantity[n], fills[0][n], fills[1][n]
        )
        accounts.held_bars[e, n] = accounts.held_bars[e, n] + 1 if quantity[n] != 0 else 0
        order[n] = 0
    equity = equity_micro(accounts.cash_micro[e], quantity, market.mark[row])
    accounts.peak_micro[e] = max(accounts.peak_micro[e], equity)
    return equity


@compiled
def _entry_price(before: float, quantity: int, filled: int, price: float) -> float:
    """Return the average price paid per share after a fill; a sale leaves the average as it is."""
    if quantity == 0:
        return 0.0
    if filled <= 0:
        return before
    return (before * (quantity - filled) + price * filled) / quantity


@compiled
def observe(
    market: Market, scaler: Scaler, accounts: Accounts, e: int, row: int, out: np.ndarray
) -> None:
    """Write account `e`'s observation at the close of `row` into `out`, (D,) float32."""
    used = observe_market(market, scaler, row, out)
    holdings = (
        accounts.quantity_micro[e],
        accounts.entry_price[e],
        accounts.held_bars[e],
        accounts.last_action[e],
    )
    mark = market.mark[row]
    observe_account(accounts.cash_micro[e], accounts.peak_micro[e], holdings, mark, out[used:])
