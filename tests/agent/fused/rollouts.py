"""Learners over an environment of noise, and rollout buffers filled at random."""

import gymnasium as gym
import numpy as np
import stable_baselines3
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from ploutos.agent.ppo import PPO

CHOICES = spaces.MultiDiscrete([3, 2, 4])
ACTIONS = [spaces.Discrete(3), CHOICES, spaces.Box(-1, 1, (3,), np.float32)]


class Noise(gym.Env):
    """Observations are noise, the reward is the sum of the action; episodes of `length` steps."""

    def __init__(self, action_space, n_values=7, length=5):
        self.observation_space = spaces.Box(-3, 3, (n_values,), np.float32)
        self.action_space = action_space
        self.length = length

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.step_number = 0
        return self.noise(), {}

    def step(self, action):
        self.step_number += 1
        ended = self.step_number >= self.length
        return self.noise(), float(np.sum(action)), False, ended, {}

    def noise(self):
        return self.np_random.uniform(-3, 3, self.observation_space.shape).astype(np.float32)


def learner(kind, action_space, n_envs=4, **arguments):
    """Return a PPO of a kind, SB3's or ours, that logs to nothing."""
    lengths = [3 + e for e in range(n_envs)]
    env = DummyVecEnv(
        [lambda length=length: Noise(action_space, length=length) for length in lengths]
    )
    given = {"n_steps": 32, "batch_size": 48, "n_epochs": 3, "seed": 0, "device": "cpu"}
    model = kind("MlpPolicy", env, **(given | arguments))
    model.set_logger(Logger(None, []))
    return model


def both(action_space, **arguments):
    """Return SB3's PPO and ours, alike."""
    return [learner(kind, action_space, **arguments) for kind in (stable_baselines3.PPO, PPO)]


def fill(buffer, seed=0, spread=0.3):
    """Fill a rollout buffer at random, log probabilities not far from those of a new policy."""
    rng = np.random.default_rng(seed)
    buffer.reset()
    buffer.observations[:] = rng.uniform(-3, 3, buffer.observations.shape)
    space = buffer.action_space
    if isinstance(space, spaces.Box):
        buffer.actions[:] = rng.standard_normal(buffer.actions.shape)
        usual = -1.4 * buffer.action_dim
    else:
        sizes = [space.n] if isinstance(space, spaces.Discrete) else space.nvec
        buffer.actions[:] = rng.integers(0, sizes, buffer.actions.shape)
        usual = -np.log(sizes).sum()
    shape = buffer.rewards.shape
    for name in ("advantages", "returns", "values"):
        getattr(buffer, name)[:] = rng.standard_normal(shape)
    buffer.log_probs[:] = usual + spread * rng.standard_normal(shape)
    buffer.pos, buffer.full = shape[0], True
