"""A torch policy whose tensors lie in one flat array. In: an SB3 policy. Out: a `Net` over it.

torch goes on to own the policy: `predict`, `save`, `load` and a user's callbacks see the parameters
as ever, since every tensor of the policy and of its Adam is a view of the flat arrays that the
compiled trainer changes in place.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from ploutos.agent.encoders.row import MarketExtractor
from ploutos.agent.fused.network import IDENTITY, RELU, TANH, Net
from ploutos.agent.fused.step import Moments

_ACTIVATIONS = {nn.Tanh: TANH, nn.ReLU: RELU, nn.Identity: IDENTITY}


class _Place(NamedTuple):
    """Where a parameter lies: its first number, and whether it is stored (in, out)."""

    parameter: torch.Tensor
    first: int
    transposed: bool


class Bound(NamedTuple):
    """A policy and its flat arrays; `market` is where row numbers are looked up, if they are."""

    policy: ActorCriticPolicy
    net: Net
    moments: Moments
    market: MarketExtractor | None
    places: tuple[_Place, ...]


def why_not(policy: object) -> str | None:
    """Return why a policy cannot be trained by the compiled trainer; None if it can."""
    if type(policy) is not ActorCriticPolicy:
        return f"{type(policy).__name__} is not the standard MlpPolicy"
    checks = (
        (policy.device.type == "cpu", f"it lies on {policy.device}"),
        (not policy.use_sde, "it explores with gSDE"),
        (policy.share_features_extractor, "actor and critic have feature extractors of their own"),
        (_is_flat_box(policy.observation_space), "observations are no vector of float32"),
        (_is_known(policy.action_space), f"{policy.action_space} is not supported"),
        (_has_known_extractor(policy), f"{type(policy.features_extractor).__name__} is custom"),
        (_has_known_towers(policy), "its hidden layers are not tanh or ReLU in both towers"),
        (_is_plain_adam(policy.optimizer), "its optimiser is not a plain Adam"),
        (
            all(p.requires_grad and p.dtype == torch.float32 for p in policy.parameters()),
            "a parameter is frozen or not float32",
        ),
    )
    return next((reason for holds, reason in checks if not holds), None)


def bind(policy: ActorCriticPolicy) -> Bound:
    """Move the parameters of a policy into one flat array, and Adam's moments into two more.

    The policy must be one that `why_not` has no objection to.
    """
    extractor = policy.features_extractor
    market = extractor if isinstance(extractor, MarketExtractor) else None
    n_market = 0
    if market is not None and market.is_by_reference:
        n_market = market.rows.window_bars * market.rows.length
    layout = _Layout()
    _add_layers(layout, policy, n_market)
    log_std = layout.size
    if hasattr(policy, "log_std"):
        layout.add(policy.log_std)
    flat = np.empty(layout.size, np.float32)
    moments = Moments(
        np.zeros(layout.size, np.float32), np.zeros(layout.size, np.float32), np.zeros(1, np.int64)
    )
    net = Net(
        parameters=flat,
        input_layer=np.array(layout.rows[0], np.int64),
        layers=np.array(layout.rows[1:], np.int64),
        n_values=layout.n_values,
        n_market=n_market,
        heads=_heads_of(policy.action_space),
        log_std=log_std,
    )
    bound = Bound(policy, net, moments, market if n_market else None, tuple(layout.places))
    adopt(bound)
    return bound


def adopt(bound: Bound) -> None:
    """Make the policy's tensors views of the flat arrays again, with the values they have now.

    torch replaces tensors when a policy is loaded or moved; where nothing was, this does nothing.
    """
    state = bound.policy.optimizer.state
    steps = 0
    for place in bound.places:
        parameter = place.parameter
        parameter.data = _adopted(parameter.data, bound.net.parameters, place)
        own = state[parameter]
        if not own:
            zeros = torch.zeros_like(parameter)
            own.update(step=torch.tensor(0.0), exp_avg=zeros, exp_avg_sq=zeros.clone())
        own["exp_avg"] = _adopted(own["exp_avg"], bound.moments.first, place)
        own["exp_avg_sq"] = _adopted(own["exp_avg_sq"], bound.moments.second, place)
        steps = int(own["step"])
    bound.moments.n_steps[0] = steps


def note_steps(bound: Bound) -> None:
    """Tell torch's Adam how many steps were taken."""
    for place in bound.places:
        bound.policy.optimizer.state[place.parameter]["step"].fill_(float(bound.moments.n_steps[0]))


