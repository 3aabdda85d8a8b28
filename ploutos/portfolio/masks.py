"""Which actions can do anything. In: the account at a close. Out: booleans for MaskablePPO."""

import numpy as np

from ploutos.compiled import compiled
from ploutos.portfolio.accounting import value_micro
from ploutos.portfolio.config import Rules
from ploutos.portfolio.orders import (
    BUY,
    HOLD,
    SELL,
    Account,
    addition_size,
    by_order,
    closes_all,
    reaches_stop,
)


@compiled
def write_action_mask(
    account: Account, mark: np.ndarray, valid: np.ndarray, rules: Rules, mask: np.ndarray
) -> None:
    """Write which of hold, buy and sell can do anything, symbol by symbol.

    An action is masked out if it sends no order whatever the other symbols' actions are: the
    symbol is not valid, a limit leaves no room even if all else is sold, the holding is too young,
    or a stop closes the position anyway. Holding is always possible. It takes time in
    the square of the number of symbols only where `maximum_orders` binds.

    Parameters
    ----------
    account : Account
        One lane.
    mark, valid : (N,)
        Close, USD per share; not 0 where the symbol can be traded.
    rules : Rules
        Sizes, limits, costs.
    mask : (N, 3) bool
        Written.
    """
    n_symbols, gross, at_mark = mark.shape[0], 0.0, 0.0
    stopped_value, stops, closable = 0.0, 0.0, 0.0
    for n in range(n_symbols):
        value = _value(account, mark, n)
        gross += value
        at_mark += abs(value_micro(account.quantity[n, 0], mark[n]))
        if valid[n] != 0 and _stops(account, mark, n, rules):
            stopped_value += value
            stops += 1.0
        elif _can_close(account, n, valid[n], rules):
            closable += value
    all_close = closes_all((account.stopped[0], account.equity[0]), at_mark, rules)
    left = rules.maximum_orders - stops
    for n in range(n_symbols):
        mask[n, HOLD], mask[n, BUY], mask[n, SELL] = True, False, False
        if valid[n] == 0 or left <= 0.0 or all_close or _stops(account, mark, n, rules):
            continue
        freed = stopped_value + _closable_beside(account, mark, valid, (n, closable, left), rules)
        held = (account.quantity[n, 0], account.held_bars[n, 0])
        for action in (BUY, SELL):
            wish = by_order(action, held, account.equity[0], mark[n], rules)
            closes = wish * held[0] < 0.0
            mask[n, action] = closes or _fits(account, abs(wish), (gross, freed), mark[n], rules)


@compiled
def _value(account: Account, mark: np.ndarray, n: int) -> float:
    return np.floor(abs(account.quantity[n, 0]) * mark[n])


@compiled
def _stops(account: Account, mark: np.ndarray, n: int, rules: Rules) -> bool:
    return reaches_stop(account.quantity[n, 0], account.entry_price[n, 0], mark[n], rules)


@compiled
def _can_close(account: Account, n: int, valid: int, rules: Rules) -> bool:
    held = account.quantity[n, 0] != 0.0 and valid != 0
    return held and account.held_bars[n, 0] >= rules.minimum_holding_bars


@compiled
def _closable_beside(
    account: Account,
    mark: np.ndarray,
    valid: np.ndarray,
    others: tuple[int, float, float],
    rules: Rules,
) -> float:
    """Return the value that closing other positions than `own` can free, micro-USD.

    Parameters
    ----------
    account, mark, valid, rules
        As in `write_action_mask`.
    others : (int, float, float)
        The symbol itself; the value of all that can be closed; how many orders are left, one of
        which is the symbol's own.
    """
    own, closable, left = others
    if left > mark.shape[0]:
        if _can_close(account, own, valid[own], rules):
            return closable - _value(account, mark, own)
        return closable
    # The largest `left - 1` of them: pass after pass the largest below the one before.
    total, below, below_at = 0.0, np.inf, -1
    for _ in range(int(left) - 1):
        best, best_at = 0.0, -1
        for n in range(mark.shape[0]):
            if n != own and _can_close(account, n, valid[n], rules):
                value = _value(account, mark, n)
                later = value < below or (value == below and n > below_at)
                if later and value > best and not _stops(account, mark, n, rules):
                    best, best_at = value, n
        total, below, below_at = total + best, best, best_at
        if best_at < 0:
            break
    return total


@compiled
def _fits(
    account: Account, wish: float, values: tuple[float, float], mark: float, rules: Rules
) -> bool:
    """Tell whether an addition of `wish` micro-USD would be sent if `freed` were closed."""
    gross, freed = values
    room = rules.maximum_gross * account.equity[0] - (gross - freed)
    if rules.margin == 0.0:
        one_way = rules.half_spread + rules.commission
        room = min(room, (account.cash[0] + freed * (1.0 - one_way)) / (1.0 + one_way))
    return addition_size(max(np.floor(min(wish, room)), 0.0), mark, rules) > 0.0
