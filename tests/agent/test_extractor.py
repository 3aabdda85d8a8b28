import copy
import pickle

import numpy as np
import pytest
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from ploutos.agent import market_rows
from ploutos.agent.config import PPOConfig, RecurrentPPOConfig, RowEncoder, TrainConfig
from ploutos.agent.extractor import MarketExtractor
from ploutos.agent.learner import build_learner
from ploutos.agent.market_rows import MarketSource
from ploutos.agent.recurrent import OneCallLstmPolicy
from ploutos.agent.vec_env import TradingVecEnv
from ploutos.block import SharedDataManager
from ploutos.env.config import EnvConfig
from ploutos.errors import PolicyError
from ploutos.panel import save_panel
from tests.agent.batches import WEIGHTS, batch_of, panel_with_gaps, scaler_of
from tests.agent.observations import (
    PANEL,
    assert_close,
    gradients,
    pair_of_batches,
    pair_of_observations,
    source_of,
)

WIDTH = 5
WINDOWS = pytest.mark.parametrize("window", [1, 3])
LEARNERS = [
    PPOConfig(n_epochs=2, net_arch=(8,), encoder=RowEncoder(width=WIDTH)),
    RecurrentPPOConfig(
        n_epochs=2, net_arch=(8,), lstm_hidden_size=6, encoder=RowEncoder(width=WIDTH)
    ),
]


def pair_of_extractors(window, activation=torch.nn.Tanh):
    spaces = [batch.observation_space for batch in pair_of_batches(window)]
    extractors = []
    for space, source in zip(spaces, (None, source_of(window)), strict=True):
        torch.manual_seed(3)
        extractors.append(MarketExtractor(space, WIDTH, source, activation))
    return extractors


@WINDOWS
def test_market_values_have_the_bits_of_the_observation_by_value(window):
    values, references = pair_of_observations(window)
    rows = pair_of_extractors(window)[1].rows
    numbers = references[:, 0].numpy().astype(np.int64)
    windows = [rows.gather(np.arange(n - window + 1, n + 1)).ravel() for n in numbers]
    market = values[:, : window * rows.length].numpy()
    assert np.stack(windows).tobytes() == np.ascontiguousarray(market).tobytes()
    np.testing.assert_array_equal(values[:, window * rows.length :], references[:, 1:])


def test_parameters_are_the_same_and_move_between_both_forms():
    by_value, by_reference = pair_of_extractors(3)
    for (name, one), (other_name, other) in zip(
        by_value.named_parameters(), by_reference.named_parameters(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)
    with torch.no_grad():
        by_value.linear.weight += 1.0
    by_reference.load_state_dict(by_value.state_dict())
    assert torch.equal(by_reference.linear.weight, by_value.linear.weight)


@pytest.mark.parametrize("activation", [None, torch.nn.Tanh, torch.nn.ReLU])
@WINDOWS
def test_both_forms_give_the_same_features_and_gradients(window, activation):
    observations = pair_of_observations(window)
    extractors = pair_of_extractors(window, activation)
    outputs = [e(o) for e, o in zip(extractors, observations, strict=True)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
    for output in outputs:
        output.square().sum().backward()
    assert_close(gradients(extractors[1]), gradients(extractors[0]), 1e-5)


@WINDOWS
def test_in_double_precision_both_forms_agree_to_twelve_digits(window):
    observations = [one.double() for one in pair_of_observations(window)]
    extractors = [one.double() for one in pair_of_extractors(window)]
    outputs = [e(o) for e, o in zip(extractors, observations, strict=True)]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-13)
    for output in outputs:
        output.pow(3).sum().backward()
    assert_close(gradients(extractors[1]), gradients(extractors[0]), 1e-12)


def test_gradient_is_that_of_finite_differences():
    _, references = pair_of_observations(3, steps=6)
    layer = pair_of_extractors(3)[1].double()
    accounts = references[:, 1:].double().requires_grad_()
    weight, bias = layer.linear.weight.detach(), layer.linear.bias.detach()

    def features(weight, bias, accounts):
        observations = torch.cat([references[:, :1].double(), accounts], dim=1)
        parameters = {"linear.weight": weight, "linear.bias": bias}
        return torch.func.functional_call(layer, parameters, (observations,))

    assert torch.autograd.gradcheck(
        features, (weight.requires_grad_(), bias.requires_grad_(), accounts)
    )


@WINDOWS
def test_gathering_in_small_parts_changes_nothing(window, monkeypatch):
    _, references = pair_of_observations(window)
    found = []
    for size in (market_rows.PART_BYTES, 400, 1):
        monkeypatch.setattr(market_rows, "PART_BYTES", size)
        layer = pair_of_extractors(window)[1].double()
        features = layer(references.double())
        features.square().sum().backward()
        found.append({"features": features.detach(), **gradients(layer)})
    assert_close(found[1], found[0], 1e-13)
    assert_close(found[2], found[0], 1e-13)


def test_window_before_the_first_row_is_empty():
    layer = pair_of_extractors(3)[1]
    row, account = torch.zeros(1, 1), torch.ones(1, layer.linear.weight.shape[1] - 3 * 12)
    features = layer(torch.cat([row, account], dim=1))
    market = torch.from_numpy(layer.rows.gather(np.arange(-2, 1)).ravel())
    assert not market[:24].any()
    expected = torch.tanh(layer.linear(torch.cat([market, account[0]])[None]))
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-6)


