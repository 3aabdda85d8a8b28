import logging

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from ploutos.agent.checkpoint import load_checkpoint, save_checkpoint
from ploutos.agent.config import RecurrentPPOConfig
from ploutos.agent.learner_state import take_snapshot
from ploutos.agent.progress import Progress
from ploutos.agent.vec_env import TradingVecEnv
from ploutos.env.scaler import Scaler
from ploutos.errors import CheckpointError, DivergedError
from tests.agent.batches import WEIGHTS, batch_of
from tests.agent.learners import LEARNERS, MEMBER, N_ENVS, ROLLOUT, SaveAt, fresh, save, trained


def assert_same(one, other):
    expected, received = one.policy.state_dict(), other.policy.state_dict()
    for name, value in expected.items():
        assert torch.equal(value, received[name]), name
    np.testing.assert_array_equal(one._last_obs, other._last_obs)


@pytest.mark.parametrize("after", [0, 2], ids=["at the start", "after two rollouts"])
@pytest.mark.parametrize("config", [{}, {"portfolio": WEIGHTS}], ids=["orders", "weights"])
@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_resuming_at_a_rollout_boundary_equals_not_having_stopped(tmp_path, learner, config, after):
    whole, batch = fresh(learner, **config)
    whole.learn(5 * ROLLOUT, callback=SaveAt(tmp_path, batch, after * ROLLOUT))
    resumed, batch = fresh(learner, seed=99, **config)
    progress = load_checkpoint(tmp_path, MEMBER, resumed, batch)
    assert progress.checks_done == 2
    assert progress.best_score == 0.25
    assert resumed.num_timesteps == after * ROLLOUT
    resumed.learn((5 - after) * ROLLOUT, reset_num_timesteps=False)
    assert_same(whole, resumed)
    np.testing.assert_array_equal(whole.env.episode_returns, resumed.env.episode_returns)
    np.testing.assert_array_equal(whole.env.episode_lengths, resumed.env.episode_lengths)


def test_going_back_in_the_same_learner_equals_not_having_gone_on(tmp_path):
    model, batch = trained(LEARNERS[1])
    save(tmp_path, model, batch)
    model.learn(2 * ROLLOUT, reset_num_timesteps=False)
    expected = {name: value.clone() for name, value in model.policy.state_dict().items()}
    load_checkpoint(tmp_path, MEMBER, model, batch)
    model.learn(2 * ROLLOUT, reset_num_timesteps=False)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(value, expected[name]), name


class CountingEnv(TradingVecEnv):
    """Counts the returns and lengths of its episodes itself, in arrays that never move."""

    def __init__(self, batch):
        super().__init__(batch)
        self.episode_returns = np.zeros(batch.n_envs, np.float64)
        self.episode_lengths = np.zeros(batch.n_envs, np.int64)

    def step_wait(self):
        observations, rewards, dones, infos = super().step_wait()
        self.episode_returns += rewards
        self.episode_lengths += 1
        self.episode_returns[dones] = self.episode_lengths[dones] = 0
        return observations, rewards, dones, infos


class SamplingPPO(PPO):
    """Draws its actions from a generator of its own."""

    def __init__(self, batch, seed):
        env = CountingEnv(batch)
        super().__init__("MlpPolicy", env, n_steps=16, batch_size=32, seed=seed, device="cpu")
        self.random = np.random.default_rng(seed)
        forward = self.policy.forward

        def sample(observations, deterministic=False):
            _, values, _ = forward(observations, deterministic)
            # Two draws of 32 bits come out of one of 64: the generator keeps the other half.
            drawn = self.random.integers(0, 3, (len(observations), 2), dtype=np.uint32)
            actions = torch.from_numpy(drawn.astype(np.int64))
            return actions, values, self.policy.get_distribution(observations).log_prob(actions)

        self.policy.forward = sample


def test_learner_with_a_generator_of_its_own_resumes_alike(tmp_path):
    batch = batch_of(N_ENVS)
    whole = SamplingPPO(batch, 3)
    whole.learn(4 * ROLLOUT, callback=SaveAt(tmp_path, batch, 3 * ROLLOUT))
    other = batch_of(N_ENVS)
    resumed = SamplingPPO(other, 4)
    where = resumed.env.episode_returns
    load_checkpoint(tmp_path, MEMBER, resumed, other)
    resumed.learn(ROLLOUT, reset_num_timesteps=False)
    assert_same(whole, resumed)
    assert resumed.random.bit_generator.state == whole.random.bit_generator.state
    assert resumed.env.episode_returns is where
    np.testing.assert_array_equal(where, whole.env.episode_returns)


def test_adam_goes_on_in_the_arrays_that_it_has(tmp_path):
    model, batch = trained(LEARNERS[0])
    save(tmp_path, model, batch)
    state = model.policy.optimizer.state
    addresses = {p: state[p]["exp_avg"].data_ptr() for p in model.policy.parameters()}
    model.learn(ROLLOUT, reset_num_timesteps=False)
    load_checkpoint(tmp_path, MEMBER, model, batch)
    assert addresses == {p: state[p]["exp_avg"].data_ptr() for p in model.policy.parameters()}


