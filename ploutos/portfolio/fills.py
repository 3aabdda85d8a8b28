"""Fills at an open. In: waiting orders and a bar. Out: the cash left, holdings, what was filled."""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.portfolio.accounting import round_micro
from ploutos.portfolio.config import Rules
from ploutos.portfolio.costs import SellFees, fee_micro, fill_price, fillable_micro
from ploutos.portfolio.orders import whole_lots


class Trades(NamedTuple):
    """One account's waiting orders, and what the last settled bar did.

    order, fill (N,) float64: signed micro-shares; fill_price (N,) float64: USD, NaN = no fill;
    fee (N,) float64: commission and sell fees, micro-USD. flows (3,) float64, micro-USD:
    dividends received (paid, if negative), interest received (paid), value traded.
    symbol (2N,) int64: the symbols of the orders that reduce a position, and from N on of those
    that open or add; counts (2,) int64: how many there are of each.
    """

    order: np.ndarray
    fill: np.ndarray
    fill_price: np.ndarray
    fee: np.ndarray
    flows: np.ndarray
    symbol: np.ndarray
    counts: np.ndarray


DIVIDEND, INTEREST, TRADED = 0, 1, 2


def new_trades(n_symbols: int) -> Trades:
    """Return the trades of an account that has none."""
    return Trades(
        order=np.zeros(n_symbols),
        fill=np.zeros(n_symbols),
        fill_price=np.full(n_symbols, np.nan),
        fee=np.zeros(n_symbols),
        flows=np.zeros(3),
        symbol=np.zeros(2 * n_symbols, np.int64),
        counts=np.zeros(2, np.int64),
    )


class Bar(NamedTuple):
    """One bar.

    open (N,) float64: USD, NaN = no bar. last_mark (N,) float64: the close before, USD.
    known_volume (N,) float64: the median volume known at the decision, in shares before this bar's
    splits. split_ratio (N,) float64. fees: the date's.
    """

    open: np.ndarray
    last_mark: np.ndarray
    known_volume: np.ndarray
    split_ratio: np.ndarray
    fees: SellFees


@compiled
def fill_orders(
    bar: Bar, cash_micro: float, quantity: np.ndarray, rules: Rules, trades: Trades
) -> float:
    """Fill waiting orders at a bar's open and return the cash left, in micro-USD.

    Orders that reduce a position fill first, then those that open or add. Each fills up to the
    participation cap, at the open plus or minus spread and impact. If what the additions need is
    not there (cash, and room under `maximum_gross` at these opens), they shrink by one factor.
    Without margin cash never becomes negative: a fee on a sell is capped at what the sell
    brings. An order without an open lapses, and so does what is left of any.

    Parameters
    ----------
    bar : Bar
        Opens, volumes, fees.
    cash_micro : float
        Cash after this bar's interest and dividends, micro-USD.
    quantity : (N,) float64
        Holdings after this bar's splits, micro-shares; changed in place.
    rules : Rules
        Costs and limits.
    trades : Trades
        `order` is read; `fill`, `fill_price`, `fee` and the traded value are written.
    """
    _sort_orders(bar.open, quantity, trades)
    cash = _fill_reductions(bar, cash_micro, quantity, rules, trades)
    return _fill_additions(bar, cash, quantity, rules, trades)


@compiled
def _sort_orders(open_price: np.ndarray, quantity: np.ndarray, trades: Trades) -> None:
    """List the orders that have an open, reductions and additions apart, and clear the fills."""
    n_symbols = quantity.shape[0]
    reductions, additions = 0, n_symbols
    for n in range(n_symbols):
        trades.fill[n], trades.fill_price[n], trades.fee[n] = 0.0, np.nan, 0.0
        # Written always and counted if it holds: whether it does cannot be predicted, and a
        # processor's wrong guess costs more than the work.
        order, is_open = trades.order[n], open_price[n] > 0.0
        trades.symbol[reductions], trades.symbol[additions] = n, n
        reductions += is_open & (order * quantity[n] < 0.0)
        additions += is_open & (order != 0.0) & (order * quantity[n] >= 0.0)
    trades.counts[0], trades.counts[1] = reductions, additions - n_symbols


