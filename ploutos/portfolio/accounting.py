"""The books: equity, interest, splits and dividends. In: an account and a bar. Out: its cash flows.

Cash and the value of a position are whole numbers of micro-USD, a quantity a whole number of
micro-shares, held in float64. Whole numbers below 2**53 (nine billion US dollars) are exact there,
so sums of them are exact in any order, and a book kept here equals one kept by an integer ledger to
the last digit. A cash flow is rounded to the nearest micro-USD at the moment it happens:
`quantity_micro * price_usd` is already in micro-USD.
"""

import numpy as np

from ploutos.compiled import compiled
from ploutos.portfolio.config import Rules

DAYS_PER_YEAR = 365.0


@compiled
def round_micro(value: float) -> float:
    """Round to the nearest whole number, halves upward."""
    return np.floor(value + 0.5)


@compiled
def equity_micro(cash_micro: float, quantity_micro: np.ndarray, mark: np.ndarray) -> float:
    """Return cash plus the positions at `mark`, in micro-USD.

    Parameters
    ----------
    cash_micro : float
        Cash, micro-USD.
    quantity_micro : (N,) float64
        Holdings, micro-shares; negative = short.
    mark : (N,) float64
        Last known close per share, USD; 0 before a symbol's first bar.
    """
    total = cash_micro
    for n in range(quantity_micro.shape[0]):
        total += round_micro(quantity_micro[n] * mark[n])
    return total


@compiled
def interest_micro(
    cash_micro: float, quantity_micro: np.ndarray, mark: np.ndarray, days: float, rules: Rules
) -> float:
    """Return the interest from one close to the next, in micro-USD; negative = to be paid.

    Cash beyond the proceeds of short sales earns `cash_interest`, negative cash costs `loan_rate`,
    and borrowed shares cost `borrow_fee` of their value at the first close; each is a rate per
    year of 365 days, for the time between the two closes.

    Parameters
    ----------
    cash_micro : float
        Cash at the first close.
    quantity_micro, mark : (N,) float64
        Holdings and closes at the first close.
    days : float
        Days of 24 hours between the two closes; weekends and holidays count.
    rules : Rules
        The rates.
    """
    short = 0.0
    if rules.margin != 0.0:
        for n in range(quantity_micro.shape[0]):
            short -= min(round_micro(quantity_micro[n] * mark[n]), 0.0)
    rate = rules.cash_interest * max(cash_micro - short, 0.0)
    rate += rules.loan_rate * min(cash_micro, 0.0) - rules.borrow_fee * short
    return round_micro(rate * days / DAYS_PER_YEAR)


@compiled
def apply_corporate_actions(
    quantity_micro: np.ndarray,
    order_micro: np.ndarray,
    split_ratio: np.ndarray,
    cash_dividend: np.ndarray,
) -> float:
    """Apply a bar's splits and dividends before its open; return the dividend cash in micro-USD.

    Holdings and the orders that wait for this open are multiplied by `split_ratio` in place. The
    dividend is paid on the shares held over the ex-date, counted after the split (a short position
    pays it); it is credited on the ex-date, where a real account receives it days later.

    Parameters
    ----------
    quantity_micro, order_micro : (N,) float64
        Holdings and signed waiting orders, micro-shares; changed in place.
    split_ratio : (N,) float64
        New shares per old share, 1 = no split.
    cash_dividend : (N,) float64
        US dollars per share as traded on this bar, 0 = none.
    """
    received = 0.0
    for n in range(quantity_micro.shape[0]):
        if split_ratio[n] != 1.0:
            quantity_micro[n] = _split(quantity_micro[n], split_ratio[n])
            order_micro[n] = _split(order_micro[n], split_ratio[n])
        if cash_dividend[n] != 0.0:
            received += round_micro(quantity_micro[n] * cash_dividend[n])
    return received


@compiled
def _split(quantity_micro: float, ratio: float) -> float:
    """Round the size, not the signed number: an order to sell all then still sells all."""
    size = round_micro(abs(quantity_micro) * ratio)
    return -size if quantity_micro < 0.0 else size
