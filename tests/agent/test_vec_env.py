import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.folds import Rows
from tests.env.markets import plain_scaler, random_market


def batch_of(n_envs):
    market = random_market(np.random.default_rng(3))
    rows = Rows(start=5, stop=57)
    return Batch(market, plain_scaler(market), EnvConfig(episode_bars=6), rows, n_envs)


def test_end_gives_the_terminal_observation_and_says_truncated():
    env = TradingVecEnv(batch_of(8))
    env.seed(0)
    env.reset()
    ended = 0
    for _ in range(30):
        observations, _, dones, infos = env.step(np.ones((8, 2), np.int64))
        for e in np.flatnonzero(dones):
            ended += 1
            assert infos[e]["TimeLimit.truncated"] is True
            assert infos[e]["terminal_observation"].shape == observations[e].shape
            assert not np.array_equal(infos[e]["terminal_observation"], observations[e])
    assert ended >= 8


def test_returned_arrays_are_not_overwritten_by_the_next_step():
    env = TradingVecEnv(batch_of(2))
    env.seed(0)
    env.reset()
    observations, rewards, _, _ = env.step(np.ones((2, 2), np.int64))
    kept, kept_rewards = observations.copy(), rewards.copy()
    env.step(np.full((2, 2), 2))
    np.testing.assert_array_equal(observations, kept)
    np.testing.assert_array_equal(rewards, kept_rewards)


def test_same_seed_gives_the_same_trajectory():
    trajectories = []
    for _ in range(2):
        env = TradingVecEnv(batch_of(4))
        assert env.seed(42) == [42, 43, 44, 45]
        rng = np.random.default_rng(0)
        trajectory = [env.reset()]
        trajectory += [env.step(rng.integers(0, 3, (4, 2)))[0] for _ in range(40)]
        trajectories.append(np.stack(trajectory))
    np.testing.assert_array_equal(*trajectories)


@pytest.mark.parametrize("wrapper", [VecMonitor, VecNormalize, lambda env: VecFrameStack(env, 3)])
def test_stable_baselines_wrappers_work_on_top(wrapper):
    env = wrapper(TradingVecEnv(batch_of(3)))
    env.seed(0)
    observations = env.reset()
    assert observations.shape[0] == 3
    episodes = []
    for _ in range(15):
        observations, rewards, _, infos = env.step(np.ones((3, 2), np.int64))
        episodes += [info["episode"] for info in infos if "episode" in info]
    assert np.isfinite(observations).all()
    assert np.isfinite(rewards).all()
    assert all(episode["l"] <= 6 for episode in episodes)


def test_env_method_and_attributes_speak_for_every_environment():
    env = TradingVecEnv(batch_of(3))
    assert env.get_attr("num_envs") == [3, 3, 3]
    assert env.env_is_wrapped(VecMonitor) == [False, False, False]
    assert env.env_is_wrapped(VecMonitor, indices=[0, 2]) == [False, False]
    assert len(env.env_method("seed", 5, indices=1)) == 1
