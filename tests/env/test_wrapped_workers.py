"""The user's own Python in the worker processes: the same numbers as in this one."""

import functools
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, RecordEpisodeStatistics

from ploutos.env import TradingEnv
from ploutos.env.market import market_of
from ploutos.env.workers import Workers
from ploutos.errors import EnvironmentConfigError
from tests.env.test_workers import (
    CONFIG,
    CONFIGS,
    PANEL,
    ROWS,
    SCALER,
    actions_of,
    assert_equal,
    batch_of,
    block,
    lost,
    spec_of,
)
from tests.env.wrappers import (
    BuysOnly,
    ClippedReward,
    FailsAtStep,
    SaysWhereItIs,
    TellsMuch,
    forgets_what_it_was_given,
)

__all__ = ["block"]

WRAPPERS = {
    "reward": ClippedReward,
    "reward, with an argument": functools.partial(ClippedReward, bound=0.25),
    "observation": functools.partial(FrameStackObservation, stack_size=2),
}


def wrapped_spec(block, n_envs, n_workers, wrapper, config=CONFIG):
    return spec_of(block, n_envs, n_workers, config)._replace(wrapper=wrapper)


class Here:
    """The same wrapped environments in this process, reset in the step that ends them."""

    def __init__(self, wrapper, n_envs, config):
        self.envs = [wrapper(TradingEnv(PANEL, config, ROWS, SCALER)) for _ in range(n_envs)]

    def reset(self, seed=None):
        seeds = [None if seed is None else seed + e for e in range(len(self.envs))]
        both = zip(self.envs, seeds, strict=True)
        return np.stack([env.reset(seed=own)[0].reshape(-1) for env, own in both])

    def step(self, actions):
        """Return observation, reward, terminated, truncated, last observations by environment."""
        steps, last = [], {}
        for e, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            observation, reward, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                last[e] = observation.reshape(-1)
                observation, _ = env.reset()
            steps.append((observation.reshape(-1), reward, terminated, truncated))
        return [*map(np.array, zip(*steps, strict=True)), last]


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_wrapped_workers_equal_the_same_wrapper_in_this_process(block, wrapper, config):
    here, rng = Here(wrapper, 5, config), np.random.default_rng(0)
    with Workers(wrapped_spec(block, 5, 2, wrapper, config)) as workers:
        assert workers.action_space == here.envs[0].action_space
        for seed in (5, None):
            if seed is not None:
                workers.seed(seed)
            np.testing.assert_array_equal(workers.reset(), here.reset(seed))
            for _ in range(20):
                action = actions_of(workers, rng)
                outcome = workers.step(action)
                observation, reward, terminated, truncated, last = here.step(action)
                np.testing.assert_array_equal(outcome.observation, observation)
                np.testing.assert_array_equal(outcome.reward, reward.astype(np.float32))
                np.testing.assert_array_equal(outcome.terminated, terminated)
                np.testing.assert_array_equal(outcome.truncated, truncated)
                for e, final in last.items():
                    np.testing.assert_array_equal(outcome.final_observation[e], final)
                masks = [env.get_wrapper_attr("action_masks")() for env in here.envs]
                np.testing.assert_array_equal(workers.masks().reshape(5, -1), masks)


def test_wrapper_that_changes_nothing_equals_the_compiled_path(block):
    batch, rng = batch_of(5), np.random.default_rng(0)
    with Workers(wrapped_spec(block, 5, 2, gym.Wrapper)) as workers:
        batch.seed(5)
        workers.seed(5)
        np.testing.assert_array_equal(workers.reset(), batch.reset())
        for _ in range(40):
            action = actions_of(batch, rng)
            assert_equal(workers.step(action), batch.step(action))
            assert workers.infos() == {}


def test_shape_of_the_observation_is_flattened(block):
    wrapper = WRAPPERS["observation"]
    with Workers(wrapped_spec(block, 2, 1, wrapper)) as workers:
        assert workers.observation_space.shape == (workers.length,)
        assert workers.length == 2 * batch_of(1).length
        assert workers.observation_space.contains(workers.reset()[0])


def test_infos_tell_of_the_episodes_that_ended_in_the_last_step(block):
    here = Here(RecordEpisodeStatistics, 4, CONFIG)
    with Workers(wrapped_spec(block, 4, 2, RecordEpisodeStatistics)) as workers:
        workers.seed(5)
        workers.reset()
        here.reset(5)
        seen = 0
        for _ in range(20):
            outcome = workers.step(np.ones((4, 2), int))
            ended = np.flatnonzero(outcome.terminated | outcome.truncated).tolist()
            here.step(np.ones((4, 2), int))
            assert sorted(workers.infos()) == ended
            for e in ended:
                assert workers.infos()[e].keys() == {"episode"}
                told = workers.infos()[e]["episode"]
                assert (told["r"], told["l"]) == (
                    here.envs[e].return_queue[-1],
                    here.envs[e].length_queue[-1],
                )
            seen += len(ended)
        assert seen >= 4


def test_infos_longer_than_a_socket_holds_arrive_with_their_half(block):
    with Workers(wrapped_spec(block, 4, 2, TellsMuch)) as workers:
        workers.seed(5)
        workers.reset()
        for first in [0, 1] * 10:
            for half in (0, 1):
                workers.start_step(np.ones((2, 2), int), half)
            for half in (first, 1 - first):
                outcome = workers.finish_step(half)
                ended = np.flatnonzero(outcome.terminated | outcome.truncated) + 2 * half
                infos = workers.infos()
                assert sorted(infos) == ended.tolist()
                assert all(one.keys() == {"row_again", "much"} for one in infos.values())


def test_wrapper_that_raises_is_shown_with_its_traceback(block):
    wrapper = functools.partial(FailsAtStep, step=5, seed=13)
    workers = Workers(wrapped_spec(block, 4, 2, wrapper))
    workers.seed(10)
    workers.reset()
    for _ in range(4):
        workers.step(np.zeros((4, 2), int))
    message = r"(?s)worker 1 .* ended while stepping; exit code 1.*wrappers.py.*in step.*Arithmetic"
    with lost(workers, message + "Error: the wrapper gave up"):
        workers.step(np.zeros((4, 2), int))


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        (BuysOnly, "leaves the actions"),
        (SaysWhereItIs, "whose observations are a Box"),
        (forgets_what_it_was_given, "around the one it was given"),
        (lambda env: env, "that the workers can import"),
        (type("Mine", (gym.Wrapper,), {"__module__": "__main__"}), "that the workers can import"),
    ],
)
def test_wrapper_that_does_not_fit_is_refused_before_anything_starts(block, wrapper, message):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(EnvironmentConfigError, match=message):
        Workers(wrapped_spec(block, 2, 2, wrapper))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_market_needs_rows_and_a_scaler():
    market = market_of(PANEL)
    env = TradingEnv(market, CONFIG, ROWS, SCALER)
    expected, _ = TradingEnv(PANEL, CONFIG, ROWS, SCALER).reset(seed=1)
    np.testing.assert_array_equal(env.reset(seed=1)[0], expected)
    assert env.batch.market is market
    with pytest.raises(EnvironmentConfigError, match="rows and a scaler together with a Market"):
        TradingEnv(market, CONFIG)
