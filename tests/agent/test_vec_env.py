from functools import partial

import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecCheckNan,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
)

from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env import TradingEnv
from ploutos.env.config import EnvConfig
from ploutos.errors import EnvironmentConfigError
from tests.agent.batches import (
    ROWS,
    WEIGHTS,
    batch_of,
    panel_with_gaps,
    random_actions,
    scaler_of,
)

OBSERVED = [{}, {"window_bars": 3}, {"by_reference": True}, {"portfolio": WEIGHTS}]
OBSERVED_IDS = ["by value", "window", "by reference", "weights"]
WRAPPERS = [VecMonitor, VecNormalize, VecCheckNan, partial(VecFrameStack, n_stack=3)]


class RemoteBatch:
    """What workers offer: a batch that owns the arrays it writes into."""

    def __init__(self, batch):
        self._batch = batch
        self.n_envs, self.n_symbols = batch.n_envs, batch.n_symbols
        self.action_space, self.observation_space = batch.action_space, batch.observation_space

    @property
    def outcome(self):
        return self._batch.outcome

    def seed(self, seed):
        self._batch.seed(seed)

    def reset(self):
        return self._batch.reset()

    def step(self, action):
        return self._batch.step(action)

    def masks(self):
        return self._batch.masks()

    def close(self):
        self._batch.close()


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("config", OBSERVED, ids=OBSERVED_IDS)
def test_environments_equal_single_ones_to_the_last_bit(config, n_threads):
    panel = panel_with_gaps()
    make = partial(
        TradingEnv, panel, EnvConfig(episode_bars=6, clip=2.5, **config), ROWS, scaler_of(panel)
    )
    single = DummyVecEnv([make] * 5)
    batch = batch_of(5, panel, n_threads, **config)
    ours = TradingVecEnv(batch)
    assert ours.observation_space == single.observation_space
    assert ours.action_space == single.action_space
    rng = np.random.default_rng(0)
    for seed in (5, None):
        if seed is not None:
            assert ours.seed(seed) == single.seed(seed) == [5, 6, 7, 8, 9]
        np.testing.assert_array_equal(ours.reset(), single.reset())
        for _ in range(30):
            actions = random_actions(rng, batch)
            received, expected = ours.step(actions), single.step(actions)
            for one, other in zip(received[:3], expected[:3], strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)
            for info, other in zip(received[3], expected[3], strict=True):
                assert info.get("TimeLimit.truncated", False) == other["TimeLimit.truncated"]
                np.testing.assert_array_equal(
                    info.get("terminal_observation", 0), other.get("terminal_observation", 0)
                )
            np.testing.assert_array_equal(
                ours.env_method("action_masks"), single.env_method("action_masks")
            )
    ours.close()


def test_workers_step_as_a_batch_does():
    batch = batch_of(4)
    ours, theirs = TradingVecEnv(batch), TradingVecEnv(RemoteBatch(batch_of(4)))
    for env in (ours, theirs):
        env.seed(3)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng, kept = np.random.default_rng(0), []
    for _ in range(20):
        actions = random_actions(rng, batch)
        one, other = ours.step(actions), theirs.step(actions)
        for received, expected in zip(one[:3], other[:3], strict=True):
            np.testing.assert_array_equal(received, expected)
        kept.append((one[0], other[0]))
    for received, expected in kept:
        np.testing.assert_array_equal(received, expected)
    theirs.set_options({"row": 9})
    with pytest.raises(EnvironmentConfigError, match="no reset options for environments in work"):
        theirs.reset()


def test_end_gives_the_terminal_observation_and_says_truncated():
    env = TradingVecEnv(batch_of(8))
    env.seed(0)
    env.reset()
    ended = 0
    for _ in range(30):
        observations, _, dones, infos = env.step(np.ones((8, 2), np.int64))
        assert [bool(info) for info in infos] == dones.tolist()
        for e in np.flatnonzero(dones):
            ended += 1
            assert infos[e]["TimeLimit.truncated"] is True
            assert infos[e]["terminal_observation"].shape == observations[e].shape
            assert not np.array_equal(infos[e]["terminal_observation"], observations[e])
    assert ended >= 8


def test_ruin_is_an_end_that_is_not_truncated():
    env = TradingVecEnv(batch_of(4, ruin_fraction=0.999, episode_bars=None))
    env.seed(0)
    env.reset()
    infos = [info for _ in range(40) for info in env.step(np.ones((4, 2), np.int64))[3] if info]
    assert False in [info["TimeLimit.truncated"] for info in infos]


def test_returned_arrays_are_not_overwritten_by_later_steps():
    env = TradingVecEnv(batch_of(2))
    env.seed(0)
    returned = [env.reset()]
    copies = [returned[0].copy()]
    for action in (1, 2, 0, 1, 2, 0, 1, 2):
        observations, rewards, _, infos = env.step(np.full((2, 2), action))
        returned += [observations, rewards, *(i["terminal_observation"] for i in infos if i)]
        copies += [array.copy() for array in returned[len(copies) :]]
    for array, copied in zip(returned, copies, strict=True):
        np.testing.assert_array_equal(array, copied)


def test_infos_of_one_step_are_not_those_of_another():
    env = TradingVecEnv(batch_of(2))
    env.seed(0)
    env.reset()
    for info in env.step(np.zeros((2, 2), np.int64))[3]:
        info["seen"] = True
    assert all("seen" not in info for info in env.step(np.zeros((2, 2), np.int64))[3])


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


