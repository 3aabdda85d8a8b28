"""The losses of RecurrentPPO over packed rows. In: LSTM outputs and a minibatch. Out: losses.

Source: `train` of sb3-contrib's RecurrentPPO. There the rows are padded and masked; here there are
no others than the minibatch's own, so a mean is a mean.
"""

# The distribution over actions has no public name in Stable-Baselines3.
# pyright: reportPrivateUsage=false

from typing import NamedTuple

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import MultiCategoricalDistribution

from ploutos.agent.recurrent_minibatches import Sequences


class Minibatch(NamedTuple):
    """R rows in the order of `sequences.rows`, and the states before its n sequences.

    observations (R, *shape), or whatever the policy observes. actions (R, A), or (R,) where they
    are `Discrete`. old_values, old_log_prob, advantages, returns (R,). states: pairs of
    (layers, n, H), cleared where an episode begins.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    old_values: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    states: RNNStates
    sequences: Sequences


class Terms(NamedTuple):
    """What the losses are made of, in Stable-Baselines3's words, as of this update."""

    clip_range: float
    clip_range_vf: float | None
    ent_coef: float
    vf_coef: float
    normalize_advantage: bool


class ActorLoss(NamedTuple):
    """The actor's part of the loss, (), and what is logged of it."""

    loss: torch.Tensor
    policy: float
    entropy: float
    clip_fraction: float
    approx_kl: float


class CriticLoss(NamedTuple):
    """The critic's part of the loss, (), and what is logged of it."""

    loss: torch.Tensor
    value: float


def actor_loss(
    policy: RecurrentActorCriticPolicy, latent: torch.Tensor, batch: Minibatch, terms: Terms
) -> ActorLoss:
    """Return the clipped surrogate loss and the entropy bonus of (R, H) LSTM outputs."""
    log_prob, entropy = _judge(policy, latent, batch.actions)
    advantages = batch.advantages
    if terms.normalize_advantage:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    log_ratio = log_prob - batch.old_log_prob
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - terms.clip_range, 1 + terms.clip_range)
    policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()
    # Without a closed form sb3-contrib estimates the entropy by the actions that were drawn.
    entropy_loss = log_prob.mean() if entropy is None else -entropy.mean()
    with torch.no_grad():
        # http://joschu.net/blog/kl-approx.html
        approx_kl = ((ratio - 1) - log_ratio).mean()
        clip_fraction = ((ratio - 1).abs() > terms.clip_range).float().mean()
    return ActorLoss(
        policy_loss + terms.ent_coef * entropy_loss,
        policy_loss.item(),
        entropy_loss.item(),
        clip_fraction.item(),
        approx_kl.item(),
    )


def critic_loss(
    policy: RecurrentActorCriticPolicy, latent: torch.Tensor, batch: Minibatch, terms: Terms
) -> CriticLoss:
    """Return the value loss of (R, H) LSTM outputs."""
    values = policy.value_net(policy.mlp_extractor.forward_critic(latent)).flatten()
    if terms.clip_range_vf is not None:
        change = (values - batch.old_values).clamp(-terms.clip_range_vf, terms.clip_range_vf)
        values = batch.old_values + change
    value_loss = torch.mean((batch.returns - values) ** 2)
    return CriticLoss(terms.vf_coef * value_loss, value_loss.item())


def draw(
    policy: RecurrentActorCriticPolicy, latent: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw actions (n, *shape) at (n, H) LSTM outputs; return them with their log probability.

    The random numbers are those that sb3-contrib would draw.
    """
    latent = policy.mlp_extractor.forward_actor(latent)
    heads = _like_heads(policy)
    if heads is None:
        distribution = policy._get_action_dist_from_latent(latent)
        actions = distribution.get_actions()
        log_prob = distribution.log_prob(actions)
        return actions.reshape((-1, *(policy.action_space.shape or ()))), log_prob
    logits = _log_softmax(policy, latent, heads)
    # As `torch.multinomial` draws one of each row: head after head, the largest of p / Exp(1).
    noise = torch.empty(heads[0], latent.shape[0], heads[1])
    for head in noise:
        head.exponential_()
    actions = (logits.exp() / noise.transpose(0, 1)).argmax(2)
    return actions, _of_actions(logits, actions)


def _judge(
    policy: RecurrentActorCriticPolicy, latent: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return log probabilities (R,) of actions, and entropies (R,) if they have a closed form."""
    latent = policy.mlp_extractor.forward_actor(latent)
    heads = _like_heads(policy)
    if heads is None:
        distribution = policy._get_action_dist_from_latent(latent)
        return distribution.log_prob(actions), distribution.entropy()
    logits = _log_softmax(policy, latent, heads)
    return _of_actions(logits, actions), -(logits.exp() * logits).sum((1, 2))


def _like_heads(policy: RecurrentActorCriticPolicy) -> tuple[int, int] | None:
    """Return (heads, choices) where all heads of a `MultiDiscrete` policy have as many choices.

    Stable-Baselines3 makes one distribution after the other; alike ones are one array.
    """
    distribution = policy.action_dist
    if not isinstance(distribution, MultiCategoricalDistribution):
        return None
    choices = list(distribution.action_dims)
    return (len(choices), int(choices[0])) if len(set(choices)) == 1 else None


def _log_softmax(
    policy: RecurrentActorCriticPolicy, latent: torch.Tensor, heads: tuple[int, int]
) -> torch.Tensor:
    """Return (R, heads, choices) log probabilities."""
    return policy.action_net(latent).view(-1, *heads).log_softmax(2)


def _of_actions(logits: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Return (R,) log probabilities of (R, heads) actions."""
    return logits.gather(2, actions[:, :, None]).sum((1, 2))