def policies_of(kind, window):
    """Return a policy by value and one by reference with the same parameters."""
    found = []
    for batch, source in zip(pair_of_batches(window), (None, source_of(window)), strict=True):
        torch.manual_seed(5)
        arguments = {"lstm_hidden_size": 6} if kind is OneCallLstmPolicy else {}
        found.append(
            kind(
                batch.observation_space,
                batch.action_space,
                lambda _: 1e-3,
                net_arch=[8],
                features_extractor_class=MarketExtractor,
                features_extractor_kwargs={"width": WIDTH, "source": source},
                **arguments,
            )
        )
    for (name, one), other in zip(
        found[0].state_dict().items(), found[1].state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    return found


@pytest.mark.parametrize("kind", [ActorCriticPolicy, OneCallLstmPolicy])
@WINDOWS
def test_policies_have_the_same_outputs_and_gradients(kind, window):
    results = []
    for policy, observations in zip(
        policies_of(kind, window), pair_of_observations(window), strict=True
    ):
        n = len(observations)
        rest = []
        if kind is OneCallLstmPolicy:
            pair = (torch.full((1, 4, 6), 0.3), torch.full((1, 4, 6), -0.2))
            starts = torch.zeros(4, n // 4)
            starts[1, 0] = 1.0
            rest = [RNNStates(pair, pair), starts.flatten()]
        actions = torch.arange(2 * n).reshape(n, 2) % 3
        value, log_probability, entropy = policy.evaluate_actions(observations, actions, *rest)
        (value.square() + log_probability.exp() + entropy).mean().backward()
        outputs = {"value": value, "log": log_probability, "entropy": entropy}
        results.append(({k: v.detach() for k, v in outputs.items()}, gradients(policy)))
    assert_close(results[1][0], results[0][0], 1e-6)
    assert_close(results[1][1], results[0][1], 1e-6)


@pytest.mark.parametrize("config", [{}, {"portfolio": WEIGHTS}], ids=["orders", "weights"])
@pytest.mark.parametrize("learner", LEARNERS, ids=["PPO", "RecurrentPPO"])
@WINDOWS
def test_one_update_by_reference_gives_the_parameters_of_one_by_value(learner, window, config):
    models = []
    for batch in pair_of_batches(window, **config):
        model = build_learner(batch, learner, (16, 32), 7)
        model.learn(64)
        models.append(model)
    assert models[1].rollout_buffer.observations.shape[-1] == 1 + 12
    for name, value in models[0].policy.state_dict().items():
        torch.testing.assert_close(
            models[1].policy.state_dict()[name], value, rtol=0, atol=1e-5, msg=name
        )


def test_buffer_of_a_training_by_reference_holds_row_numbers():
    env = TradingVecEnv(batch_of(4, PANEL, window_bars=3, by_reference=True))
    arguments = {
        "features_extractor_class": MarketExtractor,
        "features_extractor_kwargs": {"width": WIDTH, "source": source_of(3)},
    }
    model = PPO(
        "MlpPolicy", env, n_steps=16, batch_size=32, policy_kwargs=arguments, seed=0, device="cpu"
    )
    before = model.policy.features_extractor.linear.weight.detach().clone()
    model.learn(3 * 64)
    assert type(model.rollout_buffer) is RolloutBuffer
    numbers = model.rollout_buffer.observations[..., 0]
    np.testing.assert_array_equal(numbers, np.round(numbers))
    assert numbers.min() >= 5
    assert numbers.max() < PANEL.n_rows
    after = model.policy.features_extractor.linear.weight
    assert bool(after.isfinite().all())
    assert not torch.equal(before, after)


def test_model_over_a_block_is_saved_without_the_market_and_read_back(home, tmp_path):
    panel = panel_with_gaps(bars=40_000)
    _, references = pair_of_observations(3)
    with SharedDataManager(save_panel(panel)) as owner:
        source = MarketSource(owner.ref, scaler_of(panel), 3)
        arguments = {
            "features_extractor_class": MarketExtractor,
            "features_extractor_kwargs": {"width": WIDTH, "source": source},
        }
        env = TradingVecEnv(batch_of(2, panel, window_bars=3, by_reference=True))
        model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, policy_kwargs=arguments, seed=0)
        model.learn(16)
        expected = model.policy.predict_values(references)
        model.save(tmp_path / "model")
        assert (tmp_path / "model.zip").stat().st_size < 300_000  # the features alone are 960 kB
        loaded = PPO.load(tmp_path / "model", device="cpu")
        assert torch.equal(loaded.policy.predict_values(references), expected)
        layer = model.policy.features_extractor
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(other(references), layer(references))


def test_layer_can_be_bound_to_another_market():
    _, references = pair_of_observations(3)
    layer, other = pair_of_extractors(3)[1], panel_with_gaps(seed=8)
    before = layer(references)
    layer.bind(source_of(3, other))
    assert not torch.equal(layer(references), before)
    layer.bind(source_of(3))
    assert torch.equal(layer(references), before)
    with pytest.raises(PolicyError, match=r"n_features=3, .* received .*n_features=4"):
        layer.bind(source_of(3, panel_with_gaps(features=4)))
    assert torch.equal(layer(references), before)
    # Rows of the same length, one feature of each of the 2 symbols more and 1 series less.
    with pytest.raises(PolicyError, match=r"n_macro=2, .* received .*n_macro=1"):
        layer.bind(source_of(3, panel_with_gaps(features=4, macro=1)))


def test_normalised_row_numbers_are_refused():
    env = VecNormalize(TradingVecEnv(batch_of(4, PANEL, by_reference=True)))
    env.seed(0)
    observations = torch.from_numpy(env.reset())
    with pytest.raises(PolicyError, match="VecNormalize needs norm_obs=False"):
        pair_of_extractors(1)[1](observations)


def test_row_of_another_market_is_refused():
    _, references = pair_of_observations(1)
    references[3, 0] = PANEL.n_rows
    with pytest.raises(PolicyError, match=r"rows below 60, received 60"):
        pair_of_extractors(1)[1](references)


def test_space_and_source_that_do_not_belong_together_are_refused():
    by_value, by_reference = (batch.observation_space for batch in pair_of_batches(1))
    with pytest.raises(PolicyError, match="give the extractor a MarketSource"):
        MarketExtractor(by_reference, WIDTH)
    with pytest.raises(PolicyError, match="by reference of length 13"):
        MarketExtractor(by_value, WIDTH, source_of(1))


def test_learner_without_an_encoder_cannot_observe_by_reference():
    batch = batch_of(2, PANEL, by_reference=True)
    with pytest.raises(PolicyError, match="an encoder to observe by reference"):
        build_learner(batch, PPOConfig(), (16, 32), 0)
    with pytest.raises(ValueError, match="encoder in the hyper-parameters of RecurrentPPO"):
        TrainConfig(env=EnvConfig(by_reference=True), ppo=LEARNERS[0])


def test_old_name_of_the_row_encoder_is_refused_with_the_new_one():
    with pytest.raises(ValueError, match=r"Write encoder=\{'kind': 'row', 'width': 9\}"):
        PPOConfig.model_validate({"market_layer": 9})
    assert PPOConfig.model_validate({"encoder": {"kind": "row", "width": 9}}).encoder == RowEncoder(
        width=9
    )
