"""RecurrentPPO against sb3-contrib's own: the same numbers, from the same seeds."""

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecMonitor
from torch import nn

from ploutos.agent.extractor import MarketExtractor
from ploutos.agent.market_rows import MarketSource
from ploutos.agent.recurrent import OneCallLstmPolicy
from ploutos.agent.recurrent_minibatches import whole_sequences
from ploutos.agent.recurrent_ppo import RecurrentPPO
from ploutos.agent.vec_env import TradingVecEnv
from tests.agent.batches import WEIGHTS, batch_of
from tests.agent.recall import Recall

DISCRETE = gym.spaces.Discrete(3)
MULTI = gym.spaces.MultiDiscrete([3, 3])
UNLIKE = gym.spaces.MultiDiscrete([2, 3])
BOX = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = [DISCRETE, MULTI, UNLIKE, BOX]
SIDES = {
    "two LSTMs": {},
    "shared LSTM": {"shared_lstm": True, "enable_critic_lstm": False},
    "critic without LSTM": {"enable_critic_lstm": False},
    "two layers": {"n_lstm_layers": 2},
    "own extractors": {"share_features_extractor": False},
}
TOLERANCE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small only wait for a second thread."""
    allowed = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(allowed)


class Hidden(BaseFeaturesExtractor):
    """An extractor with parameters, so that gradients go on below the LSTMs."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 5)
        self.layer = nn.Linear(observation_space.shape[0], 5)

    def forward(self, observations):
        return torch.tanh(self.layer(observations))


def recall(action_space=DISCRETE, n_envs=5, dictionary=False):
    """Return environments whose episodes end at different times, two in three by truncation."""
    return VecMonitor(
        DummyVecEnv(
            [
                lambda e=e: Recall(action_space, 1, 5 + 3 * e, e % 3 > 0, dictionary=dictionary)
                for e in range(n_envs)
            ]
        )
    )


def model_of(cls, env, policy="MlpLstmPolicy", policy_kwargs=None, **arguments):
    layers = {"lstm_hidden_size": 6, "net_arch": [8], **(policy_kwargs or {})}
    given = {"n_steps": 16, "batch_size": 28, "n_epochs": 2, "seed": 3, "device": "cpu"}
    model = cls(policy, env, policy_kwargs=layers, **(given | arguments))
    model.set_logger(Recorder())
    return model


class Recorder(Logger):
    """A logger that keeps what it was given at every dump."""

    def __init__(self):
        super().__init__(None, [])
        self.kept = []

    def dump(self, step=0):
        self.kept.append(dict(self.name_to_value))
        super().dump(step)


def pair(make_env, **arguments):
    """Return ours and sb3-contrib's."""
    return [
        model_of(cls, make_env(), **arguments) for cls in (RecurrentPPO, sb3_contrib.RecurrentPPO)
    ]


def assert_same(ours, theirs, **tolerance):
    parameters = theirs.policy.state_dict()
    for name, value in ours.policy.state_dict().items():
        torch.testing.assert_close(value, parameters[name], **(TOLERANCE | tolerance), msg=name)


