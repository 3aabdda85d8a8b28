"""Each encoder against a slow loop over its definition, by value and by reference."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ploutos.agent import market_rows
from ploutos.agent.config import (
    PPOConfig,
    RecurrentPPOConfig,
    SymbolEncoder,
    WindowEncoder,
)
from ploutos.agent.encoders.symbol import SymbolExtractor
from ploutos.agent.encoders.window import WindowExtractor
from ploutos.agent.learner import build_learner
from ploutos.agent.market_rows import MarketRows, layout_of
from ploutos.agent.policy import build_network, policy_arguments
from ploutos.errors import PolicyError
from tests.agent.batches import WEIGHTS, panel_with_gaps
from tests.agent.definitions import naive_symbols, naive_window
from tests.agent.observations import (
    assert_close,
    gradients,
    pair_of_batches,
    pair_of_observations,
    source_of,
)

PANEL = panel_with_gaps(symbols=3)
SYMBOL, WINDOW = SymbolEncoder(width=5, layers=2), WindowEncoder(channels=4, width=5)
KINDS = {"symbol": (SymbolExtractor, SYMBOL), "window": (WindowExtractor, WINDOW)}
WINDOWS = pytest.mark.parametrize("window", [1, 3])
LEARNERS = {
    "symbol": PPOConfig(n_epochs=2, net_arch=(8,), encoder=SYMBOL),
    "symbol, no hidden layer": PPOConfig(n_epochs=2, net_arch=(), encoder=SYMBOL),
    "window": PPOConfig(n_epochs=2, net_arch=(8,), encoder=WINDOW),
    "window, LSTM": RecurrentPPOConfig(
        n_epochs=2, net_arch=(8,), lstm_hidden_size=6, encoder=WINDOW
    ),
}


@pytest.fixture
def _deterministic():
    torch.use_deterministic_algorithms(mode=True)
    yield
    torch.use_deterministic_algorithms(mode=False)


def pair_of_extractors(name, window, panel=PANEL):
    """Return an extractor by value and one by reference, in double precision."""
    kind, encoder = KINDS[name]
    spaces = [batch.observation_space for batch in pair_of_batches(window, panel=panel)]
    extractors = []
    for space, source in zip(spaces, (None, source_of(window, panel)), strict=True):
        torch.manual_seed(3)
        extractors.append(kind(space, encoder, layout_of(panel, window), source).double())
    return extractors


def doubles(window):
    return [one.double() for one in pair_of_observations(window, panel=PANEL)]


def parts_of(features):
    """Return what an extractor gives as a dict of tensors."""
    return features._asdict() if isinstance(features, tuple) else {"features": features}


def results_of(extractor, observations, compute=None):
    """Return features and gradients of an uneven function of them."""
    extractor.zero_grad()
    features = parts_of((compute or extractor)(observations))
    sum(one.pow(3).sum() + one.sum() for one in features.values()).backward()
    own = {name: value.clone() for name, value in gradients(extractor).items()}
    return {name: value.detach() for name, value in features.items()} | own


NAIVE = {"symbol": naive_symbols, "window": naive_window}


@pytest.mark.parametrize("window", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", KINDS)
def test_both_forms_have_the_features_and_gradients_of_the_definition(name, window):
    by_value, by_reference = pair_of_extractors(name, window)
    values, references = doubles(window)
    expected = results_of(by_value, values, lambda given: NAIVE[name](by_value, given))
    assert_close(results_of(by_value, values), expected, 1e-12)
    assert_close(results_of(by_reference, references), expected, 1e-12)


@WINDOWS
@pytest.mark.parametrize("name", KINDS)
def test_in_single_precision_both_forms_agree(name, window):
    found = [
        results_of(extractor.float(), observations)
        for extractor, observations in zip(
            pair_of_extractors(name, window), pair_of_observations(window, panel=PANEL), strict=True
        )
    ]
    for part, value in found[0].items():
        is_feature = part in ("symbols", "pooled", "context", "features")
        assert_close({part: found[1][part]}, {part: value}, 1e-6 if is_feature else 1e-5)


@WINDOWS
@pytest.mark.parametrize("name", KINDS)
def test_gathering_in_small_parts_changes_nothing(name, window, monkeypatch):
    found = []
    for size in (market_rows.PART_BYTES, 400, 1):
        monkeypatch.setattr(market_rows, "PART_BYTES", size)
        found.append(results_of(pair_of_extractors(name, window)[1], doubles(window)[1]))
    assert_close(found[1], found[0], 1e-13)
    assert_close(found[2], found[0], 1e-13)


@pytest.mark.parametrize("name", KINDS)
def test_window_before_the_first_row_is_one_of_zeros(name):
    by_value, by_reference = pair_of_extractors(name, 5)
    account = torch.rand(1, by_value.layout.account_length).double()
    for row in range(4):
        rows = by_reference.market.rows.gather(np.arange(row - 4, row + 1))
        assert not rows[: 4 - row].any()
        value = torch.cat([torch.from_numpy(rows.ravel()).double()[None], account], dim=1)
        reference = torch.cat([torch.full((1, 1), float(row)).double(), account], dim=1)
        received, expected = parts_of(by_reference(reference)), parts_of(by_value(value))
        assert_close(received, expected, 1e-13)


@pytest.mark.parametrize("name", KINDS)
def test_every_row_of_the_window_counts(name):
    extractor, layout = pair_of_extractors(name, 6)[0], layout_of(PANEL, 6)
    values = doubles(6)[0].requires_grad_()
    sum(one.sum() for one in parts_of(extractor(values)).values()).backward()
    by_row = values.grad[:, : 6 * layout.row_length].unflatten(1, (6, -1)).abs().sum((0, 2))
    assert bool((by_row > 0).all())


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any torch operation returns."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple) else (result,):
            if isinstance(one, torch.Tensor):
                self.size = max(self.size, one.numel())
        return result


@pytest.mark.parametrize("name", KINDS)
def test_each_row_is_gathered_once_and_no_window_is_laid_out(name, monkeypatch):
    panel = panel_with_gaps(symbols=3, features=40)
    window, gathered, gather = 8, [], MarketRows.gather
    extractor = pair_of_extractors(name, window, panel)[1]
    references = pair_of_observations(window, steps=40, panel=panel)[1].double()

    def noted(rows, numbers):
        gathered.append(numbers)
        return gather(rows, numbers)

    monkeypatch.setattr(MarketRows, "gather", noted)
    distinct = references[:, 0].unique().numpy().astype(np.int64)
    needed = np.unique(distinct[:, None] - np.arange(window))
    with Largest() as largest:
        sum(one.sum() for one in parts_of(extractor(references)).values()).backward()
    numbers = np.concatenate(gathered)
    np.testing.assert_array_equal(numbers[numbers >= 0], needed[needed >= 0])
    laid_out = distinct.size * window * extractor.layout.row_length
    assert largest.size <= needed.size * extractor.layout.row_length < laid_out / 4


def learned(learner, batch, seed=7, steps=64):
    model = build_learner(batch, learner, (16, 32), seed)
    model.learn(steps)
    return model


@pytest.mark.parametrize("config", [{}, {"portfolio": WEIGHTS}], ids=["orders", "weights"])
@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
@WINDOWS
def test_one_update_by_reference_gives_the_parameters_of_one_by_value(learner, window, config):
    by_value, by_reference = (
        learned(learner, batch) for batch in pair_of_batches(window, panel=PANEL, **config)
    )
    assert by_reference.rollout_buffer.observations.shape[-1] == 1 + 16
    assert_close(by_reference.policy.state_dict(), by_value.policy.state_dict(), 1e-5)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
@pytest.mark.usefixtures("_deterministic")
def test_two_trainings_with_one_seed_have_the_same_bits(learner):
    for index in (0, 1):
        first, second = (
            learned(learner, pair_of_batches(3, panel=PANEL)[index]).policy.state_dict()
            for _ in range(2)
        )
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_model_of_stable_baselines_is_saved_and_read_back(learner, tmp_path):
    for batch in pair_of_batches(3, panel=PANEL):
        model = learned(learner, batch)
        model.save(tmp_path / "model")
        loaded = type(model).load(tmp_path / "model", device="cpu")
        observations = batch.reset()
        expected, _ = model.predict(observations, deterministic=True)
        np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], expected)
        for one, two in zip(loaded.policy.parameters(), model.policy.parameters(), strict=True):
            assert torch.equal(one, two)


def test_recurrent_ppo_refuses_a_symbol_encoder():
    with pytest.raises(ValueError, match="an LSTM remembers one vector"):
        RecurrentPPOConfig(encoder=SYMBOL)


@pytest.mark.parametrize("name", KINDS)
def test_layout_that_does_not_belong_to_the_observations_is_refused(name):
    kind, encoder = KINDS[name]
    by_value, by_reference = (batch.observation_space for batch in pair_of_batches(1, panel=PANEL))
    layout = layout_of(PANEL, 1)
    with pytest.raises(PolicyError, match="by value of length 64 for Layout"):
        kind(by_value, encoder, layout_of(PANEL, 3))
    with pytest.raises(PolicyError, match="give the extractor a MarketSource"):
        kind(by_reference, encoder, layout)
    with pytest.raises(PolicyError, match="source is not the market of the environments"):
        kind(by_reference, encoder, layout, source_of(3, PANEL))
    with pytest.raises(PolicyError, match=f"the layout of the observations for a {name} encoder"):
        policy_arguments(PPOConfig(encoder=encoder))
    with pytest.raises(PolicyError, match="and 2 more for each macro series"):
        build_network(PPOConfig(encoder=encoder), layout.length, 3, n_features=2)
