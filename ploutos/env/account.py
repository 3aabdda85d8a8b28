"""Accounts over time. In: a market, a row, an action. Out: the account one bar later.

`decide` fixes the orders at the close of row t; `settle` carries the account to the close of t+1.
Paper trading calls them a session apart; a training step calls them one after the other. The
equations stand in `ploutos.env.kernel`. Accounts are rows of arrays, changed in place.
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled, compiled_apart
from ploutos.env.market import DAYS, HAS_EVENT, SEC_FEE, TAF, TAF_MAXIMUM, Market
from ploutos.portfolio.accounting import (
    apply_corporate_actions,
    interest_micro,
    value_micro,
    write_short,
)
from ploutos.portfolio.config import Rules
from ploutos.portfolio.fills import DIVIDEND, INTEREST, Bar, Trades, fill_orders
from ploutos.portfolio.masks import write_action_mask
from ploutos.portfolio.orders import BUY, SELL, Account, plan_orders, reaches_drawdown_stop


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
    """Return account `e` as the portfolio's functions see it: one lane of views of its arrays."""
    one = (accounts.quantity.shape[1], 1)
    return Account(
        accounts.cash[e : e + 1],
        accounts.equity[e : e + 1],
        accounts.peak[e : e + 1],
        accounts.stopped[e : e + 1],
        accounts.quantity[e].reshape(one),
        accounts.entry_price[e].reshape(one),
        accounts.held_bars[e].reshape(one),
    )


@compiled
def _as_lane(trades: Trades) -> Trades:
    """Return a single account's trades as those of one lane."""
    one = (trades.order.shape[0], 1)
    return Trades(
        trades.order.reshape(one),
        trades.fill.reshape(one),
        trades.fill_price.reshape(one),
        trades.fee.reshape(one),
        trades.flows.reshape((trades.flows.shape[0], 1)),
        trades.sums.reshape((trades.sums.shape[0], 1)),
    )


@compiled
def shown_action(action: float, rules: Rules) -> float:
    """Return an action as it is observed: buy 1, sell -1, hold 0; or the target weight."""
    order = 1.0 * (action == BUY) - 1.0 * (action == SELL)
    return action if rules.by_weight != 0.0 else order


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
    one = (action.shape[0], 1)
    seen = (market.mark[row].reshape(one), market.valid[row].reshape(one))
    lane = _as_lane(trades)
    asked = action.reshape(one)
    plan_orders(asked, account_at(accounts, e), seen, rules, (lane.order, lane.sums))
    for n in range(action.shape[0]):
        accounts.last_action[e, n] = shown_action(action[n], rules)


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
    one, clock = (accounts.quantity.shape[1], 1), market.clock[row]
    split = market.split_ratio[row].reshape(one)
    bar = Bar(
        market.open[row].reshape(one),
        market.mark[row - 1].reshape(one),
        market.volume[row - 1].reshape(one),
        split,
        clock[SEC_FEE : SEC_FEE + 1],
        clock[TAF : TAF + 1],
        clock[TAF_MAXIMUM : TAF_MAXIMUM + 1],
    )
    account, lane = account_at(accounts, e), _as_lane(trades)
    pay_interest(account, bar.last_mark, clock[DAYS : DAYS + 1], rules, lane)
    lane.flows[DIVIDEND] = 0.0
    if clock[HAS_EVENT] != 0.0:
        pay_dividends(account, split, market.cash_dividend[row].reshape(one), lane)
    fill_orders(bar, account.cash, account.quantity, rules, lane)
    mark_accounts(account, market.mark[row].reshape(one), rules, lane)
    return accounts.equity[e]


@compiled_apart
def pay_interest(
    account: Account, mark: np.ndarray, days: np.ndarray, rules: Rules, trades: Trades
) -> None:
    """Pay L accounts the interest of (L,) `days` since the close before, at its marks (N, L)."""
    interest = trades.flows[INTEREST]
    write_short(account.quantity, mark, rules, interest)
    for lane in range(interest.shape[0]):
        interest[lane] = interest_micro(account.cash[lane], interest[lane], days[lane], rules)
        account.cash[lane] += interest[lane]


@compiled_apart
def pay_dividends(
    account: Account, split_ratio: np.ndarray, cash_dividend: np.ndarray, trades: Trades
) -> None:
    """Apply (N, L) splits and dividends to L accounts; without any on this bar there is no need."""
    dividend = trades.flows[DIVIDEND]
    held = (account.quantity, trades.order, account.entry_price)
    apply_corporate_actions(held, split_ratio, cash_dividend, dividend)
    for lane in range(dividend.shape[0]):
        account.cash[lane] += dividend[lane]


@compiled_apart
def mark_accounts(account: Account, mark: np.ndarray, rules: Rules, trades: Trades) -> None:
    """Bring L accounts to the bar's close, (N, L): average entries, ages, equity, peak, stop."""
    n_symbols, n_lanes = mark.shape
    equity = account.equity
    for lane in range(n_lanes):
        equity[lane] = account.cash[lane]
    for n in range(n_symbols):
        for lane in range(n_lanes):
            quantity, fill = account.quantity[n, lane], trades.fill[n, lane]
            entry, price = account.entry_price[n, lane], trades.fill_price[n, lane]
            average = (entry * (quantity - fill) + price * fill) / quantity
            entry = average if fill * quantity > 0.0 else entry
            holds = quantity != 0.0
            account.entry_price[n, lane] = entry if holds else 0.0
            account.held_bars[n, lane] = account.held_bars[n, lane] + 1.0 if holds else 0.0
            equity[lane] += value_micro(quantity, mark[n, lane])
    for lane in range(n_lanes):
        stops = reaches_drawdown_stop(equity[lane], account.peak[lane], rules)
        account.stopped[lane] = 1.0 if stops else account.stopped[lane]
        account.peak[lane] = max(account.peak[lane], equity[lane])


@compiled
def write_masks(
    market: Market, accounts: Accounts, row: np.ndarray, rules: Rules, masks: np.ndarray
) -> None:
    """Write which actions can do anything: (E, N, 3) bool, for accounts that stand at rows (E,)."""
    for e in range(row.shape[0]):
        write_action_mask(
            account_at(accounts, e), market.mark[row[e]], market.valid[row[e]], rules, masks[e]
        )