def test_seed_counts_from_the_next_reset_and_once():
    env, other = TradingVecEnv(batch_of(4)), TradingVecEnv(batch_of(4))
    for one in (env, other):
        one.seed(7)
        one.reset()
    env.seed(7)
    hold = np.zeros((4, 2), np.int64)
    np.testing.assert_array_equal(env.step(hold)[0], other.step(hold)[0])
    first = env.reset()
    assert not np.array_equal(first, env.reset())
    env.seed(7)
    np.testing.assert_array_equal(first, env.reset())


def test_environments_that_were_never_seeded_differ():
    first = [TradingVecEnv(batch_of(4)).reset() for _ in range(2)]
    assert not np.array_equal(*first)


def test_option_row_starts_every_environment_there_once():
    env = TradingVecEnv(batch_of(3, by_reference=True))
    env.set_options({"row": 12})
    assert env.reset()[:, 0].tolist() == [12, 12, 12]
    assert env.step(np.zeros((3, 2), np.int64))[0][:, 0].tolist() == [13, 13, 13]
    env.seed(1)
    assert env.reset()[:, 0].tolist() != [12, 12, 12]


@pytest.mark.parametrize("options", [{"line": 3}, [{"row": 9}, {}, {}], {"row": 500}])
def test_other_reset_options_are_refused(options):
    env = TradingVecEnv(batch_of(3))
    env.set_options(options)
    with pytest.raises(EnvironmentConfigError, match=r"reset options|decision row"):
        env.reset()


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=["Monitor", "Normalize", "CheckNan", "Stack"])
def test_stable_baselines_wrappers_work_on_top(wrapper):
    env = wrapper(TradingVecEnv(batch_of(3)))
    env.seed(0)
    observations = env.reset()
    assert observations.shape[0] == 3
    episodes = []
    for _ in range(15):
        observations, rewards, dones, infos = env.step(np.ones((3, 2), np.int64))
        episodes += [info["episode"] for info in infos if "episode" in info]
        for e in np.flatnonzero(dones):
            assert infos[e]["terminal_observation"].shape == observations[e].shape
    assert np.isfinite(observations).all()
    assert np.isfinite(rewards).all()
    assert all(episode["l"] <= 6 for episode in episodes)


def test_monitor_adds_up_the_rewards_of_an_episode():
    env = VecMonitor(TradingVecEnv(batch_of(1)))
    env.seed(0)
    env.reset()
    total, steps, infos = np.float32(0), 0, [{}]
    while not infos[0]:
        _, rewards, _, infos = env.step(np.ones((1, 2), np.int64))
        total, steps = total + rewards[0], steps + 1
    assert infos[0]["episode"]["r"] == total
    assert infos[0]["episode"]["l"] == steps


def test_questions_about_single_environments_are_answered():
    env = VecMonitor(TradingVecEnv(batch_of(3)))
    env.seed(0)
    env.reset()
    assert env.env_is_wrapped(VecMonitor) == [False, False, False]
    assert env.env_is_wrapped(VecMonitor, indices=[0, 2]) == [False, False]
    assert env.get_attr("action_space") == [env.action_space] * 3
    assert env.get_attr("render_mode", indices=1) == [None]
    env.set_attr("difficulty", 0)
    env.set_attr("difficulty", 4, indices=[0, -1])
    assert env.get_attr("difficulty") == [4, 0, 4]
    assert not env.has_attr("no_such_thing")
    with pytest.raises(IndexError):
        env.get_attr("difficulty", indices=3)
    with pytest.raises(AttributeError, match="no_such_thing"):
        env.env_method("no_such_thing")
    with pytest.raises(AttributeError, match="on the vector environment itself"):
        env.env_method("reset", indices=0)


def test_masks_are_those_of_each_environment():
    env = TradingVecEnv(batch_of(3))
    assert is_masking_supported(env)
    env.seed(0)
    env.reset()
    assert not env.action_masks().reshape(3, 2, 3)[:, :, 2].any()  # there is nothing to sell
    env.step(np.array([[0, 0], [1, 1], [1, 0]]))
    masks = env.action_masks()
    assert not np.array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(get_action_masks(env), masks)
    np.testing.assert_array_equal(env.env_method("action_masks", indices=[2, 0]), masks[[2, 0]])
    for e, method in enumerate(env.get_attr("action_masks")):
        np.testing.assert_array_equal(method(), masks[e])


@pytest.mark.parametrize(
    ("algorithm", "policy", "config"),
    [
        (MaskablePPO, "MlpPolicy", {}),
        (PPO, "MlpPolicy", {"portfolio": WEIGHTS}),
        (RecurrentPPO, "MlpLstmPolicy", {"window_bars": 2}),
    ],
    ids=["MaskablePPO", "PPO weights", "RecurrentPPO"],
)
def test_algorithms_of_stable_baselines_learn(algorithm, policy, config):
    env = VecMonitor(TradingVecEnv(batch_of(4, **config)))
    model = algorithm(policy, env, n_steps=32, batch_size=32, n_epochs=2, seed=0, device="cpu")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(384)
    changed = [not torch.equal(before[n], v) for n, v in model.policy.state_dict().items()]
    assert all(changed)
    assert all(bool(value.isfinite().all()) for value in model.policy.state_dict().values())
    assert model.ep_info_buffer
