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
from ploutos.env.account import observe, open_accounts
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.observe import observation_length
from ploutos.errors import PolicyError
from ploutos.folds import Rows
from tests.env.markets import plain_scaler, random_market

LEARNERS = [PPOConfig(net_arch=(8,)), RecurrentPPOConfig(net_arch=(8,), lstm_hidden_size=6)]


def policy_of(learner, market, seed=0):
    torch.manual_seed(seed)
    length = observation_length(market)
    manifest = PolicyManifest(
        algo="RecurrentPPO" if isinstance(learner, RecurrentPPOConfig) else "PPO",
        fold=1,
        seed=seed,
        run_id="0123",
        learner=learner,
        symbols=("AAA", "BBB"),
        catalog_digest="c" * 64,
        observation_length=length,
        timesteps=10,
        steps_per_s=1.5,
        selection_score=None,
        train_start=5,
        train_stop=50,
        code_digest="d" * 64,
    )
    network = build_network(learner, length, 2)
    network.set_training_mode(False)
    return Policy(network, plain_scaler(market), manifest)


def actions_of(actor, market, rows=range(5, 25)):
    accounts = open_accounts(1, 2, 10**9)
    state, actions = None, []
    for row in rows:
        action, state = actor.act(market, accounts, 0, row, state)
        actions.append(action)
    return np.stack(actions)


@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_policy_read_back_from_its_folder_gives_the_same_probabilities(tmp_path, learner):
    market = random_market(np.random.default_rng(0))
    policy = policy_of(learner, market)
    save_policy(tmp_path / "p", policy.network.state_dict(), policy.scaler, policy.manifest)
    loaded = load_policy(tmp_path / "p")
    assert loaded.manifest == policy.manifest
    accounts = open_accounts(1, 2, 10**9)
    state = other = None
    for row in range(5, 15):
        expected, state = policy.probabilities(market, accounts, 0, row, state)
        received, other = loaded.probabilities(market, accounts, 0, row, other)
        np.testing.assert_array_equal(expected, received)
        np.testing.assert_allclose(received.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_policy_acts_as_the_model_of_stable_baselines_predicts(learner):
    market = random_market(np.random.default_rng(0))
    batch = Batch(market, plain_scaler(market), EnvConfig(), Rows(start=5, stop=57), 1)
    model = build_learner(batch, learner, (16, 16), 3)
    policy = policy_of(learner, market)
    policy.network.load_state_dict(model.policy.state_dict())
    accounts = open_accounts(1, 2, 10**9)
    state = lstm = None
    for row in range(5, 25):
        observation = np.zeros(batch.length, np.float32)
        observe(market, policy.scaler, accounts, 0, row, observation)
        received, state = policy.act(market, accounts, 0, row, state)
        start = np.array([row == 5])
        expected, lstm = model.predict(
            observation[None], state=lstm, episode_start=start, deterministic=True
        )
        np.testing.assert_array_equal(received, expected[0])


def test_recurrent_policy_remembers():
    market = random_market(np.random.default_rng(0))
    policy = policy_of(LEARNERS[1], market)
    accounts = open_accounts(1, 2, 10**9)
    first, state = policy.probabilities(market, accounts, 0, 5, None)
    again, _ = policy.probabilities(market, accounts, 0, 5, state)
    assert not np.array_equal(first, again)


def test_committee_of_one_acts_like_its_member():
    market = random_market(np.random.default_rng(0))
    policy = policy_of(LEARNERS[1], market)
    np.testing.assert_array_equal(
        actions_of(Committee([policy]), market), actions_of(policy, market)
    )


def test_committee_acts_on_the_mean_probability():
    market = random_market(np.random.default_rng(0))
    members = [policy_of(LEARNERS[0], market, seed) for seed in range(3)]
    accounts = open_accounts(1, 2, 10**9)
    mean = np.mean([m.probabilities(market, accounts, 0, 9, None)[0] for m in members], axis=0)
    action, _ = Committee(members).act(market, accounts, 0, 9, None)
    np.testing.assert_array_equal(action, mean.argmax(axis=1))


def test_empty_committee_is_refused():
    with pytest.raises(PolicyError, match="at least one policy"):
        Committee([])


def test_policy_of_another_observation_is_refused():
    small = random_market(np.random.default_rng(0), features=3)
    large = random_market(np.random.default_rng(0), features=4)
    policy = policy_of(LEARNERS[0], small)
    with pytest.raises(PolicyError, match="does not fit this block"):
        actions_of(policy, large)


@pytest.mark.parametrize("damage", ["parameters", "manifest", "missing"])
def test_damaged_policy_folder_is_refused(tmp_path, damage):
    market = random_market(np.random.default_rng(0))
    policy = policy_of(LEARNERS[0], market)
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
