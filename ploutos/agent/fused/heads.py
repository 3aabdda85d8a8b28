"""Distributions of actions. In: outputs of the action head. Out: samples, probabilities, slopes.

Two kinds: independent categorical choices (`Discrete`, `MultiDiscrete`) over softmax(z), and a
Gaussian with a diagonal covariance (`Box`) around the mean z. Rows are features, columns samples.

| | log probability of a | entropy |
|---|---|---|
| categorical, per choice | z_a - ln sum_k exp z_k | -sum_k p_k ln p_k |
| Gaussian, per number | -(a - z)^2 / (2 s^2) - ln s - ln(2 pi) / 2 | 1/2 + ln(2 pi) / 2 + ln s |
"""

import math

import numpy as np

from ploutos.agent.fused.elementary import exp, log
from ploutos.agent.fused.network import Net, one, zero
from ploutos.agent.fused.options import fused, summed

_HALF = np.float32(0.5)
_HALF_LOG_2_PI = np.float32(0.5 * math.log(2.0 * math.pi))
# A probability that a float32 cannot tell from nothing.
_TINY = np.float32(1.1754944e-38)


@fused
def _log_softmax(z: np.ndarray, first: int, last: int, room: np.ndarray) -> None:
    """Replace rows [first, last) of z by log probabilities. `room` (2, n) is overwritten."""
    most, total = room[0], room[1]
    n = z.shape[1]
    for j in range(n):
        most[j], total[j] = z[first, j], zero
    for k in range(first + 1, last):
        row = z[k]
        for j in range(n):
            most[j] = max(most[j], row[j])
    for k in range(first, last):
        row = z[k]
        for j in range(n):
            total[j] += exp(row[j] - most[j])
    for j in range(n):
        most[j] += log(total[j])
    for k in range(first, last):
        row = z[k]
        for j in range(n):
            row[j] -= most[j]


@fused
def normalise_heads(net: Net, z: np.ndarray, room: np.ndarray) -> None:
    """Replace the action head's outputs by log probabilities, where they are of choices.

    Parameters
    ----------
    net : Net
        The network.
    z : (K, n) float32
        Outputs of the action head, changed in place; those of a Gaussian are left as they are.
    room : (2, n) float32
        Overwritten.
    """
    for head in range(net.heads.shape[0] - 1):
        _log_softmax(z, net.heads[head], net.heads[head + 1], room)


@fused
def log_probabilities(net: Net, z: np.ndarray, action: np.ndarray, out: np.ndarray) -> None:
    """Write log probabilities and entropies of n samples.

    Parameters
    ----------
    net : Net
        The network.
    z : (K, n) float32
        As `normalise_heads` left it.
    action : (choices, n) float32
        Actions; numbers of categories as floats.
    out : (2, n) float32
        Written: log probability and entropy.
    """
    total, entropy, n = out[0], out[1], z.shape[1]
    for j in range(n):
        total[j], entropy[j] = zero, zero
    if net.heads.shape[0] == 0:
        _gaussian(net.parameters[net.log_std : net.log_std + z.shape[0]], z, action, out)
        return
    for head in range(net.heads.shape[0] - 1):
        first, last = net.heads[head], net.heads[head + 1]
        chosen = action[head]
        for k in range(first, last):
            row, number = z[k], np.float32(k - first)
            for j in range(n):
                total[j] += row[j] if chosen[j] == number else zero
                entropy[j] -= exp(row[j]) * row[j]


@fused
def _gaussian(log_std: np.ndarray, z: np.ndarray, action: np.ndarray, out: np.ndarray) -> None:
    total, entropy = out[0], out[1]
    for k in range(z.shape[0]):
        row, given, own = z[k], action[k], log_std[k]
        inverse = exp(-own)
        for j in range(z.shape[1]):
            far = (given[j] - row[j]) * inverse
            total[j] -= _HALF * far * far + own + _HALF_LOG_2_PI
            entropy[j] += _HALF + _HALF_LOG_2_PI + own


