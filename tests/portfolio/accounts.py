"""Short ways to state an account, its orders and a bar, in US dollars and shares."""

import numpy as np

from ploutos.portfolio import Account, fill_orders, plan_orders, rules_of
from ploutos.portfolio.costs import SellFees
from ploutos.portfolio.fills import Bar, new_trades

MICRO = 10**6
NO_FEES = SellFees(0.0, 0.0, 0.0)


def read_only(values, dtype=np.float64):
    array = np.array(values, dtype)
    array.flags.writeable = False  # as the market's rows are
    return array


def account_of(cash_usd, shares, mark, *, entry=None, held=None, peak_usd=None, stopped=False):
    shares, mark = np.array(shares, np.float64), np.array(mark, np.float64)
    equity = round(cash_usd * MICRO) + np.floor(shares * MICRO * mark + 0.5).sum()
    peak = equity if peak_usd is None else peak_usd * MICRO
    return Account(
        cash=float(round(cash_usd * MICRO)),
        equity=float(equity),
        peak=float(peak),
        stopped=float(stopped),
        quantity=np.round(shares * MICRO),
        entry_price=np.array(mark if entry is None else entry, np.float64),
        held_bars=np.array([100] * len(mark) if held is None else held, np.float64),
    )


def planned(action, account, mark, config, valid=None):
    """Return what an action orders, in shares."""
    order, rules = np.zeros(len(mark)), rules_of(config)
    action = np.array(action, np.float64 if rules.by_weight else np.int64)
    valid = read_only([1] * len(mark) if valid is None else valid, np.uint8)
    plan_orders(action, account, read_only(mark), valid, rules, order)
    return (order / MICRO).tolist()


def bar_of(opens, *, volume=None, split=None, fees=NO_FEES, last_mark=None):
    n = len(opens)
    known = {
        "open": read_only(opens),
        "known_volume": read_only(volume or [1e12] * n),
        "split_ratio": read_only(split or [1.0] * n),
        "last_mark": read_only(last_mark or [1.0] * n),
        "fees": fees,
    }
    return Bar(**{name: known[name] for name in Bar._fields})


def filled(orders, opens, config, *, cash_usd, shares, **bar):
    """Return cash in micro-USD, shares held, and the trades."""
    trades, quantity = new_trades(len(orders)), np.round(np.array(shares, np.float64) * MICRO)
    trades.order[:] = np.round(np.array(orders, np.float64) * MICRO)
    cash = fill_orders(
        bar_of(opens, **bar),
        float(round(cash_usd * MICRO)),
        quantity,
        rules_of(config),
        trades,
    )
    return cash, (quantity / MICRO).tolist(), trades