@compiled
def _fill_reductions(
    bar: Bar, cash: float, quantity: np.ndarray, rules: Rules, trades: Trades
) -> float:
    traded = 0.0
    for at in range(trades.counts[0]):
        n = int(trades.symbol[at])
        side = 1.0 if trades.order[n] > 0.0 else -1.0
        size, price = _sent(n, side, abs(quantity[n]), (bar, trades), rules)
        value = round_micro(size * price)
        fee = fee_micro(size, value, side, bar.fees, rules)
        cash -= side * value + fee
        traded += value
        quantity[n] += side * size
        trades.fill[n], trades.fill_price[n], trades.fee[n] = side * size, price, fee
    trades.flows[TRADED] = traded
    return cash


@compiled
def _sent(
    n: int, side: float, whole: float, at: tuple[Bar, Trades], rules: Rules
) -> tuple[float, float]:
    """Return how much of an order the bar can fill, micro-shares, and at which price, USD.

    Only an order for the `whole` position may be for a part of a lot, which a split has left.
    """
    bar, trades = at
    volume = bar.known_volume[n] * bar.split_ratio[n]
    size = fillable_micro(abs(trades.order[n]), volume, rules)
    if size < whole:
        size = whole_lots(size, rules)
    return size, fill_price(bar.open[n], size, volume, side, rules)


@compiled
def _fill_additions(
    bar: Bar, cash: float, quantity: np.ndarray, rules: Rules, trades: Trades
) -> float:
    """Shrink the additions by one factor and pay them; the prices stay those of what was sent."""
    n_symbols, needed = quantity.shape[0], 0.0
    for at in range(n_symbols, n_symbols + trades.counts[1]):
        n = int(trades.symbol[at])
        side = 1.0 if trades.order[n] > 0.0 else -1.0
        size, price = _sent(n, side, np.inf, (bar, trades), rules)
        value = round_micro(size * price)
        fee = fee_micro(size, value, side, bar.fees, rules)
        # A short sale brings less than the open, but the position is worth the open.
        needed += round_micro(size * max(price, bar.open[n])) + fee
        trades.fill[n], trades.fill_price[n] = side * size, price
    room = cash
    if rules.margin != 0.0 or rules.maximum_gross < 1.0:
        gross_room = _gross_room(bar, cash, quantity, rules)
        room = gross_room if rules.margin != 0.0 else min(cash, gross_room)
    share = 1.0 if needed <= room else max(room, 0.0) / needed
    for at in range(n_symbols, n_symbols + trades.counts[1]):
        n = int(trades.symbol[at])
        size, price = abs(trades.fill[n]), trades.fill_price[n]
        side = 1.0 if trades.order[n] > 0.0 else -1.0
        if share < 1.0:
            size = whole_lots(np.floor(size * share), rules)
        value = round_micro(size * price)
        fee = fee_micro(size, value, side, bar.fees, rules)
        if rules.margin == 0.0 and value + fee > cash:
            size = _affordable(cash, price, rules)
            value = round_micro(size * price)
            fee = fee_micro(size, value, side, bar.fees, rules)
        cash -= side * value + fee
        trades.flows[TRADED] += value
        quantity[n] += side * size
        trades.fill[n], trades.fee[n] = side * size, fee
    return cash


@compiled
def _gross_room(bar: Bar, cash: float, quantity: np.ndarray, rules: Rules) -> float:
    """Return what may be added at these opens, micro-USD, after the reductions have filled."""
    equity, gross = cash, 0.0
    for n in range(quantity.shape[0]):
        # A symbol without a bar has no split on it either: its last close still holds.
        price = bar.open[n] if bar.open[n] > 0.0 else bar.last_mark[n]
        value = round_micro(quantity[n] * price)
        equity += value
        gross += abs(value)
    return rules.maximum_gross * equity - gross


@compiled
def _affordable(cash: float, price: float, rules: Rules) -> float:
    """Return the largest size (micro-shares) whose value and commission `cash` covers.

    Reached when a commission that is not proportional, or a rounding, makes the shrunk order a
    little too dear. Two micro-dollars' worth of shares less than the quotient absorb the roundings.
    """
    per_share = price * (1.0 + rules.commission) + rules.commission_per_share
    size = min(
        (cash - rules.commission_per_order_micro) / per_share,
        (cash - rules.minimum_commission_micro) / price,
    )
    return max(0.0, whole_lots(np.floor(size) - np.ceil(2.0 / price), rules))
