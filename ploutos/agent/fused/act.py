"""Actions for E environments. In: observations. Out: actions, values, log probabilities."""

from typing import NamedTuple

import numpy as np

from ploutos.agent.fused.gradient import CHUNK, Room
from ploutos.agent.fused.heads import log_probabilities, normalise_heads, sample
from ploutos.agent.fused.loss import LOG_PROB, N_COLUMNS
from ploutos.agent.fused.network import N_OUT, TO, Net, forward, rows_of
from ploutos.agent.fused.options import fused


class Answer(NamedTuple):
    """What a rollout keeps of E environments' step.

    action (E, choices), of the buffer's dtype; value, log_prob (E,) float32.
    """

    action: np.ndarray
    value: np.ndarray
    log_prob: np.ndarray


@fused
def act(
    net: Net,
    observation: np.ndarray,
    market: tuple[np.ndarray, np.ndarray],
    draws: np.ndarray,
    room: Room,
    out: Answer,
) -> None:
    """Draw actions for E environments.

    Parameters
    ----------
    net : Net
        The network.
    observation : (E, D) float32
        Of which the last N_IN values are read.
    market : ((T, H) float32, (E,) int64)
        By reference: market parts of the input layer, and which of them each environment has.
    draws : (E, choices) float32
        Random numbers as `sample` takes them.
    room : Room
        Memory.
    out : Answer
        Written.
    """
    head, value_head, n_choices = net.layers[-2], net.layers[-1], out.action.shape[1]
    for first in range(0, observation.shape[0], CHUNK):
        part = slice(first, min(first + CHUNK, observation.shape[0]))
        own = observation[part]
        n = own.shape[0]
        inputs = _inputs(own, room)
        forward(net, inputs, (market[0], market[1][part]), room.values)
        z = rows_of(room.values, head[TO], head[N_OUT], n)
        action = room.action[: n_choices * n].reshape(n_choices, n)
        drawn = room.draws[: (n_choices + 1) * n].reshape(n_choices + 1, n)
        columns = room.columns[: N_COLUMNS * n].reshape(N_COLUMNS, n)
        for j in range(n):
            for c in range(n_choices):
                drawn[c, j] = draws[first + j, c]
        normalise_heads(net, z, columns[:2])
        sample(net, z, drawn, action)
        log_probabilities(net, z, action, columns[:2])
        value = rows_of(room.values, value_head[TO], 1, n)[0]
        for j in range(n):
            out.value[first + j] = value[j]
            out.log_prob[first + j] = columns[LOG_PROB, j]
            for c in range(n_choices):
                out.action[first + j, c] = action[c, j]


@fused
def value_of(
    net: Net,
    observation: np.ndarray,
    market: tuple[np.ndarray, np.ndarray],
    room: Room,
    out: np.ndarray,
) -> None:
    """Write the critic's values of observations (n, D) to `out`, (n,); see `act`."""
    value_head = net.layers[-1]
    for first in range(0, observation.shape[0], CHUNK):
        part = slice(first, min(first + CHUNK, observation.shape[0]))
        own = observation[part]
        forward(net, _inputs(own, room), (market[0], market[1][part]), room.values)
        out[part] = rows_of(room.values, value_head[TO], 1, own.shape[0])[0]


@fused
def _inputs(observation: np.ndarray, room: Room) -> np.ndarray:
    """Return what the input layer reads of observations, (n, N_IN), contiguous."""
    inputs = room.inputs[: observation.shape[0]]
    skipped = observation.shape[1] - inputs.shape[1]
    for j in range(inputs.shape[0]):
        source, own = observation[j], inputs[j]
        for d in range(own.shape[0]):
            own[d] = source[skipped + d]
    return inputs
