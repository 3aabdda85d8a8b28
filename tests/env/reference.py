"""The life of an account once more, in plain Python: the oracle of the compiled kernel.

Money and quantities are Python integers, in micro-units; prices are floats. Written from the
docstrings of `ploutos.portfolio` and `ploutos.env.kernel`, as a ledger would keep the books: there
is no limit to how large an integer gets here. `tests.env.episodes` adds episodes and observations.
"""

import math

MICRO = 10**6


def rounded(x):
    return math.floor(x + 0.5)


class Account:
    """One account at a close."""

    def __init__(self, n_symbols, cash):
        self.cash = self.equity = self.peak = int(cash)
        self.stopped = False
        self.moments = [0.0, 0.0]
        self.quantity = [0] * n_symbols
        self.entry_price = [0.0] * n_symbols
        self.held_bars = [0] * n_symbols
        self.last_action = [0.0] * n_symbols

    def value(self, n, price):
        return rounded(self.quantity[n] * price)


class Bar:
    """Row t+1 of a market, and what of row t is needed to settle it; lists over the symbols."""

    def __init__(self, market, row):
        self.open = market.open[row].tolist()
        self.mark_before = market.mark[row - 1].tolist()
        self.mark = market.mark[row].tolist()
        self.split = market.split_ratio[row].tolist()
        self.dividend = market.cash_dividend[row].tolist()
        known = market.volume[row - 1].tolist()
        self.volume = [volume * ratio for volume, ratio in zip(known, self.split, strict=True)]
        _, self.days, self.sec, self.taf, self.taf_maximum, self.benchmark = market.clock[
            row
        ].tolist()

    def has_open(self, n):
        return self.open[n] > 0  # NaN is not


class Report:
    """What one bar did to an account."""

    def __init__(self, n_symbols):
        self.fill = [0] * n_symbols
        self.fill_price = [math.nan] * n_symbols
        self.fee = [0] * n_symbols
        self.interest = self.dividend = self.traded = 0


# ---- at the close: orders


def orders(action, account, mark, valid, rules):
    """Return the signed order quantities, in micro-shares."""
    reductions, additions, forced = {}, {}, []
    closes_all = account.stopped or is_margin_call(account, mark, rules)
    weights = target_weights(action, valid, rules) if rules.by_weight else None
    for n, quantity in enumerate(account.quantity):
        if not valid[n]:
            continue
        if quantity and (closes_all or hits_stop(account, n, mark[n], rules)):
            forced.append(n)
            reductions[n] = -quantity
        elif weights is not None:
            found = order_to_weight(n, weights[n], account, mark[n], rules)
            merge(n, found, reductions, additions)
        else:
            found = order_by_action(n, action[n], account, mark[n], rules)
            merge(n, found, reductions, additions)
    if closes_all:
        reductions, additions = {n: reductions[n] for n in forced}, {}
    freely = [n for n in reductions if n not in forced]
    ranked = forced + freely + list(additions)
    for place, n in enumerate(ranked):
        if place >= rules.maximum_orders and n not in forced:
            reductions.pop(n, None)
            additions.pop(n, None)
    result = [0] * len(mark)
    for n, size in reductions.items():
        result[n] = size
    for n, size in sized(additions, reductions, account, mark, rules).items():
        result[n] = size
    return result


def is_margin_call(account, mark, rules):
    gross = sum(abs(account.value(n, mark[n])) for n in range(len(mark)))
    return bool(rules.margin) and account.equity < rules.maintenance * gross


def hits_stop(account, n, mark, rules):
    ratio = mark / account.entry_price[n]
    gain = ratio - 1.0 if account.quantity[n] > 0 else 1.0 - ratio
    return gain <= -rules.stop_loss or gain >= rules.take_profit


def target_weights(action, valid, rules):
    """Clip the weights to the limit of one symbol, then scale them to that of all together."""
    least = -rules.maximum_weight if rules.margin else 0.0
    clipped = [min(max(float(weight), least), rules.maximum_weight) for weight in action]
    gross = 0.0
    for n, weight in enumerate(clipped):
        gross += abs(weight) if valid[n] else 0.0
    if gross > rules.maximum_gross:
        return [weight * (rules.maximum_gross / gross) for weight in clipped]
    return clipped


