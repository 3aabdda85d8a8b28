"""The books: values, interest, splits and dividends. In: an account and a bar. Out: cash flows.

Cash and the value of a position are whole numbers of micro-USD, a quantity a whole number of
micro-shares, held in float64. Whole numbers below 2**53 (nine billion US dollars) are exact there,
so sums of them are exact in any order, and a book kept here equals one kept by an integer ledger to
the last digit. A cash flow is rounded to the nearest micro-USD at the moment it happens:
`quantity_micro * price_usd` is already in micro-USD.
"""

import numpy as np

from ploutos.compiled import compiled, compiled_apart
from ploutos.portfolio.config import Rules

DAYS_PER_YEAR = 365.0


@compiled
def round_micro(value: float) -> float:
    """Round to the nearest whole number, halves upward."""
    return np.floor(value + 0.5)


@compiled
def value_micro(quantity_micro: float, price: float) -> float:
    """Return what a position (micro-shares, negative = short) is worth at a price in USD."""
    return round_micro(quantity_micro * price)


@compiled
def split_micro(quantity_micro: float, ratio: float) -> float:
    """Return a quantity after a split into `ratio` new shares per old one, micro-shares."""
    # The size is rounded, not the signed number: an order to sell all then still sells all.
    size = round_micro(abs(quantity_micro) * ratio)
    return -size if quantity_micro < 0.0 else size


@compiled
def interest_micro(cash_micro: float, short_micro: float, days: float, rules: Rules) -> float:
    """Return the interest from one close to the next, in micro-USD; negative = to be paid.

    Cash beyond the proceeds of short sales earns `cash_interest`, negative cash costs `loan_rate`,
    and borrowed shares cost `borrow_fee` of their value at the first close; each is a rate per
    year of 365 days, for the time between the two closes.

    Parameters
    ----------
    cash_micro, short_micro : float
        Cash, and the value of what was sold short (at least 0), at the first close.
    days : float
        Days of 24 hours between the two closes; weekends and holidays count.
    rules : Rules
        The rates.
    """
    rate = rules.cash_interest * max(cash_micro - short_micro, 0.0)
    rate += rules.loan_rate * min(cash_micro, 0.0) - rules.borrow_fee * short_micro
    return round_micro(rate * days / DAYS_PER_YEAR)


@compiled_apart
def write_short(quantity: np.ndarray, mark: np.ndarray, rules: Rules, short: np.ndarray) -> None:
    """Write the value of what L accounts (N, L) have sold short, (L,) micro-USD, at least 0."""
    for lane in range(short.shape[0]):
        short[lane] = 0.0
    if rules.margin != 0.0:
        for n in range(quantity.shape[0]):
            for lane in range(short.shape[0]):
                short[lane] -= min(value_micro(quantity[n, lane], mark[n, lane]), 0.0)


@compiled_apart
def apply_corporate_actions(
    held: tuple[np.ndarray, np.ndarray, np.ndarray],
    split_ratio: np.ndarray,
    cash_dividend: np.ndarray,
    received: np.ndarray,
) -> None:
    """Apply a bar's splits and dividends to L accounts over N symbols before its open.

    Holdings and the orders that wait for this open are multiplied by `split_ratio` in place. The
    dividend is paid on the shares held over the ex-date, counted after the split (a short position
    pays it); it is credited on the ex-date, where a real account receives it days later.

    Parameters
    ----------
    held : ((N, L), (N, L), (N, L)) float64
        Holdings, signed waiting orders (micro-shares), average entry prices (USD); changed.
    split_ratio : (N, L) float64
        New shares per old share, 1 = no split.
    cash_dividend : (N, L) float64
        US dollars per share as traded on this bar, 0 = none.
    received : (L,) float64
        Written: the dividends, micro-USD.
    """
    quantity, order, entry_price = held
    for lane in range(received.shape[0]):
        received[lane] = 0.0
    for n in range(quantity.shape[0]):
        for lane in range(received.shape[0]):
            ratio = split_ratio[n, lane]
            quantity[n, lane] = split_micro(quantity[n, lane], ratio)
            order[n, lane] = split_micro(order[n, lane], ratio)
            entry_price[n, lane] /= ratio
            received[lane] += value_micro(quantity[n, lane], cash_dividend[n, lane])
