"""Refusing gradients that are not finite. In: a learner. Out: an optimiser that checks first.

The check stands between the backward pass and the step, so the parameters and Adam's moments are
those from before when it fails.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import torch
from sb3_contrib.common.recurrent.type_aliases import RecurrentRolloutBufferSamples
from stable_baselines3.common.buffers import RolloutBuffer
from torch.utils.hooks import RemovableHandle

from ploutos.agent.learner import Learner
from ploutos.errors import DivergedError


def watch_gradients(model: Learner, before_step: Callable[[], None]) -> RemovableHandle:
    """Check the gradients before every step of the learner's optimiser.

    The returned handle ends it. `before_step` is called first; what it raises ends the update
    there, between two steps.
    """
    names = {parameter: name for name, parameter in model.policy.named_parameters()}

    def check(_optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        before_step()
        gradients = [p.grad.reshape(-1) for p in names if p.grad is not None]
        if not gradients:
            return
        # One array and one number of it: a call per parameter would cost five times as much.
        whole = torch.cat(gradients)
        squared = float(whole.dot(whole))
        # An infinite loss may leave no gradient at all: clipping divides by an infinite norm.
        term = None if 0.0 < squared < inf else first_bad_loss(model)
        if term is not None or not squared < inf:
            raise DivergedError(
                f"expected finite losses and gradients after {model.num_timesteps} steps, received "
                f"{term or 'finite losses'} and {_first_bad_gradient(names) or 'finite gradients'}"
                ". No parameter was changed by it. Lower the learning rate."
            )

    return model.policy.optimizer.register_step_pre_hook(check)


def first_bad_loss(model: Learner) -> str | None:
    """Compute the terms of PPO's loss over the rollout again; name one that is not finite."""
    buffer = model.rollout_buffer
    if not isinstance(buffer, RolloutBuffer):
        return None
    for batch in buffer.get(model.batch_size):
        recurrent = isinstance(batch, RecurrentRolloutBufferSamples)
        states = (batch.lstm_states, batch.episode_starts) if recurrent else ()
        # Sequences are padded to one length; what stands there is no part of the loss.
        counts = batch.mask > 0 if recurrent else slice(None)
        with torch.no_grad():
            values, log_prob, entropy = model.policy.evaluate_actions(
                batch.observations, batch.actions, *states
            )
            terms = {
                "policy loss": torch.exp(log_prob - batch.old_log_prob) * batch.advantages,
                "value loss": (batch.returns - values.flatten()) ** 2,
                "entropy": log_prob if entropy is None else entropy,
            }
        for name, term in terms.items():
            if not bool(term[counts].sum().isfinite()):
                return f"a {name} of {float(term[counts].mean())}"
    return None


def _first_bad_gradient(names: dict[torch.nn.Parameter, str]) -> str | None:
    for parameter, name in names.items():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return f"a gradient of {name} that is not"
    return None