def merge(n, found, reductions, additions):
    reduction, addition = found
    if reduction:
        reductions[n] = reduction
    if addition:
        additions[n] = addition


def order_to_weight(n, weight, account, mark, rules):
    """Return a signed reduction in micro-shares and a signed addition in micro-USD."""
    quantity = account.quantity[n]
    difference = weight * account.equity - quantity * mark
    to_nothing = quantity != 0 and weight * quantity <= 0
    if abs(difference) < rules.minimum_order_micro and not to_nothing:
        return 0, 0
    if quantity * difference < 0:
        if account.held_bars[n] < rules.minimum_holding_bars:
            return 0, 0
        size = abs(quantity)
        if not to_nothing:
            size = min(size, in_lots(abs(difference) / mark, rules))
        return (-size if quantity > 0 else size), 0
    value = math.floor(abs(difference))
    return 0, (value if difference > 0 else -value)


def order_by_action(n, action, account, mark, rules):
    """Return a signed reduction in micro-shares and a signed addition in micro-USD."""
    quantity, hold, buy = account.quantity[n], 0, 1
    if action == hold:
        return 0, 0
    side = 1 if action == buy else -1
    if quantity * side < 0:
        return (-quantity if account.held_bars[n] >= rules.minimum_holding_bars else 0), 0
    if side < 0 and not rules.margin:
        return 0, 0
    room = rules.maximum_weight * account.equity - abs(quantity) * mark
    return 0, side * max(0, math.floor(min(rules.buy_fraction * account.equity, room)))


def in_lots(micro_shares, rules):
    lot = int(rules.lot_micro)
    return math.floor(micro_shares) // lot * lot


def sized(additions, reductions, account, mark, rules):
    """Shrink additions (micro-USD) to what the account can carry; return micro-shares."""
    wanted = sum(abs(value) for value in additions.values())
    if not wanted:
        return {}
    gross = freed = 0
    for n, quantity in enumerate(account.quantity):
        given = abs(reductions.get(n, 0))
        freed += math.floor(given * mark[n])
        gross += math.floor((abs(quantity) - given) * mark[n])
    room = rules.maximum_gross * account.equity - gross
    if not rules.margin:
        one_way = rules.half_spread + rules.commission
        room = min(room, (account.cash + freed * (1.0 - one_way)) / (1.0 + one_way))
    share = min(1.0, max(room, 0.0) / wanted)
    result = {}
    for n, signed in additions.items():
        value = math.floor(abs(signed) * share)
        size = in_lots(value / mark[n], rules)
        sent = value if rules.lot_micro == 1 else min(value, size * mark[n])
        if sent >= rules.minimum_order_micro:
            result[n] = size if signed > 0 else -size
    return result


# ---- from one close to the next


def settle(account, order, bar, rules):
    """Carry the account through a bar, in place; return what happened."""
    report = Report(len(order))
    report.interest = interest(account, bar, rules)
    order = split_and_pay(account, order, bar, report)
    account.cash += report.interest + report.dividend
    fill(account, order, bar, rules, report)
    for n, quantity in enumerate(account.quantity):
        price = account.entry_price[n] / bar.split[n]
        filled = report.fill[n]
        if quantity == 0:
            price = 0.0
        elif filled * quantity > 0:
            price = (price * (quantity - filled) + report.fill_price[n] * filled) / quantity
        account.entry_price[n] = price
        account.held_bars[n] = account.held_bars[n] + 1 if quantity else 0
    account.equity = account.cash + sum(account.value(n, mark) for n, mark in enumerate(bar.mark))
    if account.equity <= (1.0 - rules.drawdown_stop) * account.peak:
        account.stopped = True
    account.peak = max(account.peak, account.equity)
    return report


def interest(account, bar, rules):
    short = 0
    if rules.margin:
        short = sum(max(-account.value(n, mark), 0) for n, mark in enumerate(bar.mark_before))
    earned = rules.cash_interest * max(account.cash - short, 0)
    paid = rules.loan_rate * max(-account.cash, 0) + rules.borrow_fee * short
    return rounded((earned - paid) * bar.days / 365)


