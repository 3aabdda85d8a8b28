"""The books: corporate actions, fills and equity. In: orders and a bar. Out: cash and holdings.

Cash is an integer number of micro-USD and a quantity an integer number of micro-shares, so a book
kept here equals one kept by an integer ledger to the last digit. A cash flow is rounded to the
nearest micro-USD at the moment it happens: `quantity_micro * price_usd` is already in micro-USD.
Integers stay below 2**53, hence exact in float64 as well (about 9 billion US dollars).
"""

import math

import numpy as np

from ploutos.compiled import compiled
from ploutos.portfolio.config import Rules


@compiled
def round_micro(value: float) -> int:
    """Round to the nearest integer, halves upward. NaN is the caller's fault and never passed."""
    return math.floor(value + 0.5)


@compiled
def equity_micro(cash_micro: int, quantity_micro: np.ndarray, mark: np.ndarray) -> int:
    """Return cash plus the positions at `mark`, in micro-USD.

    Parameters
    ----------
    cash_micro : int
        Cash, micro-USD.
    quantity_micro : (N,) int64
        Holdings, micro-shares.
    mark : (N,) float64
        Last known close per share, USD; may be NaN where nothing is held.
    """
    total = cash_micro
    for n in range(quantity_micro.shape[0]):
        if quantity_micro[n] != 0:
            total += round_micro(quantity_micro[n] * mark[n])
    return total


@compiled
def apply_corporate_actions(
    quantity_micro: np.ndarray,
    order_micro: np.ndarray,
    split_ratio: np.ndarray,
    cash_dividend: np.ndarray,
) -> int:
    """Apply a bar's splits and dividends before its open; return the dividend cash in micro-USD.

    Holdings and the orders that wait for this open are multiplied by `split_ratio` in place. The
    dividend is paid on the shares held over the ex-date, counted after the split; it is credited
    on the ex-date (a real account receives it on the payment date, days later).

    Parameters
    ----------
    quantity_micro, order_micro : (N,) int64
        Holdings and signed waiting orders, micro-shares; changed in place.
    split_ratio : (N,) float64
        New shares per old share, 1 = no split.
    cash_dividend : (N,) float64
        US dollars per share as traded on this bar, 0 = none.
    """
    received = 0
    for n in range(quantity_micro.shape[0]):
        if split_ratio[n] != 1.0:
            quantity_micro[n] = round_micro(quantity_micro[n] * split_ratio[n])
            # The size is rounded, not the signed number: an order to sell all still sells all.
            size = round_micro(abs(order_micro[n]) * split_ratio[n])
            order_micro[n] = -size if order_micro[n] < 0 else size
        if cash_dividend[n] != 0.0 and quantity_micro[n] != 0:
            received += round_micro(quantity_micro[n] * cash_dividend[n])
    return received


@compiled
def commission_micro(value_micro: int, rules: Rules) -> int:
    """Return the commission of one filled order of `value_micro`, in micro-USD."""
    return max(round_micro(value_micro * rules.commission), rules.minimum_commission_micro)


@compiled
def fill_orders(
    order_micro: np.ndarray,
    open_price: np.ndarray,
    cash_micro: int,
    quantity_micro: np.ndarray,
    rules: Rules,
    fills: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> int:
    """Fill waiting orders at a bar's open and return the cash left, in micro-USD.

    Sells fill first and in full, at `open * (1 - half_spread)`. Buys fill at
    `open * (1 + half_spread)`; when the cash does not cover all of them they shrink pro rata.
    An order without an open (NaN: the symbol has no bar) lapses. Cash never becomes negative: the
    minimum commission of a sell is capped at what the sell brings.

    Parameters
    ----------
    order_micro : (N,) int64
        Signed orders, micro-shares; a sell never exceeds the holding.
    open_price : (N,) float64
        Opening prices as traded, USD; NaN = no bar.
    cash_micro : int
        Cash after this bar's dividends, micro-USD.
    quantity_micro : (N,) int64
        Holdings after this bar's splits, micro-shares; changed in place.
    rules : Rules
        Costs.
    fills : tuple of (N,) int64, (N,) float64, (N,) int64
        Written: signed filled quantity (micro-shares), fill price (USD, NaN = no fill),
        commission (micro-USD).
    """
    fill_micro, fill_price, fee_micro = fills
    cash = cash_micro
    needed = 0
    for n in range(order_micro.shape[0]):
        fill_micro[n] = 0
        fill_price[n] = np.nan
        fee_micro[n] = 0
        if order_micro[n] == 0 or not open_price[n] > 0.0:
            continue
        if order_micro[n] < 0:
            cash += _book(
                n, order_micro[n], open_price[n] * (1.0 - rules.half_spread), rules, fills
            )
        else:
            value = round_micro(order_micro[n] * open_price[n] * (1.0 + rules.half_spread))
            needed += value + commission_micro(value, rules)
    share = 1.0 if needed <= cash else cash / needed
    for n in range(order_micro.shape[0]):
        if order_micro[n] <= 0 or not open_price[n] > 0.0:
            continue
        price = open_price[n] * (1.0 + rules.half_spread)
        quantity = order_micro[n]
        if share < 1.0:
            quantity = math.floor(quantity * share)
        value = round_micro(quantity * price)
        if value + commission_micro(value, rules) > cash:
            quantity = _affordable(cash, price, rules)
        if quantity > 0:
            cash += _book(n, quantity, price, rules, fills)
    for n in range(order_micro.shape[0]):
        quantity_micro[n] += fill_micro[n]
    return cash


@compiled
def _book(
    n: int,
    quantity: int,
    price: float,
    rules: Rules,
    fills: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> int:
    """Write one fill and return its cash flow (negative for a buy), commission included."""
    value = round_micro(abs(quantity) * price)
    fee = commission_micro(value, rules)
    if quantity < 0:
        fee = min(fee, value)
    fills[0][n] = quantity
    fills[1][n] = price
    fills[2][n] = fee
    return value - fee if quantity < 0 else -(value + fee)


@compiled
def _affordable(cash: int, price: float, rules: Rules) -> int:
    """Return the largest quantity (micro-shares) whose value and commission `cash` covers.

    Reached when the minimum commission or a rounding makes the pro-rata share a little too dear.
    Two micro-dollars' worth of shares less than the quotient absorb the roundings.
    """
    budget = min(cash / (1.0 + rules.commission), float(cash - rules.minimum_commission_micro))
    return math.floor(budget / price) - math.ceil(2.0 / price)
