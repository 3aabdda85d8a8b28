"""Accounts over time. In: a market, a row, an action. Out: the account one bar later.

`decide` fixes the orders at the close of row t; `settle` carries the account to the close of t+1.
Paper trading calls them a session apart; a training step calls them one after the other. The
equations stand in `ploutos.env.kernel`. Accounts are rows of arrays, changed in place.
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.env.market import DAYS, HAS_EVENT, Market, sell_fees_at
from ploutos.portfolio.accounting import apply_corporate_actions, equity_micro, interest_micro
from ploutos.portfolio.config import Rules
from ploutos.portfolio.fills import DIVIDEND, INTEREST, Bar, Trades, fill_orders
from ploutos.portfolio.masks import write_action_mask
from ploutos.portfolio.orders import (
    BUY,
    SELL,
    Account,
    plan_orders,
    reaches_drawdown_stop,
)


class Accounts(NamedTuple):
    """E accounts over N symbols, as arrays; all float64, money and quantities in whole micro-units.

    cash, equity, peak, stopped (E,): see `ploutos.portfolio.orders.Account`. moments (E, 2): of
    the differential Sharpe ratio. quantity, entry_price, held_bars (E, N): micro-shares, USD, bars.
    last_action (E, N): as it is observed: 1 buy, -1 sell, 0 hold, or the target weight.
    """

    cash: np.ndarray
    equity: np.ndarray
    peak: np.ndarray
    stopped: np.ndarray
    moments: np.ndarray
    quantity: np.ndarray
    entry_price: np.ndarray
    held_bars: np.ndarray
    last_action: np.ndarray


def open_accounts(n_accounts: int, n_symbols: int, cash_micro: float) -> Accounts:
    """Return `n_accounts` fresh accounts that hold `cash_micro` micro-USD each and nothing else."""
    many = (n_accounts, n_symbols)
    return Accounts(
        cash=np.full(n_accounts, cash_micro, np.float64),
        equity=np.full(n_accounts, cash_micro, np.float64),
        peak=np.full(n_accounts, cash_micro, np.float64),
        stopped=np.zeros(n_accounts),
        moments=np.zeros((n_accounts, 2)),
        quantity=np.zeros(many),
        entry_price=np.zeros(many),
        held_bars=np.zeros(many),
        last_action=np.zeros(many),
    )


@compiled
def reset_account(accounts: Accounts, e: int, cash_micro: float) -> None:
    """Make account `e` a fresh one."""
    accounts.cash[e] = cash_micro
    accounts.equity[e] = cash_micro
    accounts.peak[e] = cash_micro
    accounts.stopped[e] = 0.0
    accounts.moments[e] = 0.0
    accounts.quantity[e] = 0.0
    accounts.entry_price[e] = 0.0
    accounts.held_bars[e] = 0.0
    accounts.last_action[e] = 0.0


@compiled
def account_at(accounts: Accounts, e: int) -> Account:
    """Return account `e` as the portfolio's functions see it: numbers, and views of its arrays."""
    return Account(
        accounts.cash[e],
        accounts.equity[e],
        accounts.peak[e],
        accounts.stopped[e],
        accounts.quantity[e],
        accounts.entry_price[e],
        accounts.held_bars[e],
    )


@compiled
def decide(
    market: Market,
    accounts: Accounts,
    at: tuple[int, int],
    action: np.ndarray,
    rules: Rules,
    trades: Trades,
) -> None:
    """Turn an action (N,) at a close into waiting orders; `at` is the account and the row."""
    e, row = at
    account = account_at(accounts, e)
    plan_orders(action, account, market.mark[row], market.valid[row], rules, trades.order)
    last = accounts.last_action[e]
    for n in range(last.shape[0]):
        if rules.by_weight != 0.0:
            last[n] = action[n]
        else:
            last[n] = 1.0 * (action[n] == BUY) - 1.0 * (action[n] == SELL)


@compiled
def settle(
    market: Market, accounts: Accounts, at: tuple[int, int], rules: Rules, trades: Trades
) -> float:
    """Carry an account through a bar, from the close before it to its own.

    Parameters
    ----------
    market, accounts
        The market; the accounts, changed in place.
    at : (int, int)
        The account and the row of the bar, 1 or later.
    rules : Rules
        Costs and limits.
    trades : Trades
        The waiting orders; what the bar did is written.

    Returns
    -------
    float
        Equity at the bar's close, micro-USD.
    """
    e, row = at
    quantity, entry_price, held = (
        accounts.quantity[e],
        accounts.entry_price[e],
        accounts.held_bars[e],
    )
    cash, split = accounts.cash[e], market.split_ratio[row]
    days = market.clock[row, DAYS]
    interest = interest_micro(cash, quantity, market.mark[row - 1], days, rules)
    dividend = 0.0
    if market.clock[row, HAS_EVENT] != 0.0:
        dividend = apply_corporate_actions(quantity, trades.order, split, market.cash_dividend[row])
        for n in range(quantity.shape[0]):
            entry_price[n] /= split[n]
    trades.flows[INTEREST], trades.flows[DIVIDEND] = interest, dividend
    fees = sell_fees_at(market, row)
    bar = Bar(market.open[row], market.mark[row - 1], market.volume[row - 1], split, fees)
    cash = fill_orders(bar, cash + interest + dividend, quantity, rules, trades)
    _move_entry_prices(entry_price, quantity, trades)
    for n in range(quantity.shape[0]):
        held[n] = (held[n] + 1.0) * (1.0 if quantity[n] != 0.0 else 0.0)
        trades.order[n] = 0.0
    equity = equity_micro(cash, quantity, market.mark[row])
    accounts.cash[e], accounts.equity[e] = cash, equity
    if reaches_drawdown_stop(equity, accounts.peak[e], rules):
        accounts.stopped[e] = 1.0
    accounts.peak[e] = max(accounts.peak[e], equity)
    return equity


@compiled
def _move_entry_prices(entry_price: np.ndarray, quantity: np.ndarray, trades: Trades) -> None:
    """Average the entry prices of what was added to; what was closed has none any more."""
    n_symbols = quantity.shape[0]
    for at in range(trades.counts[0]):
        n = int(trades.symbol[at])
        entry_price[n] = entry_price[n] if quantity[n] != 0.0 else 0.0
        trades.fill_price[n] = trades.fill_price[n] if trades.fill[n] != 0.0 else np.nan
    for at in range(n_symbols, n_symbols + trades.counts[1]):
        n = int(trades.symbol[at])
        before, added = quantity[n] - trades.fill[n], trades.fill[n]
        if added != 0.0:
            spent = entry_price[n] * before + trades.fill_price[n] * added
            entry_price[n] = spent / quantity[n]
        else:
            trades.fill_price[n] = np.nan


@compiled
def write_masks(
    market: Market, accounts: Accounts, row: np.ndarray, rules: Rules, masks: np.ndarray
) -> None:
    """Write which actions can do anything: (E, N, 3) bool, for accounts that stand at rows (E,)."""
    for e in range(row.shape[0]):
        write_action_mask(
            account_at(accounts, e), market.mark[row[e]], market.valid[row[e]], rules, masks[e]
        )
