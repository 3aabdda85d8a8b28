"""A market of one symbol with a planted signal whose best policy is known, and how to be scored.

A policy's score is its log growth on rows that it was not trained on, after costs, as a fraction of
what the optimal rule (in while the state is up, else out) earns on the same rows through the same
environment. Rows are walked in stretches, side by side, each from an account in cash.
"""

from datetime import UTC, date, datetime
from functools import cache

import numpy as np
from stable_baselines3.common.monitor import Monitor

from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env import TradingEnv
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.env.scaler import fit_scaler
from ploutos.features import FeatureConfig
from ploutos.folds import Rows
from ploutos.market.config import PlantedSignal, SyntheticSource
from ploutos.market.data import FetchTerms
from ploutos.market.synthetic import fetch_synthetic
from ploutos.panel.build import align
from ploutos.portfolio.config import CostConfig, OrderActions, PortfolioConfig

COST_BPS = 5.0
STRETCH_BARS = 250


def source(drift_per_bar=0.005, n_bars=13_500, seed=7):
    signal = PlantedSignal(drift_per_bar=drift_per_bar) if drift_per_bar else None
    return SyntheticSource(
        seed=seed, symbols=("SYN1",), n_bars=n_bars, first_on=date(1971, 1, 4), signal=signal
    )


def env_config(**changes):
    """All in or all out, at a cost that is the same fraction of every trade."""
    costs = CostConfig(
        commission_bps=COST_BPS,
        half_spread_bps=0.0,
        impact_bps=0.0,
        maximum_participation=None,
        us_sell_fees=False,
    )
    portfolio = PortfolioConfig(
        actions=OrderActions(buy_fraction=1.0), maximum_weight=1.0, costs=costs
    )
    return EnvConfig(**({"portfolio": portfolio, "episode_bars": 126} | changes))


class Planted:
    """The market, rows to train on, and rows to be scored on."""

    def __init__(self, drift_per_bar=0.005, n_bars=13_500, train_bars=8000, seed=7, **config):
        self.source = source(drift_per_bar, n_bars, seed)
        data = fetch_synthetic(self.source, FetchTerms("XNYS", datetime(2026, 1, 1, tzinfo=UTC)))
        self.panel = align(data, FeatureConfig())
        self.market = market_of(self.panel)
        self.config = env_config(**config)
        first = self.panel.meta.first_row
        self.rows = Rows(start=first, stop=first + train_bars)
        self.scaler = fit_scaler(self.panel, self.rows, self.config.clip)
        n_stretches = (self.panel.n_rows - 1 - self.rows.stop) // STRETCH_BARS
        self._starts = self.rows.stop + STRETCH_BARS * np.arange(n_stretches)

    def batch(self, n_envs, n_threads=1, by_reference=False):
        config = self.config.model_copy(update={"by_reference": by_reference})
        return Batch(self.market, self.scaler, config, self.rows, n_envs, n_threads)

    def vec_env(self, n_envs, n_threads=1):
        return TradingVecEnv(self.batch(n_envs, n_threads))

    def growth(self, decide):
        """Return the log growth per bar of `decide(observations, rows) -> (E,) orders`."""
        config = self.config.model_copy(update={"episode_bars": None})
        rows = Rows(start=self.rows.stop, stop=self.panel.n_rows)
        batch = Batch(self.market, self.scaler, config, rows, len(self._starts))
        batch.seed(0)
        batch.reset()
        batch.episodes.row[:] = self._starts
        observation = batch.observe()
        began = batch.accounts.equity.copy()
        for bar in range(STRETCH_BARS):
            orders = np.asarray(decide(observation, self._starts + bar))
            observation = batch.step(orders.reshape(-1, 1)).observation
        return float(np.log(batch.accounts.equity / began).mean() / STRETCH_BARS)

    @cache  # noqa: B019 - a handful of markets live as long as the tests
    def optimum(self):
        """Return the growth of the optimal rule: the state is what the finished bar gives away."""
        high, low = self.panel.prices[:, 0, 1], self.panel.prices[:, 0, 2]
        body = np.maximum(self.panel.prices[:, 0, 0], self.panel.prices[:, 0, 3])
        up = np.isclose(high, body, rtol=1e-9) & (low > 0)
        return self.growth(lambda _observation, rows: np.where(up[rows], 1, 2))

    def score(self, model):
        """Return a model's growth, acting deterministically, as a fraction of the optimum."""
        return (
            self.growth(
                lambda observation, _rows: model.predict(observation, deterministic=True)[0]
            )
            / self.optimum()
        )


def acting(model):
    """Return how a model decides, likeliest actions; an LSTM's states are carried along."""
    states, starts = None, None

    def decide(observation, _rows):
        nonlocal states, starts
        starts = np.full(len(observation), states is None)
        actions, states = model.predict(observation, states, starts, deterministic=True)
        return actions

    return decide


@cache
def planted(drift_per_bar=0.005):
    return Planted(drift_per_bar)


class ScalarEnv:
    """Makes SB3's peers: our scalar environment over the same rows, with SB3's Monitor."""

    def __init__(self, scene):
        self._arguments = scene.panel, scene.config, scene.rows, scene.scaler

    def __call__(self):
        return Monitor(TradingEnv(*self._arguments))
