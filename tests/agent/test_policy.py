import json

import numpy as np
import pytest
import torch

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig
from ploutos.agent.learner import build_learner
from ploutos.agent.policy import (
    Committee,
    Policy,
    PolicyManifest,
    build_network,
    load_policy,
    save_policy,
)
from ploutos.env.account import open_accounts
from ploutos.env.config import EnvConfig
from ploutos.env.kernel import observe
from ploutos.env.market import market_of
from ploutos.env.observe import observation_length
from ploutos.errors import PolicyError
from ploutos.portfolio.config import MarginConfig, PortfolioConfig, WeightActions
from tests.agent.batches import WEIGHTS, batch_of, panel_with_gaps, scaler_of

LEARNERS = [PPOConfig(net_arch=(8,)), RecurrentPPOConfig(net_arch=(8,), lstm_hidden_size=6)]
PANEL = panel_with_gaps()
MARKET = market_of(PANEL)
ORDERS = EnvConfig()
EPISODES = [ORDERS, EnvConfig(window_bars=3), EnvConfig(portfolio=WEIGHTS)]


def policy_of(learner, env=ORDERS, seed=0, panel=PANEL):
    torch.manual_seed(seed)
    length = observation_length(panel, env.window_bars)
    manifest = PolicyManifest(
        algo="RecurrentPPO" if isinstance(learner, RecurrentPPOConfig) else "PPO",
        fold=1,
        seed=seed,
        run_id="0123",
        learner=learner,
        symbols=("AAA", "BBB"),
        catalog_digest="c" * 64,
        observation_length=length,
        env=env,
        timesteps=10,
        steps_per_s=1.5,
        selection_score=None,
        train_start=5,
        train_stop=50,
        code_digest="d" * 64,
    )
    network = build_network(learner, length, 2, env)
    network.set_training_mode(False)
    with torch.no_grad():
        network.action_net.weight *= 100  # so that the actions vary with the observation
    return Policy(network, scaler_of(panel), manifest)


def actions_of(actor, market=MARKET, rows=range(5, 25)):
    accounts = open_accounts(1, 2, 10**9)
    state, actions = None, []
    for row in rows:
        action, state = actor.act(market, accounts, 0, row, state)
        actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_policy_read_back_from_its_folder_has_the_same_preferences(tmp_path, learner, env):
    policy = policy_of(learner, env)
    save_policy(tmp_path / "p", policy.network.state_dict(), policy.scaler, policy.manifest)
    loaded = load_policy(tmp_path / "p")
    assert loaded.manifest == policy.manifest
    accounts = open_accounts(1, 2, 10**9)
    state = other = None
    for row in range(5, 15):
        expected, state = policy.preferences(MARKET, accounts, 0, row, state)
        received, other = loaded.preferences(MARKET, accounts, 0, row, other)
        np.testing.assert_array_equal(expected, received)
        if env.portfolio.actions.kind == "orders":
            np.testing.assert_allclose(received.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_policy_acts_as_the_model_of_stable_baselines_predicts(learner, env):
    batch = batch_of(1, PANEL, portfolio=env.portfolio, window_bars=env.window_bars)
    model = build_learner(batch, learner, (16, 16), 3)
    policy = policy_of(learner, env)
    model.policy.load_state_dict(policy.network.state_dict())
    accounts = open_accounts(1, 2, 10**9)
    state = lstm = None
    data, observation = (batch.market, policy._scaling), np.zeros(batch.length, np.float32)
    for row in range(5, 25):
        observe(data, accounts, (0, row), batch.setup, (observation, np.zeros((2, 1))))
        received, state = policy.act(MARKET, accounts, 0, row, state)
        start = np.array([row == 5])
        expected, lstm = model.predict(
            observation[None], state=lstm, episode_start=start, deterministic=True
        )
        assert received.dtype == batch.action_dtype
        np.testing.assert_array_equal(received, expected[0])


def test_recurrent_policy_remembers():
    policy = policy_of(LEARNERS[1])
    accounts = open_accounts(1, 2, 10**9)
    first, state = policy.preferences(MARKET, accounts, 0, 5, None)
    again, _ = policy.preferences(MARKET, accounts, 0, 5, state)
    assert not np.array_equal(first, again)


def test_weights_stay_inside_the_bounds_of_the_account():
    margin = PortfolioConfig(actions=WeightActions(), margin=MarginConfig())
    for portfolio, least in ((WEIGHTS, 0.0), (margin, -1.0)):
        actions = actions_of(policy_of(LEARNERS[0], EnvConfig(portfolio=portfolio)))
        assert actions.dtype == np.float64
        assert actions.min() == least
        assert actions.max() == 1.0


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
def test_committee_of_one_acts_like_its_member(env):
    policy = policy_of(LEARNERS[1], env)
    np.testing.assert_array_equal(actions_of(Committee([policy])), actions_of(policy))


def test_committee_acts_on_the_mean_probability():
    members = [policy_of(LEARNERS[0], seed=seed) for seed in range(3)]
    accounts = open_accounts(1, 2, 10**9)
    mean = np.mean([m.preferences(MARKET, accounts, 0, 9, None)[0] for m in members], axis=0)
    action, _ = Committee(members).act(MARKET, accounts, 0, 9, None)
    np.testing.assert_array_equal(action, mean.argmax(axis=1))


def test_committee_sets_the_mean_weights_of_its_members():
    members = [policy_of(LEARNERS[0], EPISODES[2], seed) for seed in range(3)]
    accounts = open_accounts(1, 2, 10**9)
    mean = np.mean([m.act(MARKET, accounts, 0, 9, None)[0] for m in members], axis=0)
    action, _ = Committee(members).act(MARKET, accounts, 0, 9, None)
    np.testing.assert_array_equal(action, mean)


def test_committee_of_orders_and_weights_is_refused():
    with pytest.raises(PolicyError, match="orders and weights have no mean"):
        Committee([policy_of(LEARNERS[0], env) for env in EPISODES])


def test_empty_committee_is_refused():
    with pytest.raises(PolicyError, match="at least one policy"):
        Committee([])


def test_policy_of_another_observation_is_refused():
    policy = policy_of(LEARNERS[0])
    with pytest.raises(PolicyError, match="does not fit this block"):
        actions_of(policy, market_of(panel_with_gaps(features=4)))


@pytest.mark.parametrize("damage", ["parameters", "manifest", "missing"])
def test_damaged_policy_folder_is_refused(tmp_path, damage):
    policy = policy_of(LEARNERS[0])
    folder = tmp_path / "p"
    save_policy(folder, policy.network.state_dict(), policy.scaler, policy.manifest)
    if damage == "parameters":
        data = bytearray((folder / "policy.safetensors").read_bytes())
        data[-3] ^= 4
        (folder / "policy.safetensors").write_bytes(data)
    elif damage == "manifest":
        listed = json.loads((folder / "manifest.json").read_text())
        del listed["symbols"]
        (folder / "manifest.json").write_text(json.dumps(listed))
    else:
        (folder / "manifest.json").unlink()
    with pytest.raises(PolicyError):
        load_policy(folder)
