"""Rewards, episodes and observations in plain Python, around the accounts of `reference`."""

import math

import numpy as np

from tests.env import reference

WORD = 2**64


class Environment:
    """One environment seeded `seed`, as `ploutos.env.kernel` describes it."""

    def __init__(self, market, scaler, config, rules, rows, seed):
        self.market, self.scaler, self.config, self.rules = market, scaler, config, rules
        self.first, self.stop = rows.start, rows.stop - 1
        self.cash = round(config.portfolio.initial_cash_usd * reference.MICRO)
        self.ruin = int(self.cash * config.ruin_fraction)
        self.random, self.fresh = seed % WORD, True
        self.seen = {}

    def draw(self, bound):
        """Return the next of SplitMix64, modulo `bound`."""
        self.random = (self.random + 0x9E3779B97F4A7C15) % WORD
        z = self.random
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
        return ((z ^ (z >> 31)) >> 1) % bound

    def reset(self):
        self.account = reference.Account(self.market.mark.shape[1], self.cash)
        bars = self.config.episode_bars
        if bars is None:
            self.row, self.end = self.first, self.stop
        else:
            # Every window that holds at least one decision row, cut at the rows' ends.
            window = self.first - bars + 1 + self.draw(self.stop - self.first + bars - 1)
            self.row, self.end = max(window, self.first), min(window + bars, self.stop)
            if self.fresh:
                self.row += self.draw(self.end - self.row)
            self.fresh = False
        return self.observe()

    def decide(self, action):
        """Return the orders of an action, and remember how it is shown."""
        mark, valid = self.market.mark[self.row].tolist(), self.market.valid[self.row].tolist()
        order = reference.orders(action, self.account, mark, valid, self.rules)
        shown = {0: 0.0, 1: 1.0, 2: -1.0}
        self.account.last_action = [
            float(one) if self.rules.by_weight else shown[one] for one in action
        ]
        return order

    def step(self, action):
        account, before = self.account, self.account.equity
        drawdown = 1.0 - account.equity / account.peak
        self.order = self.decide(action)
        self.row += 1
        bar = reference.Bar(self.market, self.row)
        self.report = reference.settle(account, self.order, bar, self.rules)
        self.settled = account
        self.equity = account.equity
        deeper = max(1.0 - account.equity / account.peak - drawdown, 0.0)
        facts = (before, account.equity, self.report.traded, bar.benchmark, deeper)
        self.reward = reward(facts, account.moments, self.config.reward)
        self.terminated = account.equity <= self.ruin
        self.truncated = self.row >= self.end and not self.terminated
        self.final = None
        if self.terminated or self.truncated:
            self.final = self.observe()
            return self.reset()
        return self.observe()

    def observe(self):
        if self.config.by_reference:
            market = [np.float32(self.row)]
        else:
            rows = range(self.row - self.config.window_bars + 1, self.row + 1)
            market = np.concatenate([self.market_values(t) for t in rows])
        account = account_values(self.account, self.market.mark[self.row].tolist())
        return np.concatenate([market, np.array(account, np.float32)])

    def market_values(self, row):
        if row not in self.seen:
            self.seen[row] = market_values(self.market, self.scaler, row)
        return self.seen[row]


def reward(facts, moments, weights):
    before, after, traded, benchmark, deeper = facts
    growth = math.log(max(after, 1) / before)
    total = weights.log_return * growth + weights.benchmark_return * (growth - benchmark)
    if weights.differential_sharpe:
        sharpe = differential_sharpe(after / before - 1.0, moments, weights.sharpe_decay)
        total += weights.differential_sharpe * sharpe
    total -= weights.drawdown * deeper
    total -= weights.turnover * traded / before
    return weights.scale * total


def differential_sharpe(change, moments, eta):
    """Return Moody & Saffell's D; `moments` [A, B] move on."""
    a, b = moments
    da, db = change - a, change * change - b
    moments[0], moments[1] = a + eta * da, b + eta * db
    variance = b - a * a
    return 0.0 if variance <= 1e-14 else (b * da - 0.5 * a * db) / variance**1.5


def market_values(market, scaler, row):
    """Return features, macro, validity of symbols and of macro; zeros before the first row."""
    n_symbols, n_macro = market.mark.shape[1], market.macro.shape[1]
    if row < 0:
        return np.zeros(market.features[0].size + n_symbols + 2 * n_macro, np.float32)
    features = scaled(market.features[row], scaler.center, scaler.scale, scaler.clip[0])
    macro = scaled(market.macro[row], scaler.macro_center, scaler.macro_scale, scaler.clip[0])
    flags = [*market.valid[row], *market.macro_valid[row]]
    return np.concatenate([features.ravel(), macro, np.array(flags, np.float32)])


def scaled(values, center, scale, clip):
    one = np.float32(1)
    return np.nan_to_num(np.clip((values - center) * (one / scale), -clip, clip), nan=0.0)


def account_values(account, mark):
    def within(value, low, high):
        return min(max(value, low), high)

    inverse = 1.0 / max(account.equity, 1)
    held = [n for n, quantity in enumerate(account.quantity) if quantity]
    weights = [
        quantity * price * inverse for quantity, price in zip(account.quantity, mark, strict=True)
    ]
    returns = [0.0] * len(mark)
    for n in held:
        change = mark[n] / account.entry_price[n] - 1.0
        returns[n] = within(change if account.quantity[n] > 0 else -change, -1.0, 1.0)
    gross = 0.0
    for weight in weights:
        gross += abs(weight)
    return [
        within(account.cash * inverse, -2.0, 2.0),
        within(1.0 - account.equity / account.peak, 0.0, 1.0),
        min(gross, 2.0),
        float(account.stopped),
        *(within(weight, -2.0, 2.0) for weight in weights),
        *returns,
        *(age / (age + 20.0) for age in account.held_bars),
        *(within(action, -1.0, 1.0) for action in account.last_action),
    ]
