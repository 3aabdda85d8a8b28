import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from ploutos.agent.config import RecurrentPPOConfig, RowEncoder, SymbolEncoder, WindowEncoder
from ploutos.agent.export import export_zip
from ploutos.agent.policy import load_policy, save_policy
from ploutos.env.account import open_accounts
from ploutos.env.kernel import observe
from ploutos.env.setup import setup_of
from ploutos.errors import PolicyError
from ploutos.folds import Rows
from tests.agent.test_policy import EPISODES, LEARNERS, MARKET, policy_of

LAYERED = [learner.model_copy(update={"encoder": RowEncoder(width=5)}) for learner in LEARNERS]
OUTSIDE = """
import json, sys
sys.modules["ploutos"] = None
import numpy as np
from {module} import {name}
model = {name}.load(sys.argv[1], device="cpu")
observations = np.asarray(json.loads(sys.stdin.read()), np.float32)
state, start, actions = None, np.ones(1, bool), []
for observation in observations:
    action, state = model.predict(observation[None], state, start, deterministic=True)
    start = np.zeros(1, bool)
    actions.append(action[0].tolist())
print(json.dumps(actions))
"""


def saved(folder, learner, env=EPISODES[0]):
    policy = policy_of(learner, env)
    save_policy(folder, policy.network.state_dict(), policy.scaler, policy.manifest)
    return load_policy(folder)


def played(policy):
    """Return what a policy observed and did over some rows."""
    env = policy.manifest.env
    accounts = open_accounts(1, 2, 10**9)
    data, setup = (MARKET, policy._scaling), setup_of(env, Rows(start=0, stop=2))
    observations, actions, state = [], [], None
    for row in range(5, 25):
        observation = np.zeros(policy.manifest.observation_length, np.float32)
        observe(data, accounts, (0, row), setup, (observation, np.zeros((2, 1))))
        action, state = policy.act(MARKET, accounts, 0, row, state)
        observations.append(observation)
        actions.append(action)
    return np.stack(observations), np.stack(actions)


@pytest.mark.parametrize("env", EPISODES, ids=["orders", "window", "weights"])
@pytest.mark.parametrize("learner", [*LEARNERS, *LAYERED], ids=lambda one: type(one).__name__)
def test_exported_policy_predicts_what_ours_does(tmp_path, learner, env):
    policy = saved(tmp_path / "policy", learner, env)
    export_zip(tmp_path / "policy", tmp_path / "policy.zip")
    kind = RecurrentPPO if isinstance(learner, RecurrentPPOConfig) else PPO
    model = kind.load(tmp_path / "policy.zip", device="cpu")
    assert model.num_timesteps == policy.manifest.timesteps
    assert model.gamma == learner.gamma
    observations, expected = played(policy)
    state, start = None, np.ones(1, bool)
    for observation, action in zip(observations, expected, strict=True):
        received, state = model.predict(observation[None], state, start, deterministic=True)
        start = np.zeros(1, bool)
        np.testing.assert_array_equal(received[0], action)


@pytest.mark.parametrize(
    "encoder",
    [SymbolEncoder(width=4), WindowEncoder(channels=2, width=5)],
    ids=["symbol", "window"],
)
def test_policy_with_an_encoder_of_ours_is_exported(tmp_path, encoder):
    learner = LEARNERS[0].model_copy(update={"encoder": encoder})
    policy = saved(tmp_path / "policy", learner, EPISODES[1])
    export_zip(tmp_path / "policy", tmp_path / "policy.zip")
    model = PPO.load(tmp_path / "policy.zip", device="cpu")
    observations, expected = played(policy)
    received, _ = model.predict(observations, deterministic=True)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_exported_policy_needs_nothing_of_ours(tmp_path, learner):
    policy = saved(tmp_path / "policy", learner)
    export_zip(tmp_path / "policy", tmp_path / "policy.zip")
    recurrent = isinstance(learner, RecurrentPPOConfig)
    module, name = ("sb3_contrib", "RecurrentPPO") if recurrent else ("stable_baselines3", "PPO")
    observations, expected = played(policy)
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE.format(module=module, name=name), tmp_path / "policy.zip"],
        input=json.dumps(observations.tolist()),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    np.testing.assert_array_equal(json.loads(done.stdout), expected)


def test_damaged_policy_is_not_exported(tmp_path):
    saved(tmp_path / "policy", LEARNERS[0])
    (tmp_path / "policy" / "policy.safetensors").write_bytes(b"")
    with pytest.raises(PolicyError):
        export_zip(tmp_path / "policy", tmp_path / "policy.zip")
    assert not (tmp_path / "policy.zip").exists()


def test_export_keeps_every_parameter(tmp_path):
    policy = saved(tmp_path / "policy", LEARNERS[1])
    export_zip(tmp_path / "policy", tmp_path / "policy.zip")
    received = RecurrentPPO.load(tmp_path / "policy.zip", device="cpu").policy.state_dict()
    expected = policy.network.state_dict()
    assert received.keys() == expected.keys()
    assert all(torch.equal(value, received[name]) for name, value in expected.items())
