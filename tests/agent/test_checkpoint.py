import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from ploutos.agent.checkpoint import Progress, load_checkpoint, save_checkpoint
from ploutos.agent.config import PPOConfig, RecurrentPPOConfig
from ploutos.agent.learner import build_learner
from ploutos.errors import CheckpointError
from tests.agent.batches import WEIGHTS, batch_of

LEARNERS = [
    PPOConfig(n_epochs=2, net_arch=(8,)),
    RecurrentPPOConfig(n_epochs=2, net_arch=(8,), lstm_hidden_size=6),
]


def fresh(learner, seed=0, **config):
    batch = batch_of(4, **({"episode_bars": 11} | config))
    return build_learner(batch, learner, (16, 32), seed), batch


class SaveAt(BaseCallback):
    def __init__(self, folder, batch, steps):
        super().__init__()
        self.folder, self.batch, self.steps = folder, batch, steps

    def _on_rollout_start(self):
        if self.model.num_timesteps == self.steps:
            save_checkpoint(self.folder, self.model, self.batch, Progress(checks_done=2))

    def _on_step(self):
        return True


@pytest.mark.parametrize("config", [{}, {"portfolio": WEIGHTS}], ids=["orders", "weights"])
@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
def test_resuming_at_a_rollout_boundary_equals_not_having_stopped(tmp_path, learner, config):
    whole, batch = fresh(learner, **config)
    whole.learn(5 * 64, callback=SaveAt(tmp_path, batch, 2 * 64))
    resumed, batch = fresh(learner, seed=99, **config)
    progress = load_checkpoint(tmp_path, resumed, batch)
    assert progress is not None
    assert progress.checks_done == 2
    assert resumed.num_timesteps == 2 * 64
    resumed.learn(3 * 64, reset_num_timesteps=False)
    expected, received = whole.policy.state_dict(), resumed.policy.state_dict()
    for name, value in expected.items():
        assert torch.equal(value, received[name]), name
    np.testing.assert_array_equal(whole._last_obs, resumed._last_obs)


def test_no_checkpoint_means_a_fresh_start(tmp_path):
    model, batch = fresh(LEARNERS[0])
    assert load_checkpoint(tmp_path, model, batch) is None


def test_only_the_newest_checkpoint_stays(tmp_path):
    model, batch = fresh(LEARNERS[0])
    model.learn(64)
    save_checkpoint(tmp_path, model, batch, Progress())
    model.learn(64, reset_num_timesteps=False)
    save_checkpoint(tmp_path, model, batch, Progress())
    assert [path.name for path in tmp_path.glob("steps-*")] == ["steps-000000000128.safetensors"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_checkpoint_is_refused(tmp_path, damage):
    model, batch = fresh(LEARNERS[0])
    model.learn(64)
    save_checkpoint(tmp_path, model, batch, Progress())
    path = next(tmp_path.glob("steps-*"))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "truncate":
        path.write_bytes(data[:-7])
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match=r"expected (SHA-256|a tensor file)"):
        load_checkpoint(tmp_path, model, batch)
