"""The gradient of a minibatch. In: picked samples of a rollout. Out: gradients, in parts.

A minibatch is worked off in parts whose number depends on its size alone, each with a gradient of
its own, so that their sum is the same with any number of threads; and a part in chunks that stay
in a core's cache.
"""

from typing import NamedTuple

import numpy as np

from ploutos.agent.fused.heads import log_probabilities, normalise_heads, slopes
from ploutos.agent.fused.loss import (
    ADVANTAGE,
    N_COLUMNS,
    OF_VALUE,
    OLD_LOG_PROB,
    OLD_VALUE,
    RETURNS,
    Hyper,
    weigh_policy,
    weigh_value,
)
from ploutos.agent.fused.network import N_IN, N_OUT, TO, Net, backward, forward, rows_of, zero
from ploutos.agent.fused.options import fused

# Samples that are worked off at a time.
CHUNK = 128
# A part is worth another thread's waking up.
PART_SAMPLES = 1024
MOST_PARTS = 8


class Rollout(NamedTuple):
    """A rollout of S samples, time-major.

    observation (S, D) float32, of which the last N_IN values are read; action (S, choices);
    log_prob, value, returns, advantage (S,) float32.
    """

    observation: np.ndarray
    action: np.ndarray
    log_prob: np.ndarray
    value: np.ndarray
    returns: np.ndarray
    advantage: np.ndarray


class Room(NamedTuple):
    """Memory that one thread works in; every array float32.

    inputs (CHUNK, N_IN), values and gradients (n_values * CHUNK,), action (choices * CHUNK,),
    draws ((choices + 1) * CHUNK,), columns (N_COLUMNS * CHUNK,), weight (largest weight,).
    """

    inputs: np.ndarray
    values: np.ndarray
    gradients: np.ndarray
    action: np.ndarray
    draws: np.ndarray
    columns: np.ndarray
    weight: np.ndarray


def new_room(net: Net, n_choices: int) -> Room:
    """Return room for one thread."""
    largest = max(int(layer[N_IN] * layer[N_OUT]) for layer in (net.input_layer, *net.layers))
    return Room(
        inputs=np.empty((CHUNK, net.input_layer[N_IN]), np.float32),
        values=np.empty(net.n_values * CHUNK, np.float32),
        gradients=np.empty(net.n_values * CHUNK, np.float32),
        action=np.empty(n_choices * CHUNK, np.float32),
        draws=np.empty((n_choices + 1) * CHUNK, np.float32),
        columns=np.empty(N_COLUMNS * CHUNK, np.float32),
        weight=np.empty(largest, np.float32),
    )


@fused
def n_parts(n_samples: int) -> int:
    """Return into how many parts a minibatch is divided: a matter of its size alone."""
    return max(1, min(MOST_PARTS, n_samples // PART_SAMPLES))


@fused
def normalise(rollout: Rollout, picks: np.ndarray, hyper: Hyper, out: np.ndarray) -> None:
    """Write (A - mean) / (standard deviation + 1e-8) of the picked samples' advantages.

    The deviation is that of a sample, with n - 1; a single one is left as it is, and so are all
    where the hyper-parameters say so.
    """
    n = picks.shape[0]
    total = 0.0
    for j in range(n):
        out[j] = rollout.advantage[picks[j]]
        total += out[j]
    if n == 1 or not hyper.normalise:
        return
    mean, squares = total / n, 0.0
    for j in range(n):
        squares += (out[j] - mean) ** 2
    inverse = 1.0 / (np.sqrt(squares / (n - 1)) + 1e-8)
    for j in range(n):
        out[j] = np.float32((out[j] - mean) * inverse)


@fused
def _gather(
    rollout: Rollout,
    picks: np.ndarray,
    inputs: np.ndarray,
    action: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Copy a chunk's samples together."""
    skipped = rollout.observation.shape[1] - inputs.shape[1]
    for j in range(picks.shape[0]):
        pick = picks[j]
        source, own = rollout.observation[pick], inputs[j]
        for d in range(own.shape[0]):
            own[d] = source[skipped + d]
        for c in range(action.shape[0]):
            action[c, j] = np.float32(rollout.action[pick, c])
        columns[OLD_LOG_PROB, j] = rollout.log_prob[pick]
        columns[RETURNS, j] = rollout.returns[pick]
        columns[OLD_VALUE, j] = rollout.value[pick]


@fused
def part_gradient(
    net: Net,
    rollout: Rollout,
    part: tuple[np.ndarray, np.ndarray, int],
    market: tuple[np.ndarray, np.ndarray, np.ndarray],
    hyper: Hyper,
    out: tuple[Room, np.ndarray, np.ndarray],
) -> None:
    """Write the gradient of a part of a minibatch, and note its sums.

    Parameters
    ----------
    net, hyper : Net, Hyper
        The network and the hyper-parameters.
    rollout : Rollout
        All samples.
    part : ((n,) int64, (n,) float32, int)
        Numbers of the samples, their normalised advantages, and B, how many the minibatch has.
    market : ((U, H) float32, (n,) int64, (U, H) float32)
        By reference: market parts of the input layer, and which of them each sample has; the
        gradient of the market parts is written to the third. By value: empty.
    out : (Room, (P,) float32, (N_FIGURES,) float64)
        Memory to work in; the gradient, written but for the weights of the market; sums, added to.
    """
    (picks, advantage, n_all), (room, gradient, figures) = part, out
    gradient[:] = zero
    market[2][:] = zero
    share, n_choices = 1.0 / n_all, rollout.action.shape[1]
    head, value_head = net.layers[-2], net.layers[-1]
    for first in range(0, picks.shape[0], CHUNK):
        own = picks[first : first + CHUNK]
        n = own.shape[0]
        columns = room.columns[: N_COLUMNS * n].reshape(N_COLUMNS, n)
        action = room.action[: n_choices * n].reshape(n_choices, n)
        inputs, place = room.inputs[:n], market[1][first : first + n]
        _gather(rollout, own, inputs, action, columns)
        columns[ADVANTAGE] = advantage[first : first + n]
        forward(net, inputs, (market[0], place), room.values)
        z = rows_of(room.values, head[TO], head[N_OUT], n)
        normalise_heads(net, z, columns[:2])
        log_probabilities(net, z, action, columns[:2])
        weigh_policy(columns, hyper, share, figures)
        value = rows_of(room.values, value_head[TO], 1, n)[0]
        weigh_value(value, columns, hyper, share, figures)
        rows_of(room.gradients, value_head[TO], 1, n)[0] = columns[OF_VALUE]
        given = rows_of(room.gradients, head[TO], head[N_OUT], n)
        slopes(net, z, action, (columns[:3], -hyper.ent_coef * share), given, gradient)
        backward(net, inputs, room.values, room.gradients, room.weight, gradient)
        if net.n_market:
            _add_by_row(rows_of(room.gradients, 0, net.input_layer[N_OUT], n), place, market[2])


@fused
def _add_by_row(gradient: np.ndarray, place: np.ndarray, out: np.ndarray) -> None:
    """Add the columns of (H, n) to the rows `place`, (n,), of `out`, (U, H)."""
    for j in range(place.shape[0]):
        to = out[place[j]]
        for h in range(to.shape[0]):
            to[h] += gradient[h, j]