def assert_same_logs(ours, theirs):
    assert len(ours.logger.kept) == len(theirs.logger.kept) > 1
    skipped = ("time/fps", "time/time_elapsed")
    for one, other in zip(ours.logger.kept, theirs.logger.kept, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - set(skipped):
            assert one[key] == pytest.approx(other[key], rel=1e-3, abs=2e-5), key


def learn(model, steps, **arguments):
    model.set_random_seed(3)  # one model after another draws from the same global generators
    model.learn(steps, **arguments)


def learned(make_env, steps=4, **arguments):
    ours, theirs = pair(make_env, **arguments)
    for model in (ours, theirs):
        learn(model, steps * model.n_steps * model.n_envs)
    assert ours.num_timesteps == theirs.num_timesteps
    returns = [[one["r"] for one in model.ep_info_buffer] for model in (ours, theirs)]
    np.testing.assert_allclose(*returns, atol=1e-4)
    assert_same(ours, theirs)
    assert_same_logs(ours, theirs)
    return ours, theirs


@pytest.mark.parametrize("action_space", ACTIONS, ids=lambda space: type(space).__name__)
def test_learning_gives_the_parameters_of_sb3_contrib(action_space):
    ours, _ = learned(lambda: recall(action_space))
    assert isinstance(ours.policy, OneCallLstmPolicy)


@pytest.mark.parametrize("policy_kwargs", SIDES.values(), ids=SIDES)
def test_every_kind_of_critic_learns_as_in_sb3_contrib(policy_kwargs):
    policy_kwargs = {"features_extractor_class": Hidden} | policy_kwargs
    learned(recall, policy_kwargs=policy_kwargs)


@pytest.mark.parametrize(
    "arguments",
    [
        {"clip_range_vf": 0.1, "ent_coef": 0.02, "normalize_advantage": False},
        {"target_kl": 1e-4, "learning_rate": 0.02},
        {"batch_size": None, "clip_range": lambda left: 0.3 * left},
        {"policy_kwargs": {"optimizer_class": torch.optim.RMSprop}},
    ],
    ids=["clipped values", "target_kl", "one batch", "another optimizer"],
)
def test_other_arguments_mean_what_they_mean_in_sb3_contrib(arguments):
    learned(lambda: recall(MULTI), **arguments)


def test_state_dependent_exploration_learns_as_in_sb3_contrib():
    learned(lambda: recall(BOX), use_sde=True, sde_sample_freq=4)


@pytest.mark.parametrize("config", [{}, {"portfolio": WEIGHTS}, {"window_bars": 2}])
def test_trading_environments_learn_as_in_sb3_contrib(config):
    learned(lambda: VecMonitor(TradingVecEnv(batch_of(12, **config))), batch_size=64)


def test_market_by_reference_learns_as_in_sb3_contrib():
    batch = batch_of(12, by_reference=True)
    source = MarketSource(batch.market, batch.scaler, batch.setup.window_bars)
    layer = {
        "features_extractor_class": MarketExtractor,
        "features_extractor_kwargs": {"width": 5, "source": source},
    }
    learned(
        lambda: VecMonitor(TradingVecEnv(batch_of(12, by_reference=True))),
        policy_kwargs=layer,
        batch_size=64,
    )


def train(model):
    np.random.seed(0)  # noqa: NPY002 - sb3-contrib draws from the global generator
    model.train()


def filled(model, from_model=None):
    """Fill a model's buffer, or give it the buffer of another one."""
    model.set_random_seed(3)
    _, callback = model._setup_learn(10**6, None)
    if from_model is None:
        model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    else:
        model.rollout_buffer = from_model.rollout_buffer
    return model


@pytest.mark.parametrize("action_space", [DISCRETE, MULTI, BOX], ids=lambda s: type(s).__name__)
def test_same_minibatch_has_the_same_loss_and_gradient(action_space):
    # With plain descent at rate 1 the change of the parameters is the clipped gradient itself.
    descent = {
        "policy_kwargs": {"optimizer_class": torch.optim.SGD, "features_extractor_class": Hidden},
        "learning_rate": 1.0,
        "max_grad_norm": 1e9,
        "ent_coef": 0.1,
    }
    ours, theirs = pair(lambda: recall(action_space), n_epochs=1, batch_size=None, **descent)
    filled(ours)
    filled(theirs, ours)
    for model in (ours, theirs):
        train(model)
    assert_same(ours, theirs, atol=1e-6)
    for name in ("train/loss", "train/value_loss", "train/entropy_loss", "train/approx_kl"):
        one, other = (model.logger.name_to_value[name] for model in (ours, theirs))
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


def test_same_buffer_gives_the_same_update():
    ours, theirs = pair(lambda: recall(MULTI), n_epochs=5)
    filled(ours)
    filled(theirs, ours)
    for model in (ours, theirs):  # sb3-contrib last: it puts the buffer into another order
        train(model)
    assert_same(ours, theirs, atol=1e-6)
    again = filled(model_of(RecurrentPPO, recall(MULTI), n_epochs=5), ours)
    train(again)
    assert_same(again, ours, atol=0)


def test_number_of_threads_changes_nothing():
    models = [model_of(RecurrentPPO, recall(MULTI, 20), batch_size=200) for _ in range(2)]
    models[1].policy.load_state_dict(models[0].policy.state_dict())
    for n_threads, model in zip((1, 2), models, strict=True):
        torch.set_num_threads(n_threads)
        model.set_random_seed(1)
        model.learn(3 * 16 * 20)
        assert torch.get_num_threads() == n_threads
    assert_same(*models, atol=0)


def test_truncated_episodes_are_bootstrapped_as_in_sb3_contrib():
    ours, theirs = (filled(model).rollout_buffer for model in pair(recall))
    bootstrapped = theirs.rewards != theirs.rewards.round()
    assert 3 <= bootstrapped.sum() < theirs.rewards.size / 2
    for name in ("rewards", "values", "advantages", "hidden_states_vf", "cell_states_pi"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=2e-6)
    for name in ("observations", "actions", "episode_starts"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


class OnlyEnded(VecEnvWrapper):
    """Has no infos for environments whose episode goes on."""

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        observations, rewards, dones, infos = self.venv.step_wait()
        ended = np.flatnonzero(dones).tolist()
        return observations, rewards, dones, {e: infos[e] for e in ended}


def test_only_infos_of_ended_episodes_are_looked_at():
    model = model_of(RecurrentPPO, OnlyEnded(recall()))
    model.learn(100)
    assert len(model.ep_info_buffer) > 5


class Locals(BaseCallback):
    def __init__(self, steps):
        super().__init__()
        self.steps, self.names, self.rewards = steps, set(), []

    def _on_step(self):
        self.names |= set(self.locals)
        self.rewards.append(self.locals["rewards"].copy())
        return self.n_calls < self.steps


def test_callbacks_see_what_they_see_in_sb3_contrib_and_can_stop():
    seen = []
    for model in pair(lambda: recall(BOX)):
        callback = Locals(21)
        learn(model, 10**6, callback=callback)
        assert model.num_timesteps == 21 * 5
        seen.append(callback)
    ours, theirs = seen
    inner = {"idx", "done_", "terminal_obs", "terminal_lstm_state", "terminal_value"}
    assert theirs.names - inner <= ours.names
    np.testing.assert_allclose(ours.rewards, theirs.rewards, atol=1e-6)


def test_states_between_rollouts_are_those_of_sb3_contrib():
    ours, theirs = learned(recall, policy_kwargs={"n_lstm_layers": 2})
    assert isinstance(ours._last_lstm_states, RNNStates)
    for one, other in zip(ours._last_lstm_states, theirs._last_lstm_states, strict=True):
        for state, expected in zip(one, other, strict=True):
            torch.testing.assert_close(state, expected, rtol=0, atol=1e-5)


def predictions(model):
    env, state, found = recall(MULTI), None, []
    env.seed(0)
    observation, start = env.reset(), np.ones(5, bool)
    for _ in range(20):
        action, state = model.predict(observation, state, start, deterministic=True)
        observation, _, start, _ = env.step(action)
        found.append(action)
    return np.stack(found), state


def test_saved_model_predicts_and_goes_on_as_the_one_that_was_saved(tmp_path):
    model = model_of(RecurrentPPO, recall(MULTI), minibatches=whole_sequences)
    model.learn(160)
    model.save(tmp_path / "ours.zip")
    loaded = RecurrentPPO.load(tmp_path / "ours.zip", recall(MULTI))
    assert loaded.minibatches is whole_sequences
    for one, other in zip(predictions(loaded), predictions(model), strict=True):
        np.testing.assert_array_equal(one, other)
    for again in (model, loaded):
        again.env = recall(MULTI)
        again.set_random_seed(5)
        again.set_logger(Recorder())
        again.learn(160)
    assert_same(loaded, model, atol=0)


def test_models_of_sb3_contrib_can_be_loaded_and_read_ours(tmp_path):
    ours, theirs = learned(lambda: recall(MULTI))
    ours.save(tmp_path / "ours.zip")
    theirs.save(tmp_path / "theirs.zip")
    for reader, path in ((RecurrentPPO, "theirs.zip"), (sb3_contrib.RecurrentPPO, "ours.zip")):
        loaded = reader.load(tmp_path / path, recall(MULTI))
        loaded.set_logger(Recorder())
        assert_same(loaded, theirs)
        loaded.learn(80)


class Louder(RecurrentActorCriticPolicy):
    """A policy of somebody's own, which sees twice of what there is."""

    def evaluate_actions(self, obs, actions, lstm_states, episode_starts):
        return super().evaluate_actions(2 * obs, actions, lstm_states, episode_starts)


@pytest.mark.parametrize("policy", ["MultiInputLstmPolicy", Louder, "dropout"])
def test_what_is_not_computed_here_is_left_to_sb3_contrib(policy, caplog):
    arguments = {"policy": policy}
    if policy == "dropout":
        extras = {"n_lstm_layers": 2, "lstm_kwargs": {"dropout": 0.5}}
        arguments = {"policy_kwargs": extras}
    ours, theirs = pair(lambda: recall(dictionary=policy == "MultiInputLstmPolicy"), **arguments)
    assert "sb3-contrib's own" in caplog.text
    for model in (ours, theirs):
        learn(model, 160)
    if policy == "dropout":  # our default policy makes other calls
        return
    assert_same(ours, theirs, atol=0)


def recalling(cls, seed, **arguments):
    """Return a learner of what can be recalled in 7 of an episode's 8 steps, one in 3 by chance."""
    env = VecMonitor(DummyVecEnv([lambda: Recall(DISCRETE, 1, 8, True)] * 16))
    layers = {"lstm_hidden_size": 16, "net_arch": [16]}
    rates = {"learning_rate": 5e-3, "gamma": 0.5, "n_epochs": 4, "batch_size": 128}
    return model_of(cls, env, policy_kwargs=layers, seed=seed, **rates, **arguments)


def mean_return(model, steps):
    model.learn(steps, reset_num_timesteps=False)
    return np.mean([one["r"] for one in model.ep_info_buffer])


def test_whole_sequences_learn_to_remember_as_fast_as_sb3_contrib():
    # Half-way: 3000 steps take both from 2.3 to about 5, 6000 steps to 7.
    whole = {"minibatches": whole_sequences}
    ours = [mean_return(recalling(RecurrentPPO, seed, **whole), 3000) for seed in range(5)]
    theirs = [mean_return(recalling(sb3_contrib.RecurrentPPO, seed), 3000) for seed in range(5)]
    assert 4 < min(theirs) < max(theirs) < 6
    assert abs(np.mean(ours) - np.mean(theirs)) < np.ptp(theirs)
    assert np.ptp(ours) < 1


def test_whole_sequences_learn_to_remember():
    assert mean_return(recalling(RecurrentPPO, 0, minibatches=whole_sequences), 6000) > 6.8
