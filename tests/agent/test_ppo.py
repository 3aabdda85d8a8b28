"""The oracle is Stable-Baselines3's own PPO: same buffer, same seed, same minibatches."""

import io

import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from ploutos.agent.fused.gradient import n_parts
from ploutos.agent.ppo import PPO
from ploutos.errors import DivergedError
from tests.agent.fused.rollouts import ACTIONS, CHOICES, both, fill, learner

pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of")

VARIANTS = {
    "defaults": {},
    "last minibatch of one": {"batch_size": 127},
    "value clipping": {"clip_range_vf": 0.1},
    "no normalisation": {"normalize_advantage": False},
    "entropy, value, norm": {"ent_coef": 0.03, "vf_coef": 0.9, "max_grad_norm": 0.05},
    "schedules": {"learning_rate": lambda left: 1e-3 * left, "clip_range": lambda left: 0.1 * left},
    "towers of their own": {
        "policy_kwargs": {"net_arch": {"pi": [9, 5], "vf": [12]}, "activation_fn": nn.ReLU}
    },
    "Adam": {"policy_kwargs": {"optimizer_kwargs": {"betas": (0.8, 0.99), "eps": 1e-3}}},
}


def assert_alike(one, other, tolerance):
    expected, received = one.policy.state_dict(), other.policy.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(received[name], value, rtol=0, atol=tolerance, msg=name)


def update(model, number=0, **filling):
    fill(model.rollout_buffer, number, **filling)
    np.random.seed(number)  # noqa: NPY002 - SB3 shuffles with the global generator
    model.train()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("action_space", ACTIONS, ids=["Discrete", "MultiDiscrete", "Box"])
