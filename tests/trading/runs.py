"""A run whose policies are untrained networks: everything that trading needs, in a second."""

from dataclasses import replace
from datetime import date

import numpy as np
import torch

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig, TrainConfig
from ploutos.agent.policy import PolicyManifest, build_network, save_policy
from ploutos.agent.train import load_run, policy_folders, start_run
from ploutos.calendar import closes, decision_times
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.env.observe import observation_length
from ploutos.env.scaler import fit_scaler
from ploutos.folds import FoldConfig
from ploutos.panel import load_panel, save_panel
from ploutos.runs import record_part
from tests.panels import random_panel

CONFIG = TrainConfig(
    seeds=(0, 1),
    folds=FoldConfig(n_folds=1, test_bars=40, validation_bars=20, min_train_bars=60),
    env=EnvConfig(episode_bars=20),
    ppo=PPOConfig(net_arch=(8,)),
    recurrent_ppo=RecurrentPPOConfig(net_arch=(8,), lstm_hidden_size=4),
    warm_up_bars=6,
)


def panel_of_sessions(bars=200):
    """Return a random panel on real XNYS sessions, ending 2014-07-11, with a split and a dividend.

    The independence day of 2014 is a Friday; the session before it is a half day.
    """
    table = closes("XNYS", date(2013, 1, 2), date(2014, 7, 11)).tail(bars)
    closed_at = table["closed_at"].dt.epoch("ns").to_numpy()
    panel = random_panel(seed=5, bars=bars)
    split, dividend = np.ones((bars, 2)), np.zeros((bars, 2))
    split[-8, 0], dividend[-6, 1] = 2.0, 0.4
    prices = panel.prices.copy()
    prices[-8:, 0, :4] /= 2.0
    return replace(
        panel,
        closed_at=closed_at,
        decided_at=decision_times(closed_at),
        prices=prices,
        split_ratio=split,
        cash_dividend=dividend,
    )


def untrained_run(verdict="promoted"):
    """Write the panel, the run and its policies; return the run's id."""
    run_id = start_run(save_panel(panel_of_sessions()), CONFIG)
    run = load_run(run_id)
    panel = load_panel(run.panel)
    scaler = fit_scaler(panel, run.folds[-1].train, run.config.env.clip)
    length = observation_length(market_of(panel), 1)
    for (algo, fold, seed), folder in policy_folders(run, 0).items():
        torch.manual_seed(seed)
        learner = run.config.learner(algo)
        network = build_network(learner, length, 2)
        with torch.no_grad():
            network.action_net.weight *= 100  # so that the actions vary with the observation
        manifest = PolicyManifest(
            algo=algo,
            fold=fold,
            seed=seed,
            run_id=run_id,
            learner=learner,
            symbols=panel.meta.symbols,
            catalog_digest=panel.meta.catalog_digest,
            observation_length=length,
            timesteps=0,
            steps_per_s=1.0,
            selection_score=None,
            train_start=run.folds[-1].train.start,
            train_stop=run.folds[-1].train.stop,
            code_digest="d" * 64,
        )
        save_policy(folder, dict(network.state_dict()), scaler, manifest)
    record_part(run_id, "validation", {"verdict": verdict})
    return run_id
