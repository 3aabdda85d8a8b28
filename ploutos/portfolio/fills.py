"""Fills at an open. In: waiting orders and a bar. Out: the cash left, holdings, what was filled.

As in `ploutos.portfolio.orders`, arrays are symbols by accounts, (N, L).
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled, compiled_apart, composed
from ploutos.portfolio.accounting import round_micro, value_micro
from ploutos.portfolio.config import Rules
from ploutos.portfolio.costs import SellFees, fee_micro, fill_price, fillable_micro
from ploutos.portfolio.orders import N_SUMS, whole_lots


class Trades(NamedTuple):
    """The waiting orders of L accounts, and what the last settled bar did.

    order, fill (N, L) float64: signed micro-shares; fill_price (N, L) float64: USD, NaN = no fill;
    fee (N, L) float64: commission and sell fees, micro-USD. flows (3, L) float64, micro-USD:
    dividends received (paid, if negative), interest received (paid), value traded. sums
    (N_SUMS, L) float64: room for the sums of a decision and of a fill.

    Those of a single account that is not stepped beside others are (N,), (3,) and (N_SUMS,).
    """

    order: np.ndarray
    fill: np.ndarray
    fill_price: np.ndarray
    fee: np.ndarray
    flows: np.ndarray
    sums: np.ndarray


DIVIDEND, INTEREST, TRADED = 0, 1, 2
# Rows of `Trades.sums` while a bar is filled.
NEEDED, ROOM, EQUITY, SIZE = range(4)


def new_trades(n_symbols: int) -> Trades:
    """Return the trades of a single account that has none."""
    return Trades(
        order=np.zeros(n_symbols),
        fill=np.zeros(n_symbols),
        fill_price=np.full(n_symbols, np.nan),
        fee=np.zeros(n_symbols),
        flows=np.zeros(3),
        sums=np.zeros(N_SUMS),
    )


class Bar(NamedTuple):
    """One bar of each of L accounts, which may stand at different rows.

    open (N, L) float64: USD, NaN = no bar. last_mark (N, L) float64: the close before, USD.
    known_volume (N, L) float64: the median volume known at the decision, in shares before this
    bar's splits. split_ratio (N, L) float64. sec, taf, taf_maximum_usd (L,) float64: the sell fees
    of the date.
    """

    open: np.ndarray
    last_mark: np.ndarray
    known_volume: np.ndarray
    split_ratio: np.ndarray
    sec: np.ndarray
    taf: np.ndarray
    taf_maximum_usd: np.ndarray


@composed
def fill_orders(
    bar: Bar, cash: np.ndarray, quantity: np.ndarray, rules: Rules, trades: Trades
) -> None:
    """Fill waiting orders at a bar's open.

    Orders that reduce a position fill first, then those that open or add. Each fills up to the
    participation cap, at the open plus or minus spread and impact. If what the additions need is
    not there (cash, and room under `maximum_gross` at these opens), they shrink by one factor.
    Without margin cash never becomes negative: a fee on a sell is capped at what the sell
    brings. An order without an open lapses, and so does what is left of any.

    Parameters
    ----------
    bar : Bar
        Opens, volumes, fees.
    cash : (L,) float64
        Cash after this bar's interest and dividends, micro-USD; changed in place.
    quantity : (N, L) float64
        Holdings after this bar's splits, micro-shares; changed in place.
    rules : Rules
        Costs and limits.
    trades : Trades
        `order` is read, and 0 afterwards; `fill`, `fill_price`, `fee` and the traded value are
        written.
    """
    _fill_reductions(bar, (cash, quantity), rules, trades)
    _write_room(bar, (cash, quantity), rules, trades)
    _fill_additions(bar, (cash, quantity), rules, trades)


@compiled_apart
def _fill_reductions(
    bar: Bar, held: tuple[np.ndarray, np.ndarray], rules: Rules, trades: Trades
) -> None:
    """Fill what reduces a position; find size, price and need of what opens or adds to one."""
    cash, quantity = held
    order, needed, traded = trades.order, trades.sums[NEEDED], trades.flows[TRADED]
    n_symbols, n_lanes = order.shape
    for lane in range(n_lanes):
        needed[lane], traded[lane] = 0.0, 0.0
    for n in range(n_symbols):
        for lane in range(n_lanes):
            wanted = order[n, lane]
            # Nothing waits for a bar that is not there. NaN would spread, so 0 stands for it.
            is_open = bar.open[n, lane] > 0.0
            wanted = wanted if is_open else 0.0
            open_price = bar.open[n, lane] if is_open else 0.0
            reduces = wanted * quantity[n, lane] < 0.0
            # Only an order for the whole position may be for a part of a lot, left by a split.
            whole = abs(quantity[n, lane]) if reduces else np.inf
            side = 1.0 if wanted > 0.0 else -1.0
            volume = bar.known_volume[n, lane] * bar.split_ratio[n, lane]
            size = fillable_micro(abs(wanted), volume, rules)
            size = size if size >= whole else whole_lots(size, rules)
            price = fill_price(open_price, size, volume, side, rules)
            value = value_micro(size, price)
            fee = fee_micro(size, value, side, _sell_fees(bar, lane), rules)
            # A short sale brings less than the open, but the position is worth the open.
            need = round_micro(size * max(price, open_price)) + fee
            cash[lane] -= side * value + fee if reduces else 0.0
            traded[lane] += value if reduces else 0.0
            needed[lane] += 0.0 if reduces else need
            quantity[n, lane] += side * size if reduces else 0.0
            order[n, lane] = 0.0 if reduces else wanted
            trades.fill[n, lane] = side * size
            trades.fill_price[n, lane] = price
            trades.fee[n, lane] = fee


@compiled
def _sell_fees(bar: Bar, lane: int) -> SellFees:
    return SellFees(bar.sec[lane], bar.taf[lane], bar.taf_maximum_usd[lane])


@compiled_apart
def _write_room(
    bar: Bar, held: tuple[np.ndarray, np.ndarray], rules: Rules, trades: Trades
) -> None:
    """Write what may be spent on additions once the reductions have filled, micro-USD."""
    cash, quantity = held
    room, equity = trades.sums[ROOM], trades.sums[EQUITY]
    n_symbols, n_lanes = quantity.shape
    for lane in range(n_lanes):
        room[lane] = cash[lane]
    if rules.margin == 0.0 and rules.maximum_gross >= 1.0:
        return
    for lane in range(n_lanes):
        room[lane], equity[lane] = 0.0, cash[lane]
    for n in range(n_symbols):
        for lane in range(n_lanes):
            # A symbol without a bar has no split on it either: its last close still holds.
            is_open = bar.open[n, lane] > 0.0
            price = bar.open[n, lane] if is_open else bar.last_mark[n, lane]
            value = value_micro(quantity[n, lane], price)
            equity[lane] += value
            room[lane] -= abs(value)
    for lane in range(n_lanes):
        room[lane] += rules.maximum_gross * equity[lane]
        room[lane] = room[lane] if rules.margin != 0.0 else min(cash[lane], room[lane])


@compiled_apart
def _fill_additions(
    bar: Bar, held: tuple[np.ndarray, np.ndarray], rules: Rules, trades: Trades
) -> None:
    """Shrink the additions by one factor and pay them; the prices stay those of what was sent."""
    cash, quantity = held
    order, sizes, share = trades.order, trades.sums[SIZE], trades.sums[ROOM]
    n_symbols, n_lanes = order.shape
    for lane in range(n_lanes):
        room, needed = share[lane], trades.sums[NEEDED, lane]
        # Needed is a whole number: 1 stands for 0, where there is nothing to shrink.
        share[lane] = 1.0 if needed <= room else max(room, 0.0) / max(needed, 1.0)
    for n in range(n_symbols):
        too_dear = 0
        for lane in range(n_lanes):
            # At a share of 1 this is the size itself, which is a whole number of lots.
            sent = abs(trades.fill[n, lane]) if order[n, lane] != 0.0 else 0.0
            sizes[lane] = whole_lots(np.floor(sent * share[lane]), rules)
            cost = _cost_of(sizes[lane], n, lane, (bar, trades), rules)
            too_dear += (rules.margin == 0.0) & (cost > cash[lane])
        if too_dear != 0:
            _afford(n, (bar, trades), cash, rules)
        for lane in range(n_lanes):
            side = 1.0 if order[n, lane] > 0.0 else -1.0
            size, price = sizes[lane], trades.fill_price[n, lane]
            value = value_micro(size, price)
            fee = fee_micro(size, value, side, _sell_fees(bar, lane), rules)
            cash[lane] -= side * value + fee
            trades.flows[TRADED, lane] += value
            quantity[n, lane] += side * size
            # What reduced a position has filled already, and waits no more.
            fill = side * size if order[n, lane] != 0.0 else trades.fill[n, lane]
            trades.fee[n, lane] = fee if order[n, lane] != 0.0 else trades.fee[n, lane]
            trades.fill[n, lane] = fill
            trades.fill_price[n, lane] = price if fill != 0.0 else np.nan
            order[n, lane] = 0.0


@compiled
def _cost_of(size: float, n: int, lane: int, at: tuple[Bar, Trades], rules: Rules) -> float:
    """Return value and commission of a purchase, micro-USD."""
    bar, trades = at
    value = value_micro(size, trades.fill_price[n, lane])
    return value + fee_micro(size, value, 1.0, _sell_fees(bar, lane), rules)


@compiled
def _afford(n: int, at: tuple[Bar, Trades], cash: np.ndarray, rules: Rules) -> None:
    """Replace the sizes that cash does not cover by the largest that it does."""
    _, trades = at
    for lane in range(cash.shape[0]):
        size, price = trades.sums[SIZE, lane], trades.fill_price[n, lane]
        if _cost_of(size, n, lane, at, rules) > cash[lane]:
            trades.sums[SIZE, lane] = _affordable(cash[lane], price, rules)


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
