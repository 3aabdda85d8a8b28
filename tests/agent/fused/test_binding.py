import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from ploutos.agent.fused.binding import adopt, bind, why_not

BOX = spaces.Box(-1, 1, (7,), np.float32)


def policy(observation_space=BOX, action_space=None, **arguments):
    space = action_space or spaces.Discrete(3)
    return ActorCriticPolicy(observation_space, space, lambda _: 1e-3, **arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"use_sde": True, "action_space": spaces.Box(-1, 1, (2,))}, "gSDE"),
        ({"share_features_extractor": False}, "extractors of their own"),
        ({"observation_space": spaces.Discrete(4)}, "no vector"),
        ({"observation_space": spaces.Box(-1, 1, (2, 2), np.float32)}, "no vector"),
        ({"action_space": spaces.MultiBinary(3)}, "not supported"),
        ({"action_space": spaces.Discrete(3, start=1)}, "not supported"),
        ({"activation_fn": nn.ELU}, "tanh or ReLU"),
        ({"net_arch": []}, "tanh or ReLU"),
        ({"net_arch": {"pi": [], "vf": [8]}}, "tanh or ReLU"),
        ({"optimizer_class": torch.optim.AdamW}, "plain Adam"),
        ({"optimizer_kwargs": {"weight_decay": 0.1}}, "plain Adam"),
    ],
)
def test_what_the_compiled_trainer_does_not_know_is_named(arguments, reason):
    assert reason in why_not(policy(**arguments))


def test_frozen_parameters_are_left_to_torch():
    frozen = policy()
    frozen.value_net.bias.requires_grad_(False)
    assert "frozen" in why_not(frozen)


def test_standard_policy_is_welcome():
    assert why_not(policy()) is None
    assert why_not(policy(net_arch={"pi": [9], "vf": [8, 5]}, activation_fn=nn.ReLU)) is None


def test_tensors_are_views_and_keep_their_values():
    own = policy(action_space=spaces.Box(-1, 1, (2,), np.float32))
    before = {name: value.clone() for name, value in own.state_dict().items()}
    bound = bind(own)
    for name, value in own.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert bound.net.parameters.size == sum(p.numel() for p in own.parameters())
    bound.net.parameters[:] = 3.0
    assert all((p == 3.0).all() for p in own.parameters())


def test_loaded_parameters_and_moments_are_taken_over():
    own, other = policy(), policy()
    bound = bind(own)
    other.predict_values(torch.ones(2, 7)).sum().backward()
    other.optimizer.step()
    own.load_state_dict(other.state_dict())
    own.optimizer.load_state_dict(other.optimizer.state_dict())
    for parameter in own.parameters():
        parameter.data = parameter.data.clone()
    adopt(bound)
    own.value_net.weight.data[:] = 5.0
    assert (bound.net.parameters == 5.0).sum() == own.value_net.weight.numel()
    touched = sum(p.grad is not None for p in other.parameters())
    assert touched
    moments = [own.optimizer.state[p]["exp_avg"] for p in own.parameters()]
    assert sum(m.abs().sum() for m in moments) == pytest.approx(
        np.abs(bound.moments.first).sum(), 1e-5
    )
    assert bound.moments.n_steps[0] == 1
