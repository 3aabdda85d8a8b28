import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from stable_baselines3.common.distributions import MultiCategoricalDistribution

from ploutos.agent.config import PPOConfig, SymbolEncoder
from ploutos.agent.encoders.symbol_policy import SymbolOrders
from ploutos.agent.market_rows import Layout, layout_of
from ploutos.agent.policy import build_network, policy_arguments, policy_class
from ploutos.env.config import EnvConfig
from tests.agent.batches import WEIGHTS, batch_of, panel_with_gaps
from tests.agent.definitions import naive_symbols
from tests.agent.observations import pair_of_observations, source_of

PANEL = panel_with_gaps(symbols=5)
ORDER = [3, 0, 4, 1, 2]
LEARNER = PPOConfig(net_arch=(8,), encoder=SymbolEncoder(width=6, layers=2))
WINDOWS = pytest.mark.parametrize("window", [1, 3])
ACTIONS = pytest.mark.parametrize("config", [{}, {"portfolio": WEIGHTS}], ids=["orders", "weights"])


def policy_of(window, source=None, **config):
    batch = batch_of(1, PANEL, window_bars=window, by_reference=source is not None, **config)
    torch.manual_seed(5)
    arguments = policy_arguments(LEARNER, source, layout_of(PANEL, window))
    spaces = batch.observation_space, batch.action_space
    policy = policy_class(LEARNER)(*spaces, lambda _: 1e-3, **arguments)
    with torch.no_grad():
        policy.action_net.weight *= 100  # so that actions vary with the observation
    return policy


@WINDOWS
def test_orders_and_values_are_those_of_the_definition(window):
    policy = policy_of(window)
    values = pair_of_observations(window, panel=PANEL)[0]
    actions = torch.randint(0, 3, (len(values), 5))
    received = [one.flatten().double() for one in policy.evaluate_actions(values, actions)]
    policy.double()
    actor, critic = policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net
    expected = torch.zeros(3, len(values)).double()
    for b, features in enumerate(
        zip(*naive_symbols(policy.features_extractor, values.double()), strict=True)
    ):
        embeddings, pooled, context = features
        expected[0, b] = policy.value_net(critic(torch.cat([pooled, context])))
        for n, embedding in enumerate(embeddings):
            odds = policy.action_net(actor(torch.cat([embedding, pooled]))).exp()
            probabilities = odds / odds.sum()
            expected[1, b] += probabilities[actions[b, n]].log()
            expected[2, b] -= (probabilities * probabilities.log()).sum()
    torch.testing.assert_close(torch.stack(received), expected, rtol=0, atol=1e-5)


def test_orders_say_what_stable_baselines_does_of_the_same_logits():
    torch.manual_seed(0)
    logits = torch.randn(50, 4, 3)
    ours = SymbolOrders(3).proba_distribution(logits)
    theirs = MultiCategoricalDistribution([3] * 4).proba_distribution(logits.flatten(1))
    actions = ours.sample()
    assert torch.equal(ours.mode(), theirs.mode())
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    draws = torch.stack([ours.sample() for _ in range(2000)])  # (draws, 50, 4)
    share = (draws == 1).double().mean(dim=0)
    error = 5 * 0.5 / math.sqrt(2000)
    expected = ours.distribution.probs[..., 1].double()
    torch.testing.assert_close(share, expected, rtol=0, atol=error)


@ACTIONS
@WINDOWS
def test_parameters_do_not_grow_with_the_universe(window, config):
    shapes = []
    for n_symbols in (3, 50):
        length = Layout(n_symbols, 4, 2, window).length
        env = EnvConfig(window_bars=window, **config)
        network = build_network(LEARNER, length, n_symbols, env, n_features=4)
        shapes.append({name: value.shape for name, value in network.named_parameters()})
    assert shapes[0] == shapes[1]