def test_no_checkpoint_means_a_fresh_start(tmp_path):
    model, batch = fresh(LEARNERS[0])
    assert load_checkpoint(tmp_path / "nowhere", MEMBER, model, batch) is None


def test_two_generations_stay(tmp_path):
    model, batch = trained(LEARNERS[0])
    for _ in range(5):
        save(tmp_path, model, batch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000004", "000005"]


def test_damaged_newest_generation_falls_back_to_the_one_before(tmp_path, caplog):
    model, batch = trained(LEARNERS[0])
    save(tmp_path, model, batch)
    model.learn(ROLLOUT, reset_num_timesteps=False)
    newest = save(tmp_path, model, batch)
    data = bytearray((newest / "state.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "state.safetensors").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        load_checkpoint(tmp_path, MEMBER, model, batch)
    assert model.num_timesteps == ROLLOUT
    assert "expected SHA-256" in caplog.text
    assert not newest.exists()
    assert save(tmp_path, model, batch).name == "000002"


def test_checkpoints_that_are_all_damaged_are_refused(tmp_path):
    model, batch = trained(LEARNERS[0])
    for _ in range(2):
        (save(tmp_path, model, batch) / "state.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)000002.*000001.*regular file"):
        load_checkpoint(tmp_path, MEMBER, model, batch)


def test_snapshot_does_not_follow_the_learner(tmp_path):
    model, batch = trained(LEARNERS[1])
    snapshot = take_snapshot(model, batch, Progress())
    before = {name: value.clone() for name, value in snapshot.tensors.items()}
    model.learn(ROLLOUT, reset_num_timesteps=False)
    for name, value in snapshot.tensors.items():
        assert torch.equal(value, before[name]), name


def test_checkpoint_of_another_member_is_refused(tmp_path):
    model, batch = trained(LEARNERS[0])
    save(tmp_path, model, batch, member="b" * 64)
    with pytest.raises(CheckpointError, match="put here from elsewhere"):
        load_checkpoint(tmp_path, MEMBER, model, batch)


def test_checkpoint_with_another_scaler_is_refused(tmp_path):
    model, batch = trained(LEARNERS[0])
    save(tmp_path, model, batch)
    other, other_batch = fresh(LEARNERS[0])
    arrays = dict(zip(Scaler._fields, (a.copy() for a in other_batch.scaler), strict=True))
    arrays["center"][1] = np.nextafter(arrays["center"][1], 1, dtype=np.float32)
    other_batch.scaler = Scaler(**arrays)
    with pytest.raises(CheckpointError, match=r"expected the scaler\.center that the member"):
        load_checkpoint(tmp_path, MEMBER, other, other_batch)


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 0)])
def test_checkpoint_of_another_algorithm_is_refused(tmp_path, one, other):
    save(tmp_path, *trained(LEARNERS[one]))
    with pytest.raises(CheckpointError, match="another kind of learner"):
        load_checkpoint(tmp_path, MEMBER, *fresh(LEARNERS[other]))


def test_checkpoint_of_another_network_is_refused_before_its_tensors_are_read(tmp_path):
    save(tmp_path, *trained(LEARNERS[1]))
    other = RecurrentPPOConfig(n_epochs=2, net_arch=(8,), lstm_hidden_size=7)
    with pytest.raises(CheckpointError, match="tensors differ"):
        load_checkpoint(tmp_path, MEMBER, *fresh(other))


def test_environments_outside_their_rows_are_refused(tmp_path):
    # Compiled code would read the market there without asking.
    for name, row in (("row", 10**6), ("row", -1), ("stop", 10**6)):
        model, batch = trained(LEARNERS[0])
        snapshot = take_snapshot(model, batch, Progress())
        snapshot.tensors[f"batch.episodes.{name}"][1] = row
        save_checkpoint(tmp_path, MEMBER, snapshot)
        with pytest.raises(CheckpointError, match="expected environments between rows 5 and 56"):
            load_checkpoint(tmp_path, MEMBER, model, batch)


@pytest.mark.parametrize(
    "name", ["policy.action_net.bias", "adam.0.exp_avg", "batch.accounts.cash"]
)
def test_numbers_that_are_not_finite_are_not_saved(tmp_path, name):
    model, batch = trained(LEARNERS[0])
    save(tmp_path, model, batch)
    snapshot = take_snapshot(model, batch, Progress())
    snapshot.tensors[name].view(-1)[0] = np.nan
    with pytest.raises(DivergedError, match=f"{name} is not finite after 64 steps"):
        save_checkpoint(tmp_path, MEMBER, snapshot)
    assert load_checkpoint(tmp_path, MEMBER, model, batch) is not None


def test_generator_of_another_kind_is_refused(tmp_path):
    batch = batch_of(N_ENVS)
    model = SamplingPPO(batch, 3)
    model.learn(ROLLOUT)
    snapshot = take_snapshot(model, batch, Progress())
    state = dict(snapshot.numbers.generator) | {"bit_generator": "MT19937"}
    numbers = snapshot.numbers.model_copy(update={"generator": state})
    save_checkpoint(tmp_path, MEMBER, snapshot._replace(numbers=numbers))
    with pytest.raises(CheckpointError, match="random states that fit"):
        load_checkpoint(tmp_path, MEMBER, model, batch)
