"""Short ways to state an account, its orders and a bar, in US dollars and shares."""

import numpy as np

from ploutos.portfolio import Account, fill_orders, plan_orders, rules_of
from ploutos.portfolio.costs import SellFees
from ploutos.portfolio.fills import Bar, Trades, new_trades
from ploutos.portfolio.orders import N_SUMS

MICRO = 10**6
NO_FEES = SellFees(0.0, 0.0, 0.0)


def lane(values, dtype=np.float64):
    """Return one account's numbers as a lane: (N, 1), or (1,) if there is only one."""
    array = np.array(values, dtype)
    return array[:, None] if array.ndim else array[None]


def account_of(cash_usd, shares, mark, *, entry=None, held=None, peak_usd=None, stopped=False):
    shares, mark = np.array(shares, np.float64), np.array(mark, np.float64)
    equity = round(cash_usd * MICRO) + np.floor(shares * MICRO * mark + 0.5).sum()
    peak = equity if peak_usd is None else peak_usd * MICRO
    return Account(
        cash=lane(round(cash_usd * MICRO)),
        equity=lane(equity),
        peak=lane(peak),
        stopped=lane(stopped),
        quantity=lane(np.round(shares * MICRO)),
        entry_price=lane(mark if entry is None else entry),
        held_bars=lane([100] * len(mark) if held is None else held),
    )


def planned(action, account, mark, config, valid=None):
    """Return what an action orders, in shares."""
    order, sums = lane(np.zeros(len(mark))), np.zeros((N_SUMS, 1))
    valid = lane([1] * len(mark) if valid is None else valid)
    plan_orders(lane(action), account, (lane(mark), valid), rules_of(config), (order, sums))
    return (order[:, 0] / MICRO).tolist()


def bar_of(opens, *, volume=None, split=None, fees=NO_FEES, last_mark=None):
    n = len(opens)
    return Bar(
        open=lane(opens),
        last_mark=lane(last_mark or [1.0] * n),
        known_volume=lane(volume or [1e12] * n),
        split_ratio=lane(split or [1.0] * n),
        sec=lane(fees.sec),
        taf=lane(fees.taf),
        taf_maximum_usd=lane(fees.taf_maximum_usd),
    )


def filled(orders, opens, config, *, cash_usd, shares, **bar):
    """Return cash in micro-USD, shares held, and the trades."""
    trades, quantity = new_trades(len(orders)), lane(np.round(np.array(shares, float) * MICRO))
    trades.order[:] = np.round(np.array(orders, np.float64) * MICRO)
    cash = lane(round(cash_usd * MICRO))
    as_lane = Trades(*(array[:, None] for array in trades))  # views
    fill_orders(bar_of(opens, **bar), cash, quantity, rules_of(config), as_lane)
    return float(cash[0]), (quantity[:, 0] / MICRO).tolist(), trades
