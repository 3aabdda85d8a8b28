"""The vector front against Gymnasium's own vector environment over scalar fronts, bit by bit."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ploutos.env import EnvConfig, RewardConfig, TradingEnv, TradingVectorEnv
from ploutos.env.scaler import fit_scaler
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio import MarginConfig, PortfolioConfig, WeightActions
from ploutos.portfolio.config import OrderActions
from tests.panels import random_panel

ROWS = Rows(start=20, stop=120)
E = 5
PANEL = random_panel()
# Ruin at 1 % below the start makes some episodes terminate.
SOON = {"episode_bars": 7, "ruin_fraction": 0.99}
BOLD = PortfolioConfig(actions=OrderActions(buy_fraction=1.0), maximum_weight=1.0)
CONFIGS = {
    "orders": EnvConfig(portfolio=BOLD, **SOON),
    "weights with margin": EnvConfig(
        portfolio=PortfolioConfig(actions=WeightActions(), margin=MarginConfig()),
        reward=RewardConfig(differential_sharpe=0.1, drawdown=1.0, turnover=0.1),
        **SOON,
    ),
    "by reference": EnvConfig(by_reference=True, **SOON),
    "window of three": EnvConfig(window_bars=3, **SOON),
    "episodes of all rows": EnvConfig(episode_bars=None),
}


def pair_of(config, n_threads=1):
    scaler = fit_scaler(PANEL, ROWS, config.clip)
    ours = TradingVectorEnv(E, PANEL, config, ROWS, scaler, n_threads)
    single = functools.partial(TradingEnv, PANEL, config, ROWS, scaler)
    return ours, SyncVectorEnv([single] * E, autoreset_mode=AutoresetMode.SAME_STEP)


def assert_same(got, expected, where):
    """Compare infos, nested as Gymnasium nests them: same keys, dtypes and values."""
    assert type(got) is type(expected), where
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same(got[key], value, f"{where}.{key}")
    elif expected.dtype == object:
        for one, other in zip(got, expected, strict=True):
            assert (one is None) == (other is None), where
            if other is not None:
                np.testing.assert_array_equal(one, other, where)
    else:
        assert got.dtype == expected.dtype, where
        np.testing.assert_array_equal(got, expected, where)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("seed", [5, [9, 2, 2**40, 4, 9]])
def test_vector_front_equals_gymnasiums_own_over_scalar_fronts(config, seed):
    ours, theirs = pair_of(config)
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space
    assert_same(ours.reset(seed=seed)[1], theirs.reset(seed=seed)[1], "reset")
    theirs.action_space.seed(1)
    ended = set()
    for step in range(120):
        action = theirs.action_space.sample()
        got, expected = ours.step(action), theirs.step(action)
        for one, other in zip(got[:4], expected[:4], strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other, str(step))
        assert_same(got[4], expected[4], f"step {step}")
        ended |= {name for name, ends in zip(("ruin", "time"), got[2:4], strict=True) if ends.any()}
    assert "time" in ended
    assert ("ruin" in ended) == (config.ruin_fraction == 0.99)


def test_threads_change_no_bit_of_what_the_front_gives():
    config = CONFIGS["orders"]
    (one, _), (two, _) = pair_of(config), pair_of(config, n_threads=2)
    np.testing.assert_array_equal(one.reset(seed=3)[0], two.reset(seed=3)[0])
    one.action_space.seed(1)
    for _ in range(60):
        action = one.action_space.sample()
        got, expected = two.step(action), one.step(action)
        for value, other in zip(got[:4], expected[:4], strict=True):
            np.testing.assert_array_equal(value, other)
        assert_same(got[4], expected[4], "infos")
    two.close()


def test_gymnasium_makes_the_vector_front_by_its_registered_name():
    name = "ploutos.env:ploutos/Trading-v0"
    env = gym.make_vec(name, num_envs=3, data=PANEL, config=CONFIGS["orders"])
    assert isinstance(env.unwrapped, TradingVectorEnv)
    observation, infos = env.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert infos["row"].shape == (3,)
    sync = gym.make_vec(
        name,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        data=PANEL,
        config=CONFIGS["orders"],
    )
    np.testing.assert_array_equal(sync.reset(seed=1)[0], observation)
    for _ in range(20):
        action = np.random.default_rng(0).integers(0, 3, (3, 2))
        for got, expected in zip(env.step(action)[:4], sync.step(action)[:4], strict=True):
            np.testing.assert_array_equal(got, expected)


def test_given_arrays_are_the_callers_to_keep():
    env, _ = pair_of(CONFIGS["orders"])
    kept = [env.reset(seed=1)[0]]
    rng = np.random.default_rng(0)
    for _ in range(30):
        observation, _, _, _, infos = env.step(rng.integers(0, 3, (E, 2)))
        kept.append(observation)
        kept += [last for last in infos.get("final_obs", []) if last is not None]
    copies = [array.copy() for array in kept]
    for _ in range(10):
        env.step(rng.integers(0, 3, (E, 2)))
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert len({array.ctypes.data for array in kept}) == len(kept)


def test_reset_without_a_seed_goes_on_with_the_stream_and_starts_at_random_at_first():
    first, second = (pair_of(CONFIGS["orders"])[0] for _ in range(2))
    starts = [env.reset()[1]["row"].tolist() for env in (first, second) for _ in range(4)]
    assert starts[:4] != starts[4:]
    again = [first.reset(seed=None if at else 8)[1]["row"].tolist() for at in range(4)]
    assert again == [second.reset(seed=None if at else 8)[1]["row"].tolist() for at in range(4)]
    assert len({tuple(rows) for rows in again}) > 1


def test_environment_without_a_seed_of_its_own_starts_at_random():
    rows = set()
    for _ in range(6):
        env, _ = pair_of(CONFIGS["orders"])
        rows.add(int(env.reset(seed=[1, None, 1, 1, 1])[1]["row"][1]))
    assert len(rows) > 1


def test_action_masks_are_one_row_per_environment():
    env, sync = pair_of(CONFIGS["orders"])
    env.reset(seed=2)
    sync.reset(seed=2)
    env.step(np.ones((E, 2), int))
    sync.step(np.ones((E, 2), int))
    np.testing.assert_array_equal(env.action_masks(), np.array(sync.call("action_masks")))


def test_wrong_actions_are_refused_and_the_environments_go_on():
    env, sync = pair_of(CONFIGS["orders"])
    env.reset(seed=2)
    sync.reset(seed=2)
    for action in (np.zeros((E, 3), int), np.zeros(2, int), np.full((E, 2), 3)):
        with pytest.raises(EnvironmentConfigError, match="expected actions"):
            env.step(action)
    action = np.ones((E, 2), int)
    for got, expected in zip(env.step(action)[:4], sync.step(action)[:4], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_reset_options_are_refused_and_not_ignored():
    env, _ = pair_of(CONFIGS["orders"])
    with pytest.raises(EnvironmentConfigError, match="options"):
        env.reset(seed=1, options={"rubbish": 1})


def test_seeds_of_another_number_are_refused():
    env, _ = pair_of(CONFIGS["orders"])
    with pytest.raises((EnvironmentConfigError, ValueError), match="seed"):
        env.reset(seed=[1, 2])
