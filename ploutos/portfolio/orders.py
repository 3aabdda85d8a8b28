"""What an action means in shares. In: an action and the account at a close. Out: signed orders.

Quantities are fixed here, at the decision, from the close; the fill comes at the next open. With
equity V, marks m, holdings q, and "closes" meaning an order of -q:

    stops        q closes if its return since the average entry is <= -stop_loss or >= take_profit,
                 if V <= (1 - drawdown_stop) * peak (then for good), or if V < maintenance * gross;
                 in the last two cases nothing else is ordered
    orders       against the position (or at target weight 0): it closes, or shrinks to the target,
                 once it was held for minimum_holding_bars
                 with the position, or flat: adds min(buy_fraction * V, maximum_weight * V - |q m|),
                 or up to the target weight, |w| <= maximum_weight, sum |w| <= maximum_gross
    sells first  what is closed makes room; all additions then shrink by one factor, so that
                 gross <= maximum_gross * V, and without margin so that cash covers them with costs
    most orders  beyond maximum_orders the later ones are dropped: stops, reductions, additions
    small        an addition or reduction below minimum_order_usd is dropped, a close never is
    lots         additions are rounded down to lots

An order that would turn a position round closes it: the other side can be opened a bar later, as
brokers ask for it. A symbol that is not valid is not traded.

Arrays are symbols by accounts, (N, L): L accounts side by side, each in a lane of its own, so that
one instruction of the processor works on several. A single account is one lane.
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled, compiled_apart, composed
from ploutos.portfolio.accounting import value_micro
from ploutos.portfolio.config import Rules

HOLD, BUY, SELL = 0, 1, 2


class Account(NamedTuple):
    """L accounts at a close, side by side; all float64.

    cash, equity, peak : (L,)
        Micro-USD; `peak` is the highest equity at a close so far.
    stopped : (L,)
        1 once the drawdown stop was reached, else 0.
    quantity, entry_price, held_bars : (N, L)
        Holdings in micro-shares (negative = short), average entry price in USD, age in bars.
    """

    cash: np.ndarray
    equity: np.ndarray
    peak: np.ndarray
    stopped: np.ndarray
    quantity: np.ndarray
    entry_price: np.ndarray
    held_bars: np.ndarray


# Rows of `plan_orders`' room for one number per account.
CLOSES, SHRINK, GROSS, FREED, WANTED, SHARE, N_SUMS = range(7)


@compiled
def reaches_drawdown_stop(equity: float, peak: float, rules: Rules) -> bool:
    """Tell whether equity at a close is at or below the drawdown stop."""
    return equity <= (1.0 - rules.drawdown_stop) * peak


@composed
def plan_orders(
    action: np.ndarray,
    account: Account,
    market: tuple[np.ndarray, np.ndarray],
    rules: Rules,
    out: tuple[np.ndarray, np.ndarray],
) -> None:
    """Write the signed order quantities of a decision; see the module for the rules.

    Parameters
    ----------
    action : (N, L) float64
        0 hold, 1 buy, 2 sell; or target weights, where `rules.by_weight`.
    account : Account
        The accounts at the close.
    market : ((N, L), (N, L)) float64
        Close of the decision bar (or the last one known), USD per share; 1 where the symbol has a
        bar and all its warm-up behind it, else 0.
    rules : Rules
        Sizes, limits, costs.
    out : ((N, L), (N_SUMS, L)) float64
        Written: signed quantities, micro-shares; and room for sums.
    """
    mark, valid = market
    order, sums = out
    write_closing(account, mark, rules, sums[CLOSES])
    if rules.by_weight != 0.0:
        _write_shrink(action, valid, rules, sums[SHRINK])
        _wish_weights(action, account, market, rules, (sums[CLOSES], sums[SHRINK], order))
    else:
        _wish_orders(action, account, market, rules, (sums[CLOSES], order))
    if min(rules.stop_loss, rules.take_profit) < np.inf:
        _close_stopped(account, market, rules, order)
    if rules.maximum_orders < order.shape[0]:
        _drop_orders(account, mark, rules, sums[CLOSES], order)
    _size_additions(account, mark, rules, (sums, order))


# Up to here an order with the position's sign, or of a flat symbol, is an addition in micro-USD;
# one against the position is a reduction in micro-shares. `_size_additions` makes shares of all.


@compiled_apart
def write_closing(account: Account, mark: np.ndarray, rules: Rules, closes: np.ndarray) -> None:
    """Write 1 where all is to be closed, else 0: the drawdown stop was reached, or a margin call.

    Parameters
    ----------
    account, mark, rules
        As in `plan_orders`.
    closes : (L,) float64
        Written.
    """
    n_lanes = closes.shape[0]
    for lane in range(n_lanes):
        closes[lane] = 0.0
    if rules.margin != 0.0:
        for n in range(mark.shape[0]):
            for lane in range(n_lanes):
                closes[lane] += abs(value_micro(account.quantity[n, lane], mark[n, lane]))
    for lane in range(n_lanes):
        state = (account.stopped[lane], account.equity[lane])
        closes[lane] = 1.0 * closes_all(state, closes[lane], rules)


@compiled
def closes_all(state: tuple[float, float], gross: float, rules: Rules) -> bool:
    """Tell whether everything is to be closed: the drawdown stop was reached, or a margin call.

    Parameters
    ----------
    state : (float, float)
        1 once the stop was reached, else 0; equity, micro-USD.
    gross : float
        Value of all positions, long and short, micro-USD.
    rules : Rules
        Maintenance margin.
    """
    stopped, equity = state
    called = equity < rules.maintenance * gross
    return (stopped != 0.0) | ((rules.margin != 0.0) & called)


@compiled
def reaches_stop(quantity: float, entry: float, mark: float, rules: Rules) -> bool:
    """Tell whether stop-loss or take-profit closes a position, at a close of `mark`."""
    change = mark / entry - 1.0
    change = change if quantity > 0.0 else 1.0 - mark / entry
    hit = (change <= -rules.stop_loss) | (change >= rules.take_profit)
    return (quantity != 0.0) & hit


@compiled_apart
def _write_shrink(action: np.ndarray, valid: np.ndarray, rules: Rules, shrink: np.ndarray) -> None:
    """Write the factors that bring the target weights within the gross limit."""
    n_lanes = shrink.shape[0]
    for lane in range(n_lanes):
        shrink[lane] = 0.0
    for n in range(action.shape[0]):
        for lane in range(n_lanes):
            weight = abs(_clipped(action[n, lane], rules))
            shrink[lane] += weight if valid[n, lane] != 0.0 else 0.0
    for lane in range(n_lanes):
        gross = shrink[lane]
        shrink[lane] = 1.0 if gross <= rules.maximum_gross else rules.maximum_gross / gross


@compiled
def _clipped(weight: float, rules: Rules) -> float:
    least = -rules.maximum_weight if rules.margin != 0.0 else 0.0
    return min(max(weight, least), rules.maximum_weight)


@compiled_apart
def _wish_orders(
    action: np.ndarray,
    account: Account,
    market: tuple[np.ndarray, np.ndarray],
    rules: Rules,
    out: tuple[np.ndarray, np.ndarray],
) -> None:
    mark, valid = market
    closes, order = out
    for n in range(order.shape[0]):
        for lane in range(order.shape[1]):
            quantity, held = account.quantity[n, lane], account.held_bars[n, lane]
            wish = by_order(
                action[n, lane], (quantity, held), account.equity[lane], mark[n, lane], rules
            )
            wish = -quantity if closes[lane] != 0.0 else wish
            order[n, lane] = wish if valid[n, lane] != 0.0 else 0.0


@compiled
def by_order(
    action: float, held: tuple[float, float], equity: float, mark: float, rules: Rules
) -> float:
    """Return one symbol's order: micro-shares to close, micro-USD to add, both signed.

    Parameters
    ----------
    action : float
        0 hold, 1 buy, 2 sell.
    held : (float, float)
        Position in micro-shares, and its age in bars.
    equity, mark, rules
        Of the account in micro-USD; the close in USD; sizes and limits.
    """
    quantity, age = held
    # Factors of 0 and 1, not branches: what a policy does next cannot be predicted, by a processor
    # either, and lanes that branch apart cannot be worked on together.
    side = 1.0 * (action == BUY) - 1.0 * (action == SELL)
    against = 1.0 * (side * quantity < 0.0)
    old_enough = 1.0 * (age >= rules.minimum_holding_bars)
    may_open = 1.0 * ((side > 0.0) | (rules.margin != 0.0))
    room = rules.maximum_weight * equity - abs(quantity) * mark
    addition = max(0.0, np.floor(min(rules.buy_fraction * equity, room)))
    return (1.0 - against) * may_open * side * addition - against * old_enough * quantity


@compiled_apart
def _wish_weights(
    action: np.ndarray,
    account: Account,
    market: tuple[np.ndarray, np.ndarray],
    rules: Rules,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    mark, valid = market
    closes, shrink, order = out
    for n in range(order.shape[0]):
        for lane in range(order.shape[1]):
            quantity, held = account.quantity[n, lane], account.held_bars[n, lane]
            weight = _clipped(action[n, lane], rules) * shrink[lane]
            wish = _to_weight(weight, (quantity, held), account.equity[lane], mark[n, lane], rules)
            wish = -quantity if closes[lane] != 0.0 else wish
            order[n, lane] = wish if valid[n, lane] != 0.0 else 0.0


@compiled
def _to_weight(
    weight: float, held: tuple[float, float], equity: float, mark: float, rules: Rules
) -> float:
    quantity, age = held
    change = weight * equity - quantity * mark
    closes = (weight * quantity < 0.0) | ((weight == 0.0) & (quantity != 0.0))
    if not closes and abs(change) < rules.minimum_order_micro:
        return 0.0
    if quantity * change < 0.0:
        if age < rules.minimum_holding_bars:
            return 0.0
        part = whole_lots(np.floor(abs(change) / mark), rules)
        size = abs(quantity) if closes else min(part, abs(quantity))
        return -size if quantity > 0.0 else size
    return np.floor(change) if change > 0.0 else -np.floor(-change)


@compiled
def addition_size(value: float, mark: float, rules: Rules) -> float:
    """Return the micro-shares to open or add for `value` micro-USD at `mark`; 0 if too small."""
    price = mark if mark > 0.0 else np.inf
    size = np.floor(value / price)
    if rules.lot_micro != 1.0:
        size = whole_lots(size, rules)
        value = min(value, size * mark)
    return size * (1.0 if value >= rules.minimum_order_micro else 0.0)


@compiled
def whole_lots(size: float, rules: Rules) -> float:
    """Round a size in micro-shares down to a multiple of the lot."""
    if rules.lot_micro == 1.0:
        return size
    return np.floor(size / rules.lot_micro) * rules.lot_micro


@compiled_apart
def _close_stopped(
    account: Account, market: tuple[np.ndarray, np.ndarray], rules: Rules, order: np.ndarray
) -> None:
    """Close the positions that have reached their stop-loss or take-profit."""
    mark, valid = market
    for n in range(order.shape[0]):
        for lane in range(order.shape[1]):
            quantity, entry = account.quantity[n, lane], account.entry_price[n, lane]
            stops = reaches_stop(quantity, entry, mark[n, lane], rules)
            stops = stops & (valid[n, lane] != 0.0)
            order[n, lane] = -quantity if stops else order[n, lane]


@compiled
def _drop_orders(
    account: Account, mark: np.ndarray, rules: Rules, closes: np.ndarray, order: np.ndarray
) -> None:
    """Keep the first `maximum_orders`: those of the stops, reductions, additions."""
    for lane in range(order.shape[1]):
        left = rules.maximum_orders
        for kind in range(3):
            for n in range(order.shape[0]):
                if order[n, lane] == 0.0:
                    continue
                own, quantity = 2, account.quantity[n, lane]
                if order[n, lane] * quantity < 0.0:
                    entry = account.entry_price[n, lane]
                    stops = reaches_stop(quantity, entry, mark[n, lane], rules)
                    own = 0 if stops or closes[lane] != 0.0 else 1
                if own == kind:
                    # A stop always closes; it only leaves less for the others.
                    if left <= 0.0 and kind > 0:
                        order[n, lane] = 0.0
                    left -= 1.0


@compiled_apart
def _size_additions(
    account: Account, mark: np.ndarray, rules: Rules, out: tuple[np.ndarray, np.ndarray]
) -> None:
    """Shrink the additions to what the accounts can carry, and turn them into micro-shares."""
    sums, order = out
    n_symbols, n_lanes = order.shape
    for lane in range(n_lanes):
        sums[GROSS, lane], sums[FREED, lane], sums[WANTED, lane] = 0.0, 0.0, 0.0
    for n in range(n_symbols):
        for lane in range(n_lanes):
            size, quantity = abs(order[n, lane]), account.quantity[n, lane]
            reduced = size * (1.0 if order[n, lane] * quantity < 0.0 else 0.0)
            sums[WANTED, lane] += size - reduced
            sums[FREED, lane] += np.floor(reduced * mark[n, lane])
            sums[GROSS, lane] += np.floor((abs(quantity) - reduced) * mark[n, lane])
    one_way = rules.half_spread + rules.commission
    for lane in range(n_lanes):
        room = rules.maximum_gross * account.equity[lane] - sums[GROSS, lane]
        cash = (account.cash[lane] + sums[FREED, lane] * (1.0 - one_way)) / (1.0 + one_way)
        room = min(room, cash) if rules.margin == 0.0 else room
        # What is wanted is a whole number: 1 stands for 0, where nothing is shrunk anyway.
        sums[SHARE, lane] = min(1.0, max(room, 0.0) / max(sums[WANTED, lane], 1.0))
    for n in range(n_symbols):
        for lane in range(n_lanes):
            value = np.floor(abs(order[n, lane]) * sums[SHARE, lane])
            size = addition_size(value, mark[n, lane], rules)
            addition = size if order[n, lane] > 0.0 else -size
            reduces = order[n, lane] * account.quantity[n, lane] < 0.0
            order[n, lane] = order[n, lane] if reduces else addition