def test_an_update_gives_sb3s_parameters_moments_and_logs(action_space, variant):
    models = both(action_space, **VARIANTS[variant])
    for round_number in range(2):
        for model in models:
            update(model, round_number)
    sb3s, ours = models
    assert ours.torch_because is None
    assert_alike(sb3s, ours, 1e-5)
    for one, other in zip(sb3s.policy.parameters(), ours.policy.parameters(), strict=True):
        theirs, own = (m.policy.optimizer.state[p] for m, p in ((sb3s, one), (ours, other)))
        torch.testing.assert_close(own["exp_avg_sq"], theirs["exp_avg_sq"], rtol=1e-3, atol=1e-8)
        assert own["step"] == theirs["step"]
    logs = [model.logger.name_to_value for model in models]
    assert logs[0].keys() == logs[1].keys()
    for name, value in logs[0].items():
        assert logs[1][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_divergence_past_the_target_stops_before_the_step():
    models = both(CHOICES, target_kl=0.001, n_epochs=6)
    for model in models:
        update(model, spread=0.05)
    assert models[0]._n_updates == models[1]._n_updates < 6
    assert_alike(*models, 1e-5)


def test_large_minibatches_do_not_depend_on_the_number_of_threads():
    models = [learner(PPO, CHOICES, n_steps=600, batch_size=2400, n_epochs=2) for _ in range(3)]
    models[1].n_threads, models[2].n_threads = 2, 3
    assert n_parts(2400) == 2
    for model in models:
        update(model)
    assert_alike(models[0], models[1], 0)
    assert_alike(models[0], models[2], 0)


def test_rollout_holds_what_torch_says_of_its_own_actions():
    for action_space in ACTIONS:
        model = learner(PPO, action_space, n_epochs=1)
        buffers = []
        model.train = lambda model=model, buffers=buffers: buffers.append(model.rollout_buffer)
        model.learn(128)
        (buffer,) = buffers
        shape = (128, -1)
        observations = torch.from_numpy(buffer.observations.reshape(shape))
        actions = torch.from_numpy(buffer.actions.reshape(shape))
        if isinstance(action_space, spaces.Discrete):
            actions = actions.flatten()
        with torch.no_grad():
            values, log_prob, _ = model.policy.evaluate_actions(observations, actions)
        np.testing.assert_allclose(buffer.values.reshape(-1), values[:, 0], atol=1e-5)
        np.testing.assert_allclose(buffer.log_probs.reshape(-1), log_prob, atol=1e-5)


def draw_as_torch_does(model):
    """Let a model take its actions from torch's generator, as SB3 does."""
    trainer = model._compiled()
    own = trainer.act

    def act(observation, draws, out):
        own(observation, draws, out)
        with torch.no_grad():
            actions, _, log_prob = model.policy(torch.from_numpy(observation))
        out.action[:] = actions.reshape(out.action.shape)
        out.log_prob[:] = log_prob

    trainer.act = act


@pytest.mark.parametrize("action_space", ACTIONS, ids=["Discrete", "MultiDiscrete", "Box"])
def test_whole_training_with_the_same_draws_is_sb3s(action_space):
    """Rewards of truncated episodes, advantages, updates, over rollouts that cut episodes."""
    models = both(action_space)
    draw_as_torch_does(models[1])
    for model in models:
        model.set_random_seed(0)
        model.learn(3 * 128)
    assert_alike(*models, 1e-4)
    one, other = (model.rollout_buffer for model in models)
    np.testing.assert_allclose(
        other.returns.reshape(32, 4).T.reshape(-1), one.returns.reshape(-1), atol=1e-3
    )
    assert models[0].ep_info_buffer == models[1].ep_info_buffer
    assert models[0].num_timesteps == models[1].num_timesteps


def test_same_seed_gives_the_same_parameters_and_another_one_others():
    models = [learner(PPO, CHOICES, seed=seed).learn(256) for seed in (1, 1, 2)]
    assert_alike(models[0], models[1], 0)
    with pytest.raises(AssertionError):
        assert_alike(models[0], models[2], 1e-3)


def test_saved_and_loaded_model_predicts_and_goes_on_alike(tmp_path):
    model = learner(PPO, CHOICES).learn(256)
    model.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", env=model.env, device="cpu")
    loaded.set_logger(model.logger)
    assert_alike(model, loaded, 0)
    observation = model.env.reset()
    np.testing.assert_array_equal(
        model.predict(observation, deterministic=True)[0],
        loaded.predict(observation, deterministic=True)[0],
    )
    for one in (model, loaded):
        update(one)
    assert_alike(model, loaded, 0)


def test_sb3_loads_what_we_saved():
    model, file = learner(PPO, CHOICES).learn(256), io.BytesIO()
    model.save(file)
    file.seek(0)
    theirs = stable_baselines3.PPO.load(
        file, custom_objects={"rollout_buffer_class": RolloutBuffer}, device="cpu"
    )
    assert_alike(model, theirs, 0)


class Watch(BaseCallback):
    """Notes what it is shown, and stops after some steps."""

    def __init__(self, stop_at):
        super().__init__()
        self.stop_at, self.seen, self.shown, self.rollouts = stop_at, 0, set(), 0

    def _on_rollout_start(self):
        self.rollouts += 1

    def _on_step(self):
        self.seen += 1
        self.shown |= self.locals.keys()
        return self.seen < self.stop_at


def test_callbacks_see_sb3s_locals_and_may_stop():
    watches = []
    for kind in (stable_baselines3.PPO, PPO):
        watch = Watch(40)
        learner(kind, CHOICES).learn(1024, callback=watch)
        watches.append(watch)
    assert [(w.seen, w.rollouts) for w in watches] == [(40, 2), (40, 2)]
    for name in ("rewards", "dones", "infos", "actions", "new_obs", "n_steps", "env"):
        assert name in watches[0].shown & watches[1].shown, name


@pytest.mark.parametrize("name", ["returns", "advantages", "observations", "log_probs"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stops_training_before_the_weights_change(name, value):
    model = learner(PPO, CHOICES, batch_size=128, n_epochs=1)
    fill(model.rollout_buffer)
    getattr(model.rollout_buffer, name)[3, 2] = value
    before = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    with pytest.raises(DivergedError, match="parameters were left"):
        model.train()
    for key, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, before[key]), key


def test_other_policies_are_trained_by_torch_as_sb3_does():
    models = both(CHOICES, policy_kwargs={"activation_fn": nn.ELU})
    for model in models:
        model.set_random_seed(0)
        model.learn(256)
    assert "tanh or ReLU" in models[1].torch_because
    assert_alike(*models, 1e-5)


def test_custom_rollout_buffer_is_kept():
    class Own(RolloutBuffer):
        pass

    model = learner(PPO, CHOICES, rollout_buffer_class=Own)
    assert type(model.rollout_buffer) is Own
    model.learn(256)
    assert model.torch_because is None
