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
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.portfolio.accounting import round_micro
from ploutos.portfolio.config import Rules

HOLD, BUY, SELL = 0, 1, 2


class Account(NamedTuple):
    """One account at a close.

    cash, equity, peak : float
        Micro-USD; `peak` is the highest equity at a close so far.
    stopped : float
        1 once the drawdown stop was reached, else 0.
    quantity, entry_price, held_bars : (N,) float64
        Holdings in micro-shares (negative = short), average entry price in USD, age in bars.
    """

    cash: float
    equity: float
    peak: float
    stopped: float
    quantity: np.ndarray
    entry_price: np.ndarray
    held_bars: np.ndarray


@compiled
def reaches_drawdown_stop(equity: float, peak: float, rules: Rules) -> bool:
    """Tell whether equity at a close is at or below the drawdown stop."""
    return equity <= (1.0 - rules.drawdown_stop) * peak


@compiled
def plan_orders(
    action: np.ndarray,
    account: Account,
    mark: np.ndarray,
    valid: np.ndarray,
    rules: Rules,
    order: np.ndarray,
) -> None:
    """Write the signed order quantities of one decision; see the module for the rules.

    Parameters
    ----------
    action : (N,) int64 or float64
        0 hold, 1 buy, 2 sell; or target weights, where `rules.by_weight`.
    account : Account
        The account at the close.
    mark : (N,) float64
        Close of the decision bar (or the last one known), USD per share.
    valid : (N,) uint8
        1 where the symbol has a bar and all its warm-up behind it.
    rules : Rules
        Sizes, limits, costs.
    order : (N,) float64
        Written: signed quantity, micro-shares.
    """
    all_close = closes_all(account, mark, rules)
    watches = min(rules.stop_loss, rules.take_profit) < np.inf
    shrink = _weight_shrink(action, valid, rules)
    for n in range(order.shape[0]):
        if rules.by_weight != 0.0:
            weight = _clipped(action[n], rules) * shrink
            order[n] = _to_weight(weight, account, n, mark[n], rules)
        else:
            order[n] = by_order(action[n], account, n, mark[n], rules)
        if all_close or (watches and must_close(account, n, mark[n], all_close, rules)):
            order[n] = -account.quantity[n]
        order[n] = order[n] if valid[n] != 0 else 0.0
    if rules.maximum_orders < order.shape[0]:
        _drop_orders(account, mark, all_close, rules, order)
    _size_additions(account, mark, rules, order)


# Up to here an order with the position's sign, or of a flat symbol, is an addition in micro-USD;
# one against the position is a reduction in micro-shares. `_size_additions` makes shares of all.


@compiled
def closes_all(account: Account, mark: np.ndarray, rules: Rules) -> bool:
    """Tell whether everything is to be closed: the drawdown stop was reached, or a margin call."""
    if account.stopped != 0.0 or rules.margin == 0.0:
        return account.stopped != 0.0
    gross = 0.0
    for n in range(mark.shape[0]):
        gross += abs(round_micro(account.quantity[n] * mark[n]))
    return account.equity < rules.maintenance * gross


@compiled
def must_close(account: Account, n: int, mark: float, all_close: bool, rules: Rules) -> bool:
    """Tell whether a stop closes symbol n's position, at a close of `mark`, whatever else."""
    if account.quantity[n] == 0.0:
        return False
    entry = account.entry_price[n]
    change = mark / entry - 1.0 if account.quantity[n] > 0.0 else 1.0 - mark / entry
    return all_close or change <= -rules.stop_loss or change >= rules.take_profit


@compiled
def _weight_shrink(action: np.ndarray, valid: np.ndarray, rules: Rules) -> float:
    """Return the factor that brings the target weights within the gross limit."""
    if rules.by_weight == 0.0:
        return 1.0
    gross = 0.0
    for n in range(action.shape[0]):
        if valid[n] != 0:
            gross += abs(_clipped(action[n], rules))
    return 1.0 if gross <= rules.maximum_gross else rules.maximum_gross / gross


@compiled
def _clipped(weight: float, rules: Rules) -> float:
    least = -rules.maximum_weight if rules.margin != 0.0 else 0.0
    return min(max(weight, least), rules.maximum_weight)


@compiled
def by_order(action: int, account: Account, n: int, mark: float, rules: Rules) -> float:
    """Return one symbol's order: micro-shares to close, micro-USD to add, both signed."""
    # Factors of 0 and 1, not branches: what a policy does next cannot be predicted, by a processor
    # either, and a wrong guess costs as much as all of this.
    quantity = account.quantity[n]
    side = 1.0 * (action == BUY) - 1.0 * (action == SELL)
    against = 1.0 * (side * quantity < 0.0)
    old_enough = 1.0 * (account.held_bars[n] >= rules.minimum_holding_bars)
    may_open = 1.0 * ((side > 0.0) | (rules.margin != 0.0))
    room = rules.maximum_weight * account.equity - abs(quantity) * mark
    addition = max(0.0, np.floor(min(rules.buy_fraction * account.equity, room)))
    return (1.0 - against) * may_open * side * addition - against * old_enough * quantity


@compiled
def _to_weight(weight: float, account: Account, n: int, mark: float, rules: Rules) -> float:
    quantity = account.quantity[n]
    change = weight * account.equity - quantity * mark
    closes = weight * quantity < 0.0 or (weight == 0.0 and quantity != 0.0)
    if not closes and abs(change) < rules.minimum_order_micro:
        return 0.0
    if quantity * change < 0.0:
        if account.held_bars[n] < rules.minimum_holding_bars:
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


@compiled
def _drop_orders(
    account: Account, mark: np.ndarray, all_close: bool, rules: Rules, order: np.ndarray
) -> None:
    """Keep the first `maximum_orders`: those of the stops, reductions, additions."""
    left = rules.maximum_orders
    for kind in range(3):
        for n in range(order.shape[0]):
            if order[n] == 0.0:
                continue
            own = 2
            if order[n] * account.quantity[n] < 0.0:
                own = 0 if must_close(account, n, mark[n], all_close, rules) else 1
            if own == kind:
                # A stop always closes; it only leaves less for the others.
                if left <= 0.0 and kind > 0:
                    order[n] = 0.0
                left -= 1.0


@compiled
def _size_additions(account: Account, mark: np.ndarray, rules: Rules, order: np.ndarray) -> None:
    """Shrink the additions to what the account can carry, and turn them into micro-shares."""
    one_way = rules.half_spread + rules.commission
    gross, freed, wanted = 0.0, 0.0, 0.0
    for n in range(order.shape[0]):
        size = abs(order[n])
        reduced = size * (1.0 if order[n] * account.quantity[n] < 0.0 else 0.0)
        wanted += size - reduced
        freed += np.floor(reduced * mark[n])
        gross += np.floor((abs(account.quantity[n]) - reduced) * mark[n])
    if wanted == 0.0:
        return
    room = rules.maximum_gross * account.equity - gross
    if rules.margin == 0.0:
        room = min(room, (account.cash + freed * (1.0 - one_way)) / (1.0 + one_way))
    share = min(1.0, max(room, 0.0) / wanted)
    for n in range(order.shape[0]):
        size = addition_size(np.floor(abs(order[n]) * share), mark[n], rules)
        addition = size if order[n] > 0.0 else -size
        order[n] = order[n] if order[n] * account.quantity[n] < 0.0 else addition
