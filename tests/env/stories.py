"""Hypothesis strategies: an account's rules, a market and what is done; and their walk."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from ploutos.env.account import decide, settle
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.folds import Rows
from ploutos.portfolio.config import (
    CostConfig,
    MarginConfig,
    OrderActions,
    PortfolioConfig,
    WeightActions,
)
from tests.env.configs import random_actions
from tests.env.markets import plain_scaler, rough_market

BARS = 12

costs = st.builds(
    CostConfig,
    commission_bps=st.sampled_from([0, 1, 100]),
    commission_per_share_usd=st.sampled_from([0, 0.005, 1]),
    commission_per_order_usd=st.sampled_from([0, 1, 40]),
    minimum_commission_usd=st.sampled_from([0, 0.35, 25]),
    half_spread_bps=st.sampled_from([0, 2, 300]),
    impact_bps=st.sampled_from([0, 100, 5000]),
    maximum_participation=st.sampled_from([None, 0.01, 0.1, 1.0]),
    us_sell_fees=st.booleans(),
)
margins = st.builds(
    MarginConfig,
    borrow_fee=st.sampled_from([0, 0.01, 5]),
    loan_rate=st.sampled_from([0, 0.06, 5]),
    maintenance=st.sampled_from([0.05, 0.3, 0.9]),
)
order_actions = st.builds(OrderActions, buy_fraction=st.sampled_from([0.05, 0.25, 1.0]))


both_actions = st.one_of(order_actions, st.just(WeightActions()))


def portfolios(*, kinds=both_actions, with_margin=None):
    """Every rule on or off; `with_margin` None leaves margin to chance as well."""
    margin = st.one_of(st.none(), margins)
    if with_margin is not None:
        margin = margins if with_margin else st.none()
    return margin.flatmap(
        lambda chosen: st.builds(
            PortfolioConfig,
            initial_cash_usd=st.sampled_from([1e3, 1e5]),
            actions=kinds,
            maximum_weight=st.sampled_from([0.1, 0.5, 1.0]),
            maximum_gross=st.sampled_from([0.5, 1.0] if chosen is None else [0.5, 1.0, 2.0]),
            minimum_order_usd=st.sampled_from([0, 50]),
            lot_shares=st.sampled_from([None, 1, 7]),
            cash_interest=st.sampled_from([0, 0.05]),
            minimum_holding_bars=st.sampled_from([0, 2]),
            maximum_orders=st.sampled_from([None, 1, 2]),
            stop_loss=st.sampled_from([None, 0.05]),
            take_profit=st.sampled_from([None, 0.05]),
            drawdown_stop=st.sampled_from([None, 0.1]),
            margin=st.just(chosen),
            costs=costs,
        )
    )


@st.composite
def stories(draw, **rules):
    """Draw a config, and a market and actions that a seed makes: that is much faster."""
    config = draw(portfolios(**rules))
    symbols, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    market = rough_market(rng, bars=BARS, symbols=symbols, features=1, macro=0)
    by_weight = isinstance(config.actions, WeightActions)
    return config, market, random_actions(rng, (BARS - 1, symbols), by_weight)


class Step(NamedTuple):
    """One bar of a walk: the account at row t, what was ordered, and the account at t + 1."""

    row: int
    before: object
    order: np.ndarray
    trades: object
    after: object
    observation: np.ndarray


class Walk:
    """An account that walks through a market without episodes: no reset hides what happened."""

    def __init__(self, config, market, first=0):
        rows = Rows(start=first, stop=market.mark.shape[0])
        env = EnvConfig(portfolio=config, episode_bars=None, ruin_fraction=0)
        if not market.volume[first:].any():
            market = market._replace(volume=np.full_like(market.volume, 1.0))
            market.volume.flags.writeable = False
        self.market = market
        self.batch = Batch(market, plain_scaler(market), env, rows, 1)
        self.batch.seed(0)
        self.batch.reset()
        self.rules = self.batch.setup.rules

    @property
    def row(self):
        return int(self.batch.episodes.row[0])

    @property
    def account(self):
        return snapshot(self.batch.accounts)

    def orders(self, action):
        """Return what an action would order, without doing it."""
        accounts = copied(self.batch.accounts)
        trades = copied(self.batch.trades)
        decide(self.market, accounts, (0, self.row), np.array(action), self.rules, trades)
        return trades.order

    def step(self, action):
        batch, row, before = self.batch, self.row, self.account
        decide(self.market, batch.accounts, (0, row), action, self.rules, batch.trades)
        order = batch.trades.order.copy()
        settle(self.market, batch.accounts, (0, row + 1), self.rules, batch.trades)
        batch.episodes.row[0] = row + 1
        observation = batch.observe()[0].copy()
        return Step(row, before, order, copied(batch.trades), self.account, observation)


def walk(config, market, actions):
    """Yield the steps of a walk until the rows end or nothing is left."""
    walker = Walk(config, market)
    for action in actions:
        step = walker.step(action)
        yield walker, step
        if step.after.equity <= 0:
            return


def snapshot(accounts):
    """Return account 0: numbers and copies."""
    values = (array[0] for array in accounts)
    return type(accounts)(
        *(float(value) if np.ndim(value) == 0 else value.copy() for value in values)
    )


def copied(arrays_):
    return type(arrays_)(*(array.copy() for array in arrays_))
