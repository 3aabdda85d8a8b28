"""The score that a member's parameters are chosen by. In: a network, rows. Out: log growth."""

import numpy as np
import torch

from ploutos.agent.learner import Learner
from ploutos.agent.play import Segment, play
from ploutos.agent.policy import Policy, PolicyManifest, build_network
from ploutos.agent.spec import MemberSpec
from ploutos.env.market import Market
from ploutos.env.observe import observation_length
from ploutos.env.scaler import Scaler


def score_learner(spec: MemberSpec, model: Learner, market: Market, scaler: Scaler) -> float:
    """Return the log growth of the current parameters over the fold's validation rows.

    An account that is lost counts as one micro-dollar. The random states are left as they are.
    """
    length = observation_length(market, spec.env.window_bars)
    n_symbols, n_features = market.features.shape[1:]
    with torch.random.fork_rng(devices=[]):
        network = build_network(spec.learner, length, n_symbols, spec.env, n_features)
    network.load_state_dict(model.policy.state_dict())
    network.set_training_mode(False)
    manifest = PolicyManifest.model_construct(observation_length=length, env=spec.env)
    segment = Segment(Policy(network, scaler, manifest), spec.fold.validation)
    equity = play(market, [segment], spec.env, spec.warm_up_bars).equity_micro
    return float(np.log(max(equity[-1], 1) / equity[0]))
