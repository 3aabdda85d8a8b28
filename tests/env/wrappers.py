"""Wrappers of the kind that a user writes; worker processes import this module."""

import gymnasium as gym


class ClippedReward(gym.RewardWrapper):
    """Rewards between -bound and bound."""

    def __init__(self, env, bound=0.5):
        super().__init__(env)
        self.bound = bound

    def reward(self, reward):
        return max(-self.bound, min(self.bound, reward))


class FailsAtStep(gym.Wrapper):
    """Raises in the step with this number, of an environment with this seed."""

    def __init__(self, env, step, seed):
        super().__init__(env)
        self.left, self.chosen, self.own = step, seed, None

    def reset(self, *, seed=None, options=None):
        self.own = seed if seed is not None else self.own
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.left -= 1
        if self.left == 0 and self.own == self.chosen:
            raise ArithmeticError("the wrapper gave up")
        return super().step(action)


class TellsMuch(gym.Wrapper):
    """Tells with every step more than a socket holds."""

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, info | {"row_again": info["row"], "much": b"." * 1_000_000}


class BuysOnly(gym.ActionWrapper):
    """One action for all symbols."""

    def __init__(self, env):
        super().__init__(env)
        self.action_space = gym.spaces.Discrete(2)

    def action(self, action):
        return [action] * self.env.action_space.shape[0]


class SaysWhereItIs(gym.ObservationWrapper):
    """Observes the number of the row, as an integer."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gym.spaces.Discrete(1000)

    def observation(self, _):
        return int(self.unwrapped.batch.episodes.row[0])


def forgets_what_it_was_given(_):
    return gym.make("CartPole-v1")
