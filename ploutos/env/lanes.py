"""Environments side by side, in lanes. In: their rows of the market, accounts and actions.

Out: the same as arrays of symbols by lanes, (N, L), and afterwards the accounts where they were.

A processor works on four numbers at once if they lie beside each other and the same is done to all.
Symbols will not do: there may be one. Environments always will. Each of L environments gets a lane
in a scratch memory, one per thread, that stays in the processor's nearest caches.
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled, compiled_apart, composed
from ploutos.env.account import Accounts, shown_action
from ploutos.env.market import BENCHMARK, DAYS, HAS_EVENT, SEC_FEE, TAF, TAF_MAXIMUM, Market
from ploutos.env.memory import LINE_BYTES, writable_at
from ploutos.env.observe import account_length
from ploutos.portfolio.config import Rules
from ploutos.portfolio.fills import Bar, Trades
from ploutos.portfolio.orders import N_SUMS, Account

LANES = 16
# How many arrays of N rows, and of single rows, `lanes_at` lays out.
_WIDE, _SINGLE = 15, 9 + 3 + N_SUMS
_BYTES = 8
# Lanes that are filled side by side: so many addresses the processor can hold at once.
_TOGETHER = 4


class Lanes(NamedTuple):
    """L environments at a step from row t to t+1; all but `shown` float64.

    action, valid (N, L): at t, as `ploutos.portfolio.orders.plan_orders` wants them. mark,
    cash_dividend (N, L): at t+1. days, benchmark (L,): of the market's clock at t+1. account, bar,
    trades: see there. shown (4 + 4N, L) float32: the account part of the observation at t+1.
    """

    action: np.ndarray
    valid: np.ndarray
    mark: np.ndarray
    cash_dividend: np.ndarray
    days: np.ndarray
    benchmark: np.ndarray
    account: Account
    bar: Bar
    trades: Trades
    shown: np.ndarray


def new_scratch(n_symbols: int) -> np.ndarray:
    """Allocate the memory that `lanes_at` lays out for N symbols and `LANES` lanes."""
    rows = _WIDE * n_symbols + _SINGLE
    shown = account_length(n_symbols) * LANES * np.float32().itemsize
    length = rows * LANES + -(-shown // _BYTES)
    # It begins where the processor's lines of memory do: four lanes never lie in two of them.
    memory = np.zeros(length + LINE_BYTES // _BYTES)
    first = -memory.ctypes.data % LINE_BYTES // _BYTES
    return memory[first : first + length]


@compiled
def lanes_at(address: int, n_symbols: int, n_lanes: int) -> Lanes:
    """Return the arrays of `n_lanes` lanes in the scratch memory at `address`."""
    wide, single = n_symbols * n_lanes * _BYTES, n_lanes * _BYTES
    singles = address + _WIDE * wide
    flows = singles + 9 * single
    many, each = (n_symbols, n_lanes), (n_lanes,)
    return Lanes(
        writable_at(address, many, np.float64),
        writable_at(address + wide, many, np.float64),
        writable_at(address + 2 * wide, many, np.float64),
        writable_at(address + 3 * wide, many, np.float64),
        writable_at(singles, each, np.float64),
        writable_at(singles + single, each, np.float64),
        Account(
            writable_at(singles + 2 * single, each, np.float64),
            writable_at(singles + 3 * single, each, np.float64),
            writable_at(singles + 4 * single, each, np.float64),
            writable_at(singles + 5 * single, each, np.float64),
            writable_at(address + 4 * wide, many, np.float64),
            writable_at(address + 5 * wide, many, np.float64),
            writable_at(address + 6 * wide, many, np.float64),
        ),
        Bar(
            writable_at(address + 7 * wide, many, np.float64),
            writable_at(address + 8 * wide, many, np.float64),
            writable_at(address + 9 * wide, many, np.float64),
            writable_at(address + 10 * wide, many, np.float64),
            writable_at(singles + 6 * single, each, np.float64),
            writable_at(singles + 7 * single, each, np.float64),
            writable_at(singles + 8 * single, each, np.float64),
        ),
        Trades(
            writable_at(address + 11 * wide, many, np.float64),
            writable_at(address + 12 * wide, many, np.float64),
            writable_at(address + 13 * wide, many, np.float64),
            writable_at(address + 14 * wide, many, np.float64),
            writable_at(flows, (3, n_lanes), np.float64),
            writable_at(flows + 3 * single, (N_SUMS, n_lanes), np.float64),
        ),
        writable_at(flows + (3 + N_SUMS) * single, (4 + 4 * n_symbols, n_lanes), np.float32),
    )


@composed
def gather(
    market: Market, accounts: Accounts, row: np.ndarray, action: np.ndarray, lanes: Lanes
) -> bool:
    """Lay environments out in lanes; return whether any has a split or a dividend at t+1.

    Parameters
    ----------
    market : Market
        The market.
    accounts : Accounts
        Those of the L environments.
    row : (L,) int64
        Row t of each.
    action : (L, N) int64 or float64
        Their actions.
    lanes : Lanes
        Written, but for trades and what is shown.
    """
    account, bar, events = lanes.account, lanes.bar, 0.0
    for lane in range(row.shape[0]):
        clock = market.clock[row[lane] + 1]
        events += clock[HAS_EVENT]
        lanes.days[lane], lanes.benchmark[lane] = clock[DAYS], clock[BENCHMARK]
        bar.sec[lane], bar.taf[lane] = clock[SEC_FEE], clock[TAF]
        bar.taf_maximum_usd[lane] = clock[TAF_MAXIMUM]
        account.cash[lane], account.equity[lane] = accounts.cash[lane], accounts.equity[lane]
        account.peak[lane], account.stopped[lane] = accounts.peak[lane], accounts.stopped[lane]
    _rows_to_lanes(market.valid, row, 0, lanes.valid)
    _rows_to_lanes(market.mark, row, 0, bar.last_mark)
    _rows_to_lanes(market.volume, row, 0, bar.known_volume)
    _rows_to_lanes(market.open, row, 1, bar.open)
    _rows_to_lanes(market.mark, row, 1, lanes.mark)
    _to_lanes(action, lanes.action)
    _to_lanes(accounts.quantity, account.quantity)
    _to_lanes(accounts.entry_price, account.entry_price)
    _to_lanes(accounts.held_bars, account.held_bars)
    for n in range(action.shape[1]):
        for lane in range(row.shape[0]):
            bar.split_ratio[n, lane] = 1.0
    return events != 0.0


@composed
def gather_events(market: Market, row: np.ndarray, lanes: Lanes) -> None:
    """Lay out the splits and dividends of the rows after `row` (L,)."""
    _rows_to_lanes(market.split_ratio, row, 1, lanes.bar.split_ratio)
    _rows_to_lanes(market.cash_dividend, row, 1, lanes.cash_dividend)


@compiled_apart
def _rows_to_lanes(values: np.ndarray, row: np.ndarray, ahead: int, out: np.ndarray) -> None:
    """Write rows `row + ahead` (L,) of values (T, N) as lanes (N, L)."""
    n_symbols, n_lanes = out.shape
    together = min(_TOGETHER, n_lanes)
    for first in range(0, n_lanes, together):
        for n in range(n_symbols):
            for lane in range(first, first + together):
                out[n, lane] = values[row[lane] + ahead, n]


@compiled_apart
def _to_lanes(values: np.ndarray, out: np.ndarray) -> None:
    """Write values (L, N) as lanes (N, L)."""
    n_symbols, n_lanes = out.shape
    together = min(_TOGETHER, n_lanes)
    for first in range(0, n_lanes, together):
        for n in range(n_symbols):
            for lane in range(first, first + together):
                out[n, lane] = values[lane, n]


@composed
def scatter(lanes: Lanes, accounts: Accounts) -> None:
    """Put the accounts of the lanes back in their place, with the actions as they are observed."""
    account = lanes.account
    for lane in range(account.cash.shape[0]):
        accounts.cash[lane], accounts.equity[lane] = account.cash[lane], account.equity[lane]
        accounts.peak[lane], accounts.stopped[lane] = account.peak[lane], account.stopped[lane]
    for lane in range(account.cash.shape[0]):
        from_lane(account.quantity, lane, accounts.quantity[lane])
        from_lane(account.entry_price, lane, accounts.entry_price[lane])
        from_lane(account.held_bars, lane, accounts.held_bars[lane])
        from_lane(lanes.action, lane, accounts.last_action[lane])


@compiled_apart
def from_lane(values: np.ndarray, lane: int, out: np.ndarray) -> None:
    """Write one lane of values (K, L) into `out`, (K,)."""
    for k in range(values.shape[0]):
        out[k] = values[k, lane]


@compiled_apart
def show_actions(lanes: Lanes, rules: Rules) -> None:
    """Turn the actions into what is observed of them."""
    for n in range(lanes.action.shape[0]):
        for lane in range(lanes.action.shape[1]):
            lanes.action[n, lane] = shown_action(lanes.action[n, lane], rules)
