"""The same steps seen by value and by reference, and how to compare what networks make of them."""

import numpy as np
import torch

from ploutos.agent.market_rows import MarketSource
from ploutos.env.market import market_of
from tests.agent.batches import batch_of, panel_with_gaps, random_actions, scaler_of

PANEL = panel_with_gaps()


def source_of(window, panel=PANEL):
    return MarketSource(market_of(panel), scaler_of(panel), window)


def pair_of_batches(window, n_envs=4, panel=PANEL, **config):
    """Return two batches that differ in nothing but how they observe."""
    batches = [
        batch_of(n_envs, panel, window_bars=window, by_reference=by_reference, **config)
        for by_reference in (False, True)
    ]
    for batch in batches:
        batch.seed(0)
        batch.reset()
    return batches


def pair_of_observations(window, steps=12, panel=PANEL, **config):
    """Return the observations of the same steps by value (B, D) and by reference (B, 1 + A)."""
    by_value, by_reference = pair_of_batches(window, panel=panel, **config)
    rng, values, references = np.random.default_rng(0), [], []
    for _ in range(steps):
        actions = random_actions(rng, by_value)
        values.append(by_value.step(actions).observation.copy())
        references.append(by_reference.step(actions).observation.copy())
    observations = np.concatenate(values), np.concatenate(references)
    assert np.unique(observations[1][:, 0]).size < len(observations[1])  # rows repeat
    return [torch.from_numpy(array) for array in observations]


def gradients(module):
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def assert_close(received, expected, tolerance=1e-6):
    """Compare dicts of tensors, relative to each one's largest value where that is above 1."""
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(value.detach().abs().max()))
        torch.testing.assert_close(received[name], value, rtol=0, atol=tolerance * scale, msg=name)