def _adopted(tensor: torch.Tensor, flat: np.ndarray, place: _Place) -> torch.Tensor:
    """Return the view of `flat` that stands for a tensor, after copying it there if it is not."""
    part = flat[place.first : place.first + tensor.numel()]
    shape = tuple(reversed(tensor.shape)) if place.transposed else tuple(tensor.shape)
    view = torch.from_numpy(part.reshape(shape))
    view = view.T if place.transposed else view
    if tensor.data_ptr() != view.data_ptr() or tensor.stride() != view.stride():
        view.copy_(tensor)
        return view
    return tensor


class _Layout:
    """Adds up places: parameters in the flat array, outputs of layers in the rows of values."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.rows: list[list[int]] = []
        self.size = 0
        self.n_values = 0

    def add(self, parameter: torch.Tensor, transposed: bool = False) -> int:
        """Give a parameter the next place and return it."""
        first = self.size
        self.places.append(_Place(parameter, first, transposed))
        self.size += parameter.numel()
        return first

    def add_layer(
        self, linears: list[nn.Linear], activation: int, source: int, n_market: int = 0
    ) -> list[int]:
        """Add layers that read the same values, side by side; return where each one's outputs are.

        Of the inputs, the first `n_market` are not among the values.
        """
        weight, *_ = [self.add(linear.weight, n_market > 0) for linear in linears]
        bias, *_ = [self.add(linear.bias) for linear in linears]
        outputs = [linear.out_features for linear in linears]
        n_in = linears[0].in_features - n_market
        first = self.n_values
        self.rows.append([source, n_in, first, sum(outputs), weight, bias, activation])
        self.n_values += sum(outputs)
        return [first + sum(outputs[:number]) for number in range(len(outputs))]


def _add_layers(layout: _Layout, policy: ActorCriticPolicy, n_market: int) -> None:
    actor, critic = (_hidden(net) for net in _towers(policy))
    extractor, source = policy.features_extractor, 0
    if isinstance(extractor, MarketExtractor):
        activation = _ACTIVATIONS[type(extractor.activation)]
        (source,) = layout.add_layer([extractor.linear], activation, 0, n_market)
    begin = layout.add_layer([actor[0][0], critic[0][0]], actor[0][1], source)
    ends = []
    for first, tower in zip(begin, (actor, critic), strict=True):
        at = first
        for linear, activation in tower[1:]:
            (at,) = layout.add_layer([linear], activation, at)
        ends.append(at)
    layout.add_layer([_linear(policy.action_net)], IDENTITY, ends[0])
    layout.add_layer([policy.value_net], IDENTITY, ends[1])


def _towers(policy: ActorCriticPolicy) -> tuple[nn.Module, nn.Module]:
    return policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net


def _hidden(net: nn.Module) -> list[tuple[nn.Linear, int]]:
    """Return the layers of a tower and their activations."""
    return [(_linear(linear), _ACTIVATIONS[type(then)]) for linear, then in _pairs(net)]


def _pairs(net: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    layers = list(net.children())
    return zip(layers[::2], layers[1::2], strict=True)


def _linear(module: nn.Module) -> nn.Linear:
    if not isinstance(module, nn.Linear):
        raise TypeError(f"expected a linear layer, received {type(module).__name__}")
    return module


def _heads_of(space: spaces.Space) -> np.ndarray:
    if isinstance(space, spaces.Discrete):
        return np.array([0, space.n], np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return np.concatenate([[0], np.cumsum(space.nvec)]).astype(np.int64)
    return np.zeros(0, np.int64)


def _is_flat_box(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.float32 and len(space.shape) == 1


def _is_known(space: spaces.Space) -> bool:
    if isinstance(space, spaces.Discrete):
        return int(space.start) == 0
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ndim == 1 and not np.any(space.start)
    return isinstance(space, spaces.Box) and len(space.shape) == 1


def _has_known_extractor(policy: ActorCriticPolicy) -> bool:
    extractor = policy.features_extractor
    if type(extractor) is MarketExtractor:
        return type(extractor.activation) in _ACTIVATIONS
    return type(extractor) is FlattenExtractor


def _has_known_towers(policy: ActorCriticPolicy) -> bool:
    towers = [list(net.children()) for net in _towers(policy)]
    if not all(towers) or any(len(layers) % 2 for layers in towers):
        return False
    kinds = [type(layer) for layers in towers for layer in layers[1::2]]
    linear = all(type(layer) is nn.Linear for layers in towers for layer in layers[::2])
    return linear and set(kinds) <= set(_ACTIVATIONS) and type(towers[0][1]) is type(towers[1][1])


def _is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) != 1:
        return False
    group = optimizer.param_groups[0]
    return group["weight_decay"] == 0 and not group["amsgrad"] and not group["maximize"]
