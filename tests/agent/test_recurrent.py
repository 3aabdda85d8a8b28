import pytest
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import nn

from ploutos.agent.recurrent import OneCallLstmPolicy


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
