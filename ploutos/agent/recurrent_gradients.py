"""Gradients of a minibatch, actor and critic side by side. In: a policy and rows. Out: losses.

Each side's way, from the features to its loss and back, touches parameters of its own, so two
threads can go the two ways at once. Every product is computed by one thread whatever happens:
results do not depend on how many there are.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from ploutos.agent.recurrent_loss import (
    ActorLoss,
    CriticLoss,
    Minibatch,
    Terms,
    actor_loss,
    critic_loss,
)
from ploutos.agent.recurrent_lstm import run, run_back

A = TypeVar("A")
B = TypeVar("B")
Both = Callable[[Callable[[], A], Callable[[], B]], tuple[A, B]]


@contextmanager
def side_by_side(n_threads: int | None = None) -> Iterator[Both]:
    """Give a function that calls two, at once if there are two threads for it, else in turn.

    Without a number, there are as many as torch is allowed. Inside, torch itself computes with one.
    """
    allowed = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if (n_threads or allowed) == 1:
            yield lambda one, other: (one(), other())
            return
        # A thread asks BLAS for as many threads as it was told itself.
        with ThreadPoolExecutor(1, initializer=partial(torch.set_num_threads, 1)) as threads:

            def at_once(one: Callable[[], A], other: Callable[[], B]) -> tuple[A, B]:
                waiting = threads.submit(other)
                return one(), waiting.result()

            yield at_once
    finally:
        torch.set_num_threads(allowed)


def features_of(
    policy: RecurrentActorCriticPolicy, observations: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features that the actor and the critic see, which may be the same."""
    features = ActorCriticPolicy.extract_features(policy, observations)
    return features if isinstance(features, tuple) else (features, features)


def compute_gradients(
    policy: RecurrentActorCriticPolicy, batch: Minibatch, terms: Terms, both: Both
) -> tuple[ActorLoss, CriticLoss]:
    """Write the gradients of RecurrentPPO's loss over a minibatch into the policy's parameters."""
    own = {id(p) for lstm in _lstms(policy) for p in lstm.parameters()}
    for parameter in policy.parameters():
        # Those of the LSTMs are written over, which saves making them anew.
        if id(parameter) not in own:
            parameter.grad = None
    for_actor, for_critic = features_of(policy, batch.observations)

    def actor() -> tuple[ActorLoss, torch.Tensor, torch.Tensor | None]:
        lstm = policy.lstm_actor
        layers = run(lstm, for_actor.detach(), batch.sequences, batch.states.pi)
        latent = layers[-1].outputs.requires_grad_()
        result = actor_loss(policy, latent, batch, terms)
        gradient = _gradient(result.loss, latent)
        needed = for_actor.requires_grad
        inputs = run_back(lstm, layers, gradient, batch.sequences, needs_inputs=needed)
        return result, latent.detach(), inputs

    def critic() -> tuple[CriticLoss, torch.Tensor | None]:
        lstm, needed = policy.lstm_critic, for_critic.requires_grad
        if lstm is None:
            return _without_lstm(policy, for_critic, batch, terms)
        layers = run(lstm, for_critic.detach(), batch.sequences, batch.states.vf)
        latent = layers[-1].outputs.requires_grad_()
        result = critic_loss(policy, latent, batch, terms)
        gradient = _gradient(result.loss, latent)
        return result, run_back(lstm, layers, gradient, batch.sequences, needs_inputs=needed)

    if policy.shared_lstm:
        of_actor, latent, inputs = actor()
        of_critic = critic_loss(policy, latent, batch, terms)
        of_critic.loss.backward()
        found = [(for_actor, inputs)]
    else:
        (of_actor, _, inputs), (of_critic, other_inputs) = both(actor, critic)
        found = [(for_actor, inputs), (for_critic, other_inputs)]
    back = [(features, gradient) for features, gradient in found if gradient is not None]
    if back:
        torch.autograd.backward([f for f, _ in back], [g for _, g in back])
    return of_actor, of_critic


def _lstms(policy: RecurrentActorCriticPolicy) -> list[nn.LSTM]:
    return [lstm for lstm in (policy.lstm_actor, policy.lstm_critic) if lstm is not None]


def _without_lstm(
    policy: RecurrentActorCriticPolicy, features: torch.Tensor, batch: Minibatch, terms: Terms
) -> tuple[CriticLoss, torch.Tensor | None]:
    """Go the critic's way where a linear layer stands in its LSTM's place."""
    if policy.critic is None:
        raise ValueError("expected a critic with an LSTM or a layer of its own")
    inputs = features.detach().requires_grad_(features.requires_grad)
    result = critic_loss(policy, policy.critic(inputs), batch, terms)
    result.loss.backward()
    return result, inputs.grad


def _gradient(loss: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
    """Go back from a loss to the LSTM's outputs; write the gradients of what stands between."""
    loss.backward()
    if latent.grad is None:
        raise ValueError("expected a loss that depends on the LSTM's outputs")
    return latent.grad