def permuted(observations, layout):
    """Return observations by value with the symbols in another order."""
    n_symbols, n_features, n_macro, window = layout
    values = observations.numpy().copy()
    market, account = np.split(values, [window * layout.row_length], axis=1)
    rows = market.reshape(-1, layout.row_length)
    at_valid = n_symbols * n_features + n_macro
    features = rows[:, : n_symbols * n_features].reshape(-1, n_symbols, n_features)
    rows[:, : n_symbols * n_features] = features[:, ORDER].reshape(len(rows), -1)
    rows[:, at_valid : at_valid + n_symbols] = rows[:, at_valid : at_valid + n_symbols][:, ORDER]
    own = account[:, 4:].reshape(-1, 4, n_symbols)[:, :, ORDER].reshape(len(values), -1)
    market = rows.reshape(len(values), -1)
    return torch.from_numpy(np.concatenate([market, account[:, :4], own], axis=1))


def permuted_panel():
    names = ("features", "valid", "prices", "split_ratio", "cash_dividend")
    return replace(PANEL, **{name: getattr(PANEL, name)[:, ORDER] for name in names})


def means_of(policy, observations):
    """Return the logits (B, N, 3) or mean weights (B, N), and the values (B, 1)."""
    with torch.no_grad():
        distribution = policy.get_distribution(observations).distribution
        values = policy.predict_values(observations)
    return getattr(distribution, "logits", distribution.mean), values


@ACTIONS
@WINDOWS
def test_permuted_symbols_give_permuted_actions_and_the_same_value(window, config):
    values, references = pair_of_observations(window, panel=PANEL, **config)
    other = permuted(values, layout_of(PANEL, window))
    expected, value = means_of(policy_of(window, **config), values)
    assert float((expected - expected[:, ORDER]).abs().max()) > 0.1
    by_value = means_of(policy_of(window, **config), other)
    policy = policy_of(window, source_of(window, PANEL), **config)
    policy.features_extractor.market.bind(source_of(window, permuted_panel()))
    account = other[:, -references.shape[1] + 1 :]
    by_reference = means_of(policy, torch.cat([references[:, :1], account], dim=1))
    for means, other_value in (by_value, by_reference):
        torch.testing.assert_close(means, expected[:, ORDER], rtol=0, atol=1e-5)
        torch.testing.assert_close(other_value, value, rtol=0, atol=1e-5)


def test_action_of_a_permuted_universe_is_as_likely():
    values = pair_of_observations(1, panel=PANEL)[0]
    actions = torch.randint(0, 3, (len(values), 5))
    policy = policy_of(1)
    expected = policy.evaluate_actions(values, actions)
    received = policy.evaluate_actions(permuted(values, layout_of(PANEL, 1)), actions[:, ORDER])
    for one, two in zip(received, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)


def test_symbol_that_cannot_be_traded_says_nothing_to_the_others():
    values = pair_of_observations(1, panel=PANEL)[0]
    at_valid = 5 * 3 + 2
    values[:, at_valid : at_valid + 5] = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])
    other = values.clone()
    other[:, 2 * 3 : 3 * 3] += 1.0
    policy = policy_of(1)
    (logits, value), (other_logits, other_value) = means_of(policy, values), means_of(policy, other)
    assert torch.equal(value, other_value)
    assert torch.equal(logits[:, [0, 1, 3, 4]], other_logits[:, [0, 1, 3, 4]])
    assert not torch.equal(logits[:, 2], other_logits[:, 2])
    values[:, at_valid : at_valid + 5] = 0.0
    assert not bool(policy.features_extractor(values).pooled.any())


def test_symbol_sees_how_the_others_are():
    values = pair_of_observations(1, panel=PANEL)[0]
    at_valid = 5 * 3 + 2
    values[:, at_valid : at_valid + 5] = 1.0
    other = values.clone()
    other[:, 2 * 3 : 3 * 3] += 1.0
    policy = policy_of(1)
    assert not torch.equal(means_of(policy, values)[0][:, 0], means_of(policy, other)[0][:, 0])
