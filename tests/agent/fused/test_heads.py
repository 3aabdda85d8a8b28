"""The oracle is torch.distributions and its autograd."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal

from ploutos.agent.fused.heads import log_probabilities, normalise_heads, sample, slopes
from ploutos.agent.fused.network import Net

SIZES = (3, 2, 4)


def net(heads, log_std=()):
    nothing = np.zeros((0, 7), np.int64)
    starts = np.concatenate([[0], np.cumsum(heads)]).astype(np.int64) if heads else heads
    parameters = np.asarray(log_std, np.float32)
    return Net(parameters, nothing[:0].reshape(-1), nothing, 0, 0, np.array(starts, np.int64), 0)


def outcome(given, z, action, weight, entropy_weight):
    """Return log probabilities, entropies, and the two gradients."""
    n = z.shape[1]
    columns, own = np.zeros((4, n), np.float32), z.copy()
    normalise_heads(given, own, columns[2:])
    log_probabilities(given, own, action, columns)
    out, of_parameters = np.zeros_like(z), np.zeros_like(given.parameters)
    weights = np.stack([weight, weight, weight])
    slopes(given, own, action, (weights, entropy_weight), out, of_parameters)
    return columns[0], columns[1], out, of_parameters


def test_choices_equal_torch():
    rng = np.random.default_rng(0)
    n = 50
    z = rng.normal(0, 3, (sum(SIZES), n)).astype(np.float32)
    action = rng.integers(0, np.array(SIZES)[:, None], (3, n)).astype(np.float32)
    weight = rng.standard_normal(n).astype(np.float32)
    tensor = torch.from_numpy(z.T.copy()).requires_grad_()
    heads = [Categorical(logits=part) for part in torch.split(tensor, SIZES, dim=1)]
    log_prob = sum(h.log_prob(torch.from_numpy(a)) for h, a in zip(heads, action, strict=True))
    entropy = sum(h.entropy() for h in heads)
    ((torch.from_numpy(weight) * log_prob).sum() + 0.3 * entropy.sum()).backward()
    ours = outcome(net(SIZES), z, action, weight, 0.3)
    np.testing.assert_allclose(ours[0], log_prob.detach(), atol=1e-5)
    np.testing.assert_allclose(ours[1], entropy.detach(), atol=1e-5)
    np.testing.assert_allclose(ours[2].T, tensor.grad, atol=1e-5)


def test_gaussian_equals_torch():
    rng = np.random.default_rng(1)
    n, k = 50, 3
    z, action = rng.normal(0, 1, (2, k, n)).astype(np.float32)
    weight = rng.standard_normal(n).astype(np.float32)
    log_std = np.array([-1.0, 0.0, 0.5], np.float32)
    mean = torch.from_numpy(z.T.copy()).requires_grad_()
    deviation = torch.from_numpy(log_std.copy()).requires_grad_()
    normal = Normal(mean, deviation.exp())
    log_prob = normal.log_prob(torch.from_numpy(action.T)).sum(1)
    entropy = normal.entropy().sum(1)
    ((torch.from_numpy(weight) * log_prob).sum() + 0.3 * entropy.sum()).backward()
    ours = outcome(net((), log_std), z, action, weight, 0.3)
    np.testing.assert_allclose(ours[0], log_prob.detach(), atol=1e-5)
    np.testing.assert_allclose(ours[1], entropy.detach(), atol=1e-5)
    np.testing.assert_allclose(ours[2].T, mean.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours[3], deviation.grad, rtol=1e-4)


def test_choices_are_drawn_as_often_as_they_are_likely():
    rng = np.random.default_rng(2)
    n, logits = 200_000, np.array([0.0, 1.0, -1.0, 2.0, 0.5, 0.0, 0.0, -3.0, 1.0], np.float32)
    draws, action = rng.random((5, n), np.float32), np.empty((3, n), np.float32)
    z = np.repeat(logits[:, None], n, axis=1)
    normalise_heads(net(SIZES), z, np.empty((2, n), np.float32))
    sample(net(SIZES), z, draws, action)
    for own, part in zip(action, np.split(logits, np.cumsum(SIZES)[:-1]), strict=True):
        expected = np.exp(part) / np.exp(part).sum()
        found = np.bincount(own.astype(int), minlength=part.size) / n
        # Four standard errors of a share.
        assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / n)


@pytest.mark.parametrize("drawn", [0.0, np.float32(1) - np.float32(2**-24)])
def test_the_ends_of_the_draws_are_choices_too(drawn):
    action = np.full((3, 1), np.nan, np.float32)
    z = np.zeros((9, 1), np.float32)
    normalise_heads(net(SIZES), z, np.empty((2, 1), np.float32))
    sample(net(SIZES), z, np.full((5, 1), drawn, np.float32), action)
    expected = [0, 0, 0] if drawn == 0 else [2, 1, 3]
    np.testing.assert_array_equal(action[:, 0], expected)


def test_gaussian_is_mean_and_deviation_times_the_draw():
    action = np.empty((2, 1), np.float32)
    draws = np.array([[1.5], [-2.0], [0.0], [0.0]], np.float32)
    sample(net((), np.log([2.0, 0.5])), np.array([[1.0], [3.0]], np.float32), draws, action)
    np.testing.assert_allclose(action[:, 0], [1 + 3.0, 3 - 1.0], rtol=1e-6)
