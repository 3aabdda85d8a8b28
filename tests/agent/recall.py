"""An environment that only a policy with memory solves."""

import gymnasium as gym
import numpy as np


class Recall(gym.Env):
    """The reward is for doing again what was shown `delay` steps ago.

    A number of a few is drawn at every step and shown one-hot, with the clock beside it. A discrete
    action is the number itself; of a `MultiDiscrete` one every part is; of a box the first value is
    to be the number over the largest one.
    """

    def __init__(self, action_space, delay, length, truncates, dictionary=False):
        self.action_space = action_space
        self.delay, self.length, self.truncates = delay, length, truncates
        self.choices = 2 if isinstance(action_space, gym.spaces.Box) else 3
        self.dictionary = dictionary
        shape = gym.spaces.Box(0.0, 1.0, (self.choices + 1,), np.float32)
        self.observation_space = gym.spaces.Dict({"shown": shape}) if dictionary else shape

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown, self.time = [], 0
        return self._observe(), {}

    def step(self, action):
        due = self.shown[-1 - self.delay] if self.time >= self.delay else None
        reward = 0.0 if due is None else self._agreement(action, due)
        self.time += 1
        ended = self.time == self.length
        return self._observe(), reward, ended and not self.truncates, ended and self.truncates, {}

    def _agreement(self, action, due):
        if isinstance(self.action_space, gym.spaces.Box):
            return 1.0 - abs(float(action[0]) - due / (self.choices - 1))
        return float(np.sum(np.asarray(action) == due))

    def _observe(self):
        self.shown.append(int(self.np_random.integers(self.choices)))
        values = np.zeros(self.choices + 1, np.float32)
        values[self.shown[-1]], values[-1] = 1.0, self.time / self.length
        return {"shown": values} if self.dictionary else values