def split_and_pay(account, order, bar, report):
    order = list(order)
    for n, ratio in enumerate(bar.split):
        if ratio != 1:
            account.quantity[n] = times(account.quantity[n], ratio)
            order[n] = times(order[n], ratio)
        report.dividend += account.value(n, bar.dividend[n])
    return order


def times(quantity, ratio):
    size = rounded(abs(quantity) * ratio)
    return size if quantity > 0 else -size


def fill(account, order, bar, rules, report):
    """Fill what the bar can fill: reductions, then additions, those shrunk by one factor."""
    reductions, additions = {}, {}
    for n, wanted in enumerate(order):
        if not wanted or not bar.has_open(n):
            continue
        size = fillable(abs(wanted), bar.volume[n], rules)
        if wanted * account.quantity[n] < 0:
            held = abs(account.quantity[n])
            reductions[n] = held if size >= held else in_lots(size, rules)
        elif in_lots(size, rules):
            additions[n] = in_lots(size, rules)
    for n, size in reductions.items():
        book(n, (size, size, order[n]), account, bar, rules, report)
    needed = 0
    for n, size in additions.items():
        value = rounded(size * price_of(size, order[n], n, bar, rules))
        # A position opened short is worth the open, more than the sale brought.
        needed += rounded(size * max(price_of(size, order[n], n, bar, rules), bar.open[n]))
        needed += fee(size, value, order[n], bar, rules)
    room = account.cash
    if rules.margin:
        room = gross_room(account, bar, rules)
    elif rules.maximum_gross < 1:
        room = min(room, gross_room(account, bar, rules))
    share = 1.0 if needed <= max(room, 0) else max(room, 0) / needed
    for n, sent in additions.items():
        size = in_lots(sent * share, rules)
        if not rules.margin:
            # Shrinking an order does not make its price better.
            size = affordable(size, price_of(sent, order[n], n, bar, rules), account.cash, rules)
        book(n, (size, sent, order[n]), account, bar, rules, report)


def fillable(size, volume, rules):
    if math.isinf(rules.maximum_participation):
        return size
    return min(size, math.floor(rules.maximum_participation * volume * MICRO))


def price_of(sent, order, n, bar, rules):
    slippage = rules.half_spread
    if bar.volume[n] > 0:
        slippage += rules.impact * math.sqrt(sent / (bar.volume[n] * MICRO))
    slippage = min(slippage, 0.5)
    return bar.open[n] * (1.0 + slippage if order > 0 else 1.0 - slippage)


def commission(size, value, rules):
    fee = (
        value * rules.commission
        + size * rules.commission_per_share
        + rules.commission_per_order_micro
    )
    return max(rounded(fee), int(rules.minimum_commission_micro))


def fee(size, value, order, bar, rules):
    result = commission(size, value, rules)
    if order < 0 and rules.us_sell_fees:
        activity = min(size * bar.taf, bar.taf_maximum * MICRO)
        result += rounded(value * bar.sec) + rounded(activity)
    return min(result, value) if order < 0 and not rules.margin else result


def affordable(size, price, cash, rules):
    """Return `size`, or what the cash covers with a margin for two roundings."""
    value = rounded(size * price)
    if value + commission(size, value, rules) <= cash:
        return size
    dear = price * (1.0 + rules.commission) + rules.commission_per_share
    most = min(
        (cash - rules.commission_per_order_micro) / dear,
        (cash - rules.minimum_commission_micro) / price,
    )
    return max(0, in_lots(math.floor(most) - math.ceil(2 / price), rules))


def gross_room(account, bar, rules):
    """Return what may be added to the positions, at opens or else at the last close."""
    equity, gross = account.cash, 0
    for n in range(len(bar.open)):
        value = account.value(n, bar.open[n] if bar.has_open(n) else bar.mark_before[n])
        equity += value
        gross += abs(value)
    return rules.maximum_gross * equity - gross


def book(n, sizes, account, bar, rules, report):
    size, sent, order = sizes
    if size <= 0:
        return
    price = price_of(sent, order, n, bar, rules)
    value = rounded(size * price)
    paid = fee(size, value, order, bar, rules)
    side = 1 if order > 0 else -1
    report.fill[n], report.fill_price[n], report.fee[n] = side * size, price, paid
    report.traded += value
    account.quantity[n] += side * size
    account.cash -= side * value + paid