@fused
def slopes(
    net: Net,
    z: np.ndarray,
    action: np.ndarray,
    weights: tuple[np.ndarray, float],
    out: np.ndarray,
    of_parameters: np.ndarray,
) -> None:
    """Write the gradient of `sum_j weight_j logp_j + entropy_weight sum_j entropy_j`.

    With p = softmax(z), H the entropy of a choice and w its sample's weight:

        d/dz_k = w (1[k = a] - p_k) - entropy_weight p_k (ln p_k + H)

    and for the Gaussian d/dz = w (a - z) / s^2, d/d ln s = sum_j w_j ((a - z)^2 / s^2 - 1)
    + n entropy_weight.

    Parameters
    ----------
    net, action
        As in `log_probabilities`.
    z : (K, n) float32
        As `normalise_heads` left it.
    weights : ((3, n) float32, float)
        Weights of the samples in the first row, the other rows are overwritten; `entropy_weight`.
    out : (K, n) float32
        Written.
    of_parameters : (P,) float32
        Gradient of the parameters; the logarithms of deviations are added to.
    """
    if net.heads.shape[0] == 0:
        _gaussian_slopes(net, z, action, weights, out, of_parameters)
        return
    w, entropy, n, c = weights[0][0], weights[0][1], z.shape[1], np.float32(weights[1])
    for head in range(net.heads.shape[0] - 1):
        first, last = net.heads[head], net.heads[head + 1]
        chosen = action[head]
        for j in range(n):
            entropy[j] = zero
        for k in range(first, last):
            row, p = z[k], out[k]
            for j in range(n):
                p[j] = exp(row[j])
                entropy[j] -= p[j] * row[j]
        for k in range(first, last):
            row, own, number = z[k], out[k], np.float32(k - first)
            for j in range(n):
                hit = one if chosen[j] == number else zero
                p = own[j]
                own[j] = w[j] * (hit - p) - c * p * (row[j] + entropy[j])


@fused
def _gaussian_slopes(
    net: Net,
    z: np.ndarray,
    action: np.ndarray,
    weights: tuple[np.ndarray, float],
    out: np.ndarray,
    of_parameters: np.ndarray,
) -> None:
    w, room, n = weights[0][0], weights[0][2], z.shape[1]
    for k in range(z.shape[0]):
        row, given, own = z[k], action[k], out[k]
        inverse = exp(-net.parameters[net.log_std + k])
        for j in range(n):
            far = (given[j] - row[j]) * inverse
            own[j] = w[j] * far * inverse
            room[j] = w[j] * (far * far - one)
        of_parameters[net.log_std + k] += _sum(room[:n]) + np.float32(n * weights[1])


@summed
def _sum(values: np.ndarray) -> np.float32:
    total = zero
    for j in range(values.shape[0]):
        total += values[j]
    return total


@fused
def sample(net: Net, z: np.ndarray, draws: np.ndarray, action: np.ndarray) -> None:
    """Write actions (choices, n) float32 drawn from the distributions.

    Parameters
    ----------
    net : Net
        The network.
    z : (K, n) float32
        As `normalise_heads` left it.
    draws : (choices + 1, n) float32
        Uniform numbers in [0, 1) for categorical choices, standard normal ones for a Gaussian;
        then a row of room.
    action : (choices, n) float32
        Written; the number of a category as a float.
    """
    n = z.shape[1]
    if net.heads.shape[0] == 0:
        for k in range(z.shape[0]):
            row, drawn, own = z[k], draws[k], action[k]
            deviation = exp(net.parameters[net.log_std + k])
            for j in range(n):
                own[j] = row[j] + deviation * drawn[j]
        return
    for head in range(action.shape[0]):
        first, last = net.heads[head], net.heads[head + 1]
        reached, drawn, own = draws[action.shape[0]], draws[head], action[head]
        for j in range(n):
            reached[j], own[j] = zero, zero
        # The last category has what is left, whatever the rounding of the sums.
        for k in range(first, last - 1):
            row = z[k]
            for j in range(n):
                reached[j] += exp(row[j])
                own[j] += one if drawn[j] >= reached[j] else zero
