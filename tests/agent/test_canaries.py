"""Learning that can be seen to work, with small budgets; `make bench NAME=learn` has full ones.

An environment of pure memory-free choice is solved, a planted signal is found, and nothing is
earned where there is nothing to earn.
"""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from ploutos.agent.ppo import PPO
from ploutos.agent.recurrent_ppo import RecurrentPPO
from ploutos.market.synthetic import optimal_growth
from tests.agent.planted import COST_BPS, Planted, acting, planted

CHOICES = 4


class Identity(gym.Env):
    """The reward is 1 for the action that the observation shows, else 0."""

    observation_space = gym.spaces.Box(0, 1, (CHOICES,), np.float32)
    action_space = gym.spaces.Discrete(CHOICES)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.show(), {}

    def step(self, action):
        self.steps += 1
        reward = float(action == self.shown)
        return self.show(), reward, False, self.steps == 50, {}

    def show(self):
        self.shown = int(self.np_random.integers(CHOICES))
        return np.eye(CHOICES, dtype=np.float32)[self.shown]


def silent(model):
    model.set_logger(Logger(None, []))
    return model


@pytest.mark.parametrize(
    ("kind", "policy", "arguments"),
    [
        (PPO, "MlpPolicy", {}),
        (RecurrentPPO, "MlpLstmPolicy", {"policy_kwargs": {"lstm_hidden_size": 16}}),
    ],
    ids=["PPO", "RecurrentPPO"],
)
def test_identity_is_solved(kind, policy, arguments):
    env = DummyVecEnv([Identity] * 8)
    sizes = {"n_steps": 64, "batch_size": 128, "n_epochs": 8, "learning_rate": 2e-3}
    model = silent(kind(policy, env, seed=0, device="cpu", **sizes, **arguments))
    model.learn(8 * 64 * 16)
    shown = np.eye(CHOICES, dtype=np.float32)
    starts = np.ones(CHOICES, bool)
    actions, _ = model.predict(shown, episode_start=starts, deterministic=True)
    np.testing.assert_array_equal(actions, range(CHOICES))


class UntilGood(BaseCallback):
    """Scores the policy before every rollout, and ends training when it is good enough."""

    def __init__(self, scene, enough):
        super().__init__()
        self.scene, self.enough, self.score = scene, enough, 0.0

    def _on_rollout_start(self):
        if self.score < self.enough and self.model.num_timesteps:
            self.score = self.scene.score(self.model)

    def _on_step(self):
        return self.score < self.enough


def test_optimal_rule_earns_what_theory_says():
    scene = planted()
    expected = optimal_growth(scene.source, COST_BPS / 1e4)
    deviation = scene.source.annual_volatility / np.sqrt(252)
    n_bars = scene.panel.n_rows - scene.rows.stop
    # In the market half of the time; four standard errors.
    assert scene.optimum() == pytest.approx(expected, abs=4 * deviation * np.sqrt(0.5 / n_bars))


def test_ppo_finds_the_planted_signal():
    scene = planted()
    sizes = {"n_steps": 64, "batch_size": 64, "n_epochs": 10}
    model = silent(PPO("MlpPolicy", scene.vec_env(32), seed=0, device="cpu", **sizes))
    until = UntilGood(scene, 0.8)
    model.learn(150_000, callback=until)
    assert model.torch_because is None
    assert until.score >= 0.8


def test_ppo_earns_nothing_on_driftless_walks():
    """Over 20 walks, what it earns on rows that it has not seen is no more than chance allows."""
    found = []
    for seed in range(20):
        walk = Planted(None, n_bars=2400, train_bars=1200, seed=100 + seed)
        sizes = {"n_steps": 64, "batch_size": 128, "n_epochs": 5}
        model = silent(PPO("MlpPolicy", walk.vec_env(32), seed=seed, device="cpu", **sizes))
        model.learn(32 * 64 * 4)
        found.append(walk.growth(acting(model)))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert np.mean(found) < 2.5 * error
