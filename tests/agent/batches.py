"""Small batches of environments over random markets with gaps."""

from dataclasses import replace

import numpy as np

from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.env.scaler import fit_scaler
from ploutos.folds import Rows
from ploutos.portfolio.config import PortfolioConfig, WeightActions
from tests.panels import random_panel

ROWS = Rows(start=5, stop=57)
WEIGHTS = PortfolioConfig(actions=WeightActions())


def panel_with_gaps(seed=3, **sizes):
    """Return 60 bars, 2 symbols, 3 features, 2 series; values are missing here and there."""
    panel = random_panel(seed, **({"bars": 60, "first_row": 5} | sizes))
    rng = np.random.default_rng(seed)
    values, series, valid = panel.features.copy(), panel.macro.copy(), panel.valid.copy()
    values[rng.random(values.shape) < 0.05] = np.nan
    series[rng.random(series.shape) < 0.1] = np.nan
    valid[rng.random(valid.shape) < 0.05] = 0
    known = np.isfinite(series).astype(np.uint8)
    return replace(panel, features=values, macro=series, valid=valid, macro_valid=known)


def scaler_of(panel):
    """Fit a scaler on all rows."""
    return fit_scaler(panel, Rows(start=5, stop=panel.n_rows), 2.5)


def batch_of(n_envs, panel=None, n_threads=1, **config):
    """Return a batch over a panel with gaps; the keywords are those of `EnvConfig`."""
    panel = panel or panel_with_gaps()
    config = EnvConfig(**({"episode_bars": 6, "clip": 2.5} | config))
    return Batch(market_of(panel), scaler_of(panel), config, ROWS, n_envs, n_threads)


def random_actions(rng, batch):
    """Return valid actions for every environment."""
    shape = (batch.n_envs, batch.n_symbols)
    return rng.random(shape) if batch.setup.rules.by_weight else rng.integers(0, 3, shape)
