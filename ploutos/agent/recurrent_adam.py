"""Clipping and Adam in one pass. In: parameters with gradients. Out: changed parameters.

Torch goes over parameters, gradients and moments fifteen times, which takes longer than the
gradients themselves where the layers are wide and the minibatches small. The moments are those of
the `torch.optim.Adam` that is given, so that whoever saves it saves them.
"""

import math
from typing import Any

import torch
from torch import nn

from ploutos.agent.fused.step import adam, adam_step


def clip_and_step(optimizer: torch.optim.Optimizer, max_norm: float, both: Any) -> None:
    """Clip the gradients' common norm at `max_norm` and let the optimizer do a step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        `torch.optim.Adam` in its usual form is done here, anything else by torch.
    max_norm : float
        As of `torch.nn.utils.clip_grad_norm_`.
    both : callable
        Of `side_by_side`: it does half of the parameters each.
    """
    parameters = [
        p for group in optimizer.param_groups for p in group["params"] if p.grad is not None
    ]
    if not _is_usual(optimizer, parameters):
        nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()
        return
    # As torch's own step begins: whoever watches gradients is called before anything is changed.
    for hook in optimizer._optimizer_step_pre_hooks.values():  # pyright: ignore[reportPrivateUsage] - torch has no public name
        hook(optimizer, (), {})
    halves = _halves(parameters)
    norms = both(*(lambda own=own: [_norm(p) for p in own] for own in halves))
    coefficient = max_norm / (math.hypot(*norms[0], *norms[1]) + 1e-6)
    scale = 1.0 if coefficient > 1.0 else coefficient
    both(*(lambda own=own: _step(optimizer, own, scale) for own in halves))


def _is_usual(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> bool:
    if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) > 1:
        return False
    group = optimizer.param_groups[0]
    unusual = ("amsgrad", "maximize", "capturable", "differentiable", "weight_decay")
    return not any(group[name] for name in unusual) and all(
        p.is_contiguous() and p.dtype == torch.float32 and p.device.type == "cpu"
        for p in parameters
    )


def _halves(parameters: list[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Divide parameters into two lists with about as many values."""
    halves: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    sizes = [0, 0]
    for parameter in sorted(parameters, key=lambda p: -p.numel()):
        lighter = int(sizes[1] < sizes[0])
        halves[lighter].append(parameter)
        sizes[lighter] += parameter.numel()
    return halves


def _norm(parameter: nn.Parameter) -> float:
    return torch.linalg.vector_norm(_gradient(parameter)).item()


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    if parameter.grad is None:
        raise ValueError("expected parameters with gradients")
    return parameter.grad


@torch.no_grad()
def _step(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], scale: float) -> None:
    group = optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    for parameter in parameters:
        state = optimizer.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = adam_step(
            float(group["lr"]), (beta1, beta2), float(group["eps"]), int(state["step"]), scale
        )
        changed = (parameter.detach(), state["exp_avg"], state["exp_avg_sq"])
        own, mean, square = (array.view(-1).numpy() for array in changed)
        gradient = _gradient(parameter).reshape(-1).numpy()
        adam(own, gradient, mean, square, step)
