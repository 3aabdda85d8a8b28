"""What a recurrent rollout consists of: acting, truncated ends, and minibatches of its buffer.

In: a policy, observations, a filled `RecurrentRolloutBuffer`. Out: actions, values of the last
observations of truncated episodes, packed minibatches.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from torch import nn

from ploutos.agent.recurrent_gradients import Both, features_of
from ploutos.agent.recurrent_loss import Minibatch, draw
from ploutos.agent.recurrent_lstm import States, step
from ploutos.agent.recurrent_minibatches import Sequences, sequences_of
from ploutos.agent.rollout import truncated_of

Acted = tuple[torch.Tensor, torch.Tensor, torch.Tensor, RNNStates]


@torch.no_grad()
def act(
    policy: RecurrentActorCriticPolicy,
    observations: torch.Tensor,
    states: RNNStates,
    episode_starts: torch.Tensor,
    both: Both,
) -> Acted:
    """Return what `forward` of sb3-contrib's policy does: actions, values, log_probs, states.

    Parameters
    ----------
    policy : RecurrentActorCriticPolicy
        One whose LSTMs are plain (`ploutos.agent.recurrent_lstm.is_plain`).
    observations : (E, *shape)
        One per environment.
    states : RNNStates
        Pairs of (layers, E, H), before the step.
    episode_starts : (E,) float32
        1 where an episode starts.
    both : callable
        Of `side_by_side`.
    """
    for_actor, for_critic = features_of(policy, observations)

    @torch.no_grad()
    def actor() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, States]:
        latent, after = step(policy.lstm_actor, for_actor, cleared(states.pi, episode_starts))
        return *draw(policy, latent), latent, after

    @torch.no_grad()
    def critic() -> tuple[torch.Tensor, States | None]:
        lstm = policy.lstm_critic
        if lstm is not None:
            latent, after = step(lstm, for_critic, cleared(states.vf, episode_starts))
            return _values(policy, latent), after
        return _values(policy, _linear(policy)(for_critic)), None

    if policy.shared_lstm:
        actions, log_probs, latent, after = actor()
        return actions, _values(policy, latent), log_probs, RNNStates(after, after)
    (actions, log_probs, _, after), (values, critic_after) = both(actor, critic)
    return actions, values, log_probs, RNNStates(after, critic_after or after)


def cleared(states: States, episode_starts: torch.Tensor) -> States:
    """Return states (layers, n, H), zeros where an episode starts."""
    keep = (1.0 - episode_starts).view(1, -1, 1)
    return keep * states[0], keep * states[1]


class End(NamedTuple):
    """Truncated ends of one step: what their bootstrap needs.

    step: of the rollout. envs: which environments. observations: the episodes' last, one per
    environment. states: the critic's, pairs of (layers, ends, H), after the step.
    """

    step: int
    envs: list[int]
    observations: list[np.ndarray]
    states: States


def truncated_ends(
    step_number: int, dones: np.ndarray, infos: Sequence[dict[str, Any]], states: States
) -> list[End]:
    """Return the ends of a step that were truncations: one `End`, or none."""
    envs = truncated_of(np.flatnonzero(dones), infos)
    if not envs:
        return []
    observations = [infos[e]["terminal_observation"] for e in envs]
    return [End(step_number, envs, observations, (states[0][:, envs], states[1][:, envs]))]


@torch.no_grad()
def bootstrap(
    policy: RecurrentActorCriticPolicy, buffer: RecurrentRolloutBuffer, ends: list[End]
) -> None:
    """Add the discounted value of the last observations to the rewards of truncated episodes."""
    if not ends:
        return
    stacked = np.stack([one for end in ends for one in end.observations])
    observations, _ = policy.obs_to_tensor(stacked)
    hidden, cell = (torch.cat([end.states[part] for end in ends], 1) for part in (0, 1))
    starts = torch.zeros(stacked.shape[0])
    values = policy.predict_values(cast(torch.Tensor, observations), (hidden, cell), starts)
    steps = np.repeat([end.step for end in ends], [len(end.envs) for end in ends])
    buffer.rewards[steps, [e for end in ends for e in end.envs]] += (
        buffer.gamma * values.flatten().numpy()
    )


def minibatch_of(buffer: RecurrentRolloutBuffer, rows: np.ndarray) -> Minibatch:
    """Return the minibatch of some rows of a filled buffer.

    Nothing of the buffer is put into another order: rows are taken where they lie.

    Parameters
    ----------
    buffer : RecurrentRolloutBuffer
        Filled, with its advantages.
    rows : (R,) int64
        See `ploutos.agent.recurrent_minibatches.Minibatches`.
    """
    starts = _column(buffer, "episode_starts", rows).ravel() != 0
    sequences = sequences_of(rows, starts, buffer.buffer_size)
    rows = sequences.rows
    actions = _tensor(_column(buffer, "actions", rows))
    if isinstance(buffer.action_space, gym.spaces.Discrete):
        actions = actions.long().flatten()
    numbers = ("values", "log_probs", "advantages", "returns")
    columns = [_tensor(_column(buffer, name, rows).ravel()) for name in numbers]
    return Minibatch(
        _tensor(_column(buffer, "observations", rows)),
        actions,
        *columns,
        states=RNNStates(
            _states(buffer, sequences, ("hidden_states_pi", "cell_states_pi")),
            _states(buffer, sequences, ("hidden_states_vf", "cell_states_vf")),
        ),
        sequences=sequences,
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    """Return a copy in torch's own memory, which begins at a multiple of 64 bytes.

    The last bits of its BLAS's sums depend on where a matrix begins; numpy's begin anywhere.
    """
    return torch.from_numpy(array).clone()


def _column(buffer: RecurrentRolloutBuffer, name: str, rows: np.ndarray) -> np.ndarray:
    """Take rows of one of a buffer's arrays: (n_steps, E, *shape) -> (R, *shape)."""
    array = getattr(buffer, name)
    if not buffer.generator_ready:
        e, t = np.divmod(rows, buffer.buffer_size)
        array, rows = array.reshape(-1, *array.shape[2:]), t * buffer.n_envs + e
    return array.take(rows, axis=0)


def _states(buffer: RecurrentRolloutBuffer, sequences: Sequences, names: tuple[str, str]) -> States:
    """Return the states before sequences, (layers, n, H), zeros where an episode begins."""
    hidden, cell = (getattr(buffer, name) for name in names)
    e, t = np.divmod(sequences.firsts, buffer.buffer_size)
    # After somebody has called the buffer's `get`, its arrays are in the order of the rows.
    at = sequences.firsts if buffer.generator_ready else (t, slice(None), e)
    keep = 1.0 - torch.from_numpy(sequences.begins.astype(np.float32))
    found = [torch.from_numpy(array[at]).transpose(0, 1) for array in (hidden, cell)]
    return keep.view(1, -1, 1) * found[0], keep.view(1, -1, 1) * found[1]


def _values(policy: RecurrentActorCriticPolicy, latent: torch.Tensor) -> torch.Tensor:
    return policy.value_net(policy.mlp_extractor.forward_critic(latent))


def _linear(policy: RecurrentActorCriticPolicy) -> nn.Module:
    if policy.critic is None:
        raise ValueError("expected a critic with an LSTM or a layer of its own")
    return policy.critic
