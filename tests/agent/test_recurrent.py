import copy

import numpy as np
import pytest
import torch
from sb3_contrib.common.recurrent.buffers import create_sequencers
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import nn

from ploutos.agent.recurrent import OneCallLstmPolicy
from ploutos.agent.recurrent_adam import clip_and_step
from ploutos.agent.recurrent_cell import FEW, sigmoid, tanh
from ploutos.agent.recurrent_gradients import side_by_side
from ploutos.agent.recurrent_lstm import ALIGNED, WIDE, is_plain, run, run_back, step
from ploutos.agent.recurrent_minibatches import rotated_rows, sequences_of, whole_sequences

N_STEPS = 20


def outputs_and_gradients(policy, starts, seed=0, length=12, n_seq=5):
    torch.manual_seed(seed)
    lstm = nn.LSTM(7, 6)
    features = torch.randn(n_seq * length, 7)
    states = (torch.randn(1, n_seq, 6), torch.randn(1, n_seq, 6))
    outputs, after = policy._process_sequence(features, states, starts.flatten(), lstm)
    (outputs.square().sum() + after[0].sum()).backward()
    return [outputs.detach(), *after, *(p.grad for p in lstm.parameters())]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_one_call_equals_the_walk_of_sb3_contrib(share):
    starts = torch.zeros(5, 12)
    starts[:, 0] = (torch.rand(5, generator=torch.Generator().manual_seed(1)) < share).float()
    ours = outputs_and_gradients(OneCallLstmPolicy, starts)
    theirs = outputs_and_gradients(RecurrentActorCriticPolicy, starts)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_start_inside_a_sequence_still_clears_the_state_there():
    starts = torch.zeros(5, 12)
    starts[2, 6] = 1.0
    ours = outputs_and_gradients(OneCallLstmPolicy, starts)
    theirs = outputs_and_gradients(RecurrentActorCriticPolicy, starts)
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two)


def test_acting_step_by_step_with_a_start_equals_sb3_contrib():
    starts = torch.tensor([[1.0], [0.0], [1.0], [0.0], [0.0]])
    ours = outputs_and_gradients(OneCallLstmPolicy, starts, length=1)
    theirs = outputs_and_gradients(RecurrentActorCriticPolicy, starts, length=1)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


def minibatch(n_envs, n_rows, share=0.1, seed=0):
    """Return rows as sb3-contrib chooses them, and where episodes start among all rows."""
    rng = np.random.RandomState(seed)
    starts = rng.random_sample(n_envs * N_STEPS) < share
    return next(rotated_rows((N_STEPS, n_envs), n_rows, rng)), starts


@pytest.mark.parametrize(("n_envs", "n_rows"), [(1, 1), (3, 13), (4, 80), (40, 600)])
@pytest.mark.parametrize("share", [0.0, 0.15, 1.0])
def test_sequences_are_those_of_sb3_contrib_packed(n_envs, n_rows, share):
    rows, starts = minibatch(n_envs, n_rows, share)
    change = (rows % N_STEPS == 0)[:, None].astype(float)
    begins, pad, _ = create_sequencers(starts[rows, None], change, torch.device("cpu"))
    padded = pad(rows + 1).numpy()  # 0 stands for padding
    ours = sequences_of(rows, starts[rows], N_STEPS)
    assert sorted(ours.firsts) == sorted(rows[begins])
    order = [list(padded[:, 0] - 1).index(first) for first in ours.firsts]
    by_step = padded[order].T  # (T, n)
    assert ours.rows.tolist() == (by_step[by_step > 0] - 1).tolist()
    assert ours.counts.tolist() == (by_step > 0).sum(1).tolist()
    assert ours.begins.tolist() == starts[ours.firsts].tolist()
    states = np.concatenate([ours.firsts - 1, ours.rows])
    assert states[ours.previous].tolist() == (ours.rows - 1).tolist()


def test_minibatches_of_whole_sequences_hold_every_environment_once():
    rng = np.random.RandomState(0)
    batches = list(whole_sequences((N_STEPS, 10), 3 * N_STEPS, rng))
    again = list(whole_sequences((N_STEPS, 10), 3 * N_STEPS, rng))
    assert [rows.size // N_STEPS for rows in batches] == [4, 3, 3]
    assert sorted(np.concatenate(batches)) == list(range(10 * N_STEPS))
    for rows in batches:
        assert (rows.reshape(-1, N_STEPS) % N_STEPS == np.arange(N_STEPS)).all()
    assert not np.array_equal(batches[0], again[0])


def one_by_one(lstm, inputs, weights, sequences, states):
    """Run torch's LSTM over each sequence alone; return the sum of weighted outputs."""
    total = torch.zeros(())
    for k, first in enumerate(sequences.firsts):
        rows = np.arange(first, first + (sequences.counts > k).sum())
        before = tuple(state[:, k : k + 1].contiguous() for state in states)
        outputs, _ = lstm(inputs[rows][:, None], before)
        total = total + (outputs[:, 0] * weights[rows]).sum()
    return total


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("n_envs", "n_rows", "size", "layers"),
    [(1, 1, 3, 1), (2, 30, 8, 1), (4, 60, 8, 3), (50, 900, 7, 2)],
)
def test_packed_lstm_equals_torch_forward_and_back(n_envs, n_rows, size, layers, bias):
    torch.manual_seed(0)
    rows, starts = minibatch(n_envs, n_rows)
    sequences = sequences_of(rows, starts[rows], N_STEPS)
    assert (sequences.counts > FEW).any() == (n_envs > 2)
    lstm = nn.LSTM(5, size, num_layers=layers, bias=bias)
    inputs = torch.randn(n_envs * N_STEPS, 5, requires_grad=True)
    weights = torch.randn(n_envs * N_STEPS, size)
    states = tuple(torch.randn(layers, sequences.firsts.size, size) for _ in range(2))
    expected = one_by_one(lstm, inputs, weights, sequences, states)
    expected.backward()
    gradients = [p.grad for p in lstm.parameters()]
    lstm.zero_grad()
    found = run(lstm, inputs.detach()[sequences.rows], sequences, states)
    weights = weights[sequences.rows]
    total = (found[-1].outputs * weights).sum()
    torch.testing.assert_close(total, expected.detach(), rtol=1e-5, atol=1e-5)
    back = run_back(lstm, found, weights, sequences, needs_inputs=True)
    torch.testing.assert_close(back, inputs.grad[sequences.rows], rtol=1e-4, atol=1e-5)
    for parameter, gradient in zip(lstm.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=2e-5)


