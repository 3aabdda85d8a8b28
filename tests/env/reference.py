"""The transition once more, in plain Python over lists: the oracle of the compiled kernel.

Written from the equations in the docstrings of `ploutos.env.account` and `ploutos.portfolio`.
"""

import math


def rounded(x):
    return math.floor(x + 0.5)


def equity(cash, held, mark):
    return cash + sum(rounded(q * m) for q, m in zip(held, mark, strict=True) if q)


def commission(value, rules):
    return max(rounded(value * rules.commission), rules.minimum_commission_micro)


def orders(action, cash, held, mark, valid, rules):
    total = equity(cash, held, mark)
    one_way = rules.half_spread + rules.commission
    budget, wanted = float(cash), 0.0
    result = [0] * len(action)
    wishes = {}
    for n, what in enumerate(action):
        if not valid[n]:
            continue
        if what == 2 and held[n] > 0:
            result[n] = -held[n]
            budget += held[n] * mark[n] * (1.0 - one_way)
        if what == 1:
            room = rules.maximum_weight * total - held[n] * mark[n]
            wishes[n] = max(0.0, min(rules.buy_fraction * total, room))
            wanted += wishes[n] * (1.0 + one_way)
    share = 1.0 if wanted <= budget else max(budget, 0.0) / wanted
    for n, wish in wishes.items():
        if wish * share >= rules.minimum_order_micro:
            result[n] = math.floor(wish * share / mark[n])
    return result


def bar(order, cash, held, market, rules):
    """Return cash, holdings, fills, prices, fees after one bar's actions and open."""
    n_symbols = len(order)
    order, held = list(order), list(held)
    for n in range(n_symbols):
        if market["split"][n] != 1.0:
            held[n] = rounded(held[n] * market["split"][n])
            order[n] = int(math.copysign(rounded(abs(order[n]) * market["split"][n]), order[n]))
    cash += sum(rounded(held[n] * market["dividend"][n]) for n in range(n_symbols) if held[n])
    fills, prices, fees = [0] * n_symbols, [math.nan] * n_symbols, [0] * n_symbols
    tradable = [n for n in range(n_symbols) if order[n] and market["open"][n] > 0]
    for n in tradable:
        if order[n] < 0:
            prices[n] = market["open"][n] * (1.0 - rules.half_spread)
            value = rounded(-order[n] * prices[n])
            fills[n], fees[n] = order[n], min(commission(value, rules), value)
            cash += value - fees[n]
    need = 0
    for n in tradable:
        if order[n] > 0:
            value = rounded(order[n] * market["open"][n] * (1.0 + rules.half_spread))
            need += value + commission(value, rules)
    share = 1.0 if need <= cash else cash / need
    for n in tradable:
        if order[n] <= 0:
            continue
        price = market["open"][n] * (1.0 + rules.half_spread)
        quantity = order[n] if share == 1.0 else math.floor(order[n] * share)
        value = rounded(quantity * price)
        if value + commission(value, rules) > cash:
            spendable = min(
                cash / (1.0 + rules.commission), float(cash - rules.minimum_commission_micro)
            )
            quantity = math.floor(spendable / price) - math.ceil(2.0 / price)
        if quantity > 0:
            value = rounded(quantity * price)
            fills[n], prices[n], fees[n] = quantity, price, commission(value, rules)
            cash -= value + fees[n]
    return cash, [h + f for h, f in zip(held, fills, strict=True)], fills, prices, fees
