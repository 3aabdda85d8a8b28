"""What an action means in shares. In: an action and the account at a close. Out: signed orders.

Quantities are fixed here, at the decision, from the close; the fill comes at the next open.
"""

import math

import numpy as np

from ploutos.compiled import compiled
from ploutos.portfolio.accounting import equity_micro
from ploutos.portfolio.config import Rules

HOLD, BUY, SELL = 0, 1, 2


@compiled
def plan_orders(
    action: np.ndarray,
    account: tuple[int, np.ndarray],
    mark: np.ndarray,
    valid: np.ndarray,
    rules: Rules,
    order_micro: np.ndarray,
) -> None:
    """Write the signed order quantities of one decision.

    SELL gives up the whole position. BUY adds `buy_fraction` of equity, cut at `maximum_weight`.
    If the buys cost more than the cash plus what the sells should bring, all buys shrink pro rata.
    A buy below the minimum order value is dropped. A symbol that is not valid is not traded.

    Parameters
    ----------
    action : (N,) int64
        0 hold, 1 buy, 2 sell.
    account : (int, (N,) int64)
        Cash in micro-USD, holdings in micro-shares.
    mark : (N,) float64
        Close of the decision bar (or the last one known), USD per share.
    valid : (N,) uint8
        1 where the symbol has a bar and all its warm-up behind it.
    rules : Rules
        Sizes, limits, costs.
    order_micro : (N,) int64
        Written: signed quantity, micro-shares.
    """
    cash_micro, quantity_micro = account
    equity = equity_micro(cash_micro, quantity_micro, mark)
    one_way = rules.half_spread + rules.commission
    budget = float(cash_micro)
    wanted = 0.0
    for n in range(action.shape[0]):
        order_micro[n] = 0
        if valid[n] == 0:
            continue
        if action[n] == SELL and quantity_micro[n] > 0:
            order_micro[n] = -quantity_micro[n]
            budget += quantity_micro[n] * mark[n] * (1.0 - one_way)
        elif action[n] == BUY:
            wanted += _buy_value(equity, quantity_micro[n], mark[n], rules) * (1.0 + one_way)
    share = 1.0 if wanted <= budget else max(budget, 0.0) / wanted
    for n in range(action.shape[0]):
        if valid[n] == 0 or action[n] != BUY:
            continue
        value = _buy_value(equity, quantity_micro[n], mark[n], rules) * share
        if value >= rules.minimum_order_micro:
            order_micro[n] = math.floor(value / mark[n])


@compiled
def _buy_value(equity: int, quantity: int, mark: float, rules: Rules) -> float:
    """Return the value that a buy adds, in micro-USD, never negative."""
    room = rules.maximum_weight * equity - quantity * mark
    return max(0.0, min(rules.buy_fraction * equity, room))