def test_wide_inputs_have_the_same_gradients():
    torch.manual_seed(0)
    rows, starts = minibatch(4, 60)
    sequences = sequences_of(rows, starts[rows], N_STEPS)
    states = tuple(torch.zeros(1, sequences.firsts.size, 4) for _ in range(2))
    for width in (WIDE, WIDE + 1):
        lstm = nn.LSTM(width, 4)
        inputs, weights = torch.randn(80, width), torch.randn(80, 4)
        one_by_one(lstm, inputs, weights, sequences, states).backward()
        expected = lstm.weight_ih_l0.grad
        lstm.zero_grad()
        found = run(lstm, inputs[sequences.rows], sequences, states)
        back = weights[sequences.rows]
        assert run_back(lstm, found, back, sequences, needs_inputs=False) is None
        torch.testing.assert_close(lstm.weight_ih_l0.grad, expected, rtol=1e-4, atol=1e-5)
    assert WIDE % ALIGNED == 0


def test_frozen_parameters_get_no_gradient():
    rows, starts = minibatch(4, 60)
    sequences = sequences_of(rows, starts[rows], N_STEPS)
    lstm = nn.LSTM(5, 4)
    lstm.weight_hh_l0.requires_grad_(False)
    lstm.bias_ih_l0.requires_grad_(False)
    states = tuple(torch.zeros(1, sequences.firsts.size, 4) for _ in range(2))
    layers = run(lstm, torch.randn(60, 5), sequences, states)
    run_back(lstm, layers, torch.ones(60, 4), sequences, needs_inputs=False)
    assert lstm.weight_hh_l0.grad is None
    assert lstm.bias_ih_l0.grad is None
    assert lstm.weight_ih_l0.grad is not None


@pytest.mark.parametrize("n_envs", [1, 3, FEW, FEW + 1, 40])
def test_one_step_equals_torch(n_envs):
    torch.manual_seed(n_envs)
    lstm = nn.LSTM(5, 6, num_layers=2)
    inputs = torch.randn(n_envs, 5)
    states = tuple(torch.randn(2, n_envs, 6) for _ in range(2))
    outputs, after = step(lstm, inputs, states)
    expected, states_after = lstm(inputs[None], states)
    torch.testing.assert_close(outputs, expected[0].detach(), rtol=1e-5, atol=1e-6)
    for one, two in zip(after, states_after, strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("extra", ["bidirectional", "batch_first", "dropout", "proj_size"])
def test_lstm_with_extras_is_not_plain(extra):
    value = {"dropout": 0.1, "proj_size": 2}.get(extra, True)
    assert is_plain(nn.LSTM(3, 4, num_layers=2))
    assert not is_plain(nn.LSTM(3, 4, num_layers=2, **{extra: value}))
    assert not is_plain(nn.LSTM(3, 4).double())


def test_tanh_and_sigmoid_are_right_everywhere():
    x = np.concatenate([np.linspace(-20, 20, 4001), [-np.inf, np.inf, 1e-30]]).astype(np.float32)
    exact = x.astype(np.float64)
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-exact))
    np.testing.assert_allclose([tanh(one) for one in x], np.tanh(exact), rtol=0, atol=4e-7)
    np.testing.assert_allclose([sigmoid(one) for one in x], expected, rtol=0, atol=3e-7)
    assert np.isnan(tanh(np.float32(np.nan)))


def gradients_of(parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator) for p in parameters]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("max_norm", [0.5, 1e9])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=1e-2, eps=1e-5, betas=(0.8, 0.99)),
        lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=1e-2),
    ],
    ids=["Adam", "amsgrad", "SGD"],
)
def test_clipped_step_equals_torch_and_goes_on_from_its_moments(make, max_norm, n_threads):
    allowed = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((5, 3), (7,), ())]
    theirs = copy.deepcopy(ours)
    optimizer, reference = make(ours), make(theirs)
    for seed in range(6):
        for p, q, g in zip(ours, theirs, gradients_of(ours, seed), strict=True):
            p.grad, q.grad = g.clone(), g.clone()
        with side_by_side() as both:
            clip_and_step(optimizer, max_norm, both)
        nn.utils.clip_grad_norm_(theirs, max_norm)
        reference.step()
        if seed == 3:
            reference.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    torch.set_num_threads(allowed)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_parameters_without_gradient_are_left_alone():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([used, unused])
    used.grad = torch.ones(2)
    with side_by_side() as both:
        clip_and_step(optimizer, 1.0, both)
    assert torch.equal(unused, torch.ones(2))
    assert (used < 1).all()
