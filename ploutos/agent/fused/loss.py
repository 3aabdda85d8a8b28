"""The loss of PPO, sample by sample. In: log probabilities, values. Out: slopes, and sums.

With ratio r = exp(logp - old logp) and normalised advantage A, over the B samples of a minibatch:

    L = -mean min(r A, clip(r, 1 - c, 1 + c) A) + vf_coef mean (R - v)^2 - ent_coef mean entropy

(Schulman et al. 2017, Proximal Policy Optimization Algorithms), with the details of
Stable-Baselines3's `PPO.train`.
"""

from typing import NamedTuple

import numpy as np

from ploutos.agent.fused.elementary import exp
from ploutos.agent.fused.network import one, zero
from ploutos.agent.fused.options import summed

# Columns of a minibatch's figures: sums over samples, then the gradient's norm and the loss.
POLICY_LOSS, VALUE_LOSS, ENTROPY, KL, CLIPPED, NORM, LOSS = range(7)
N_FIGURES = 7
# Rows of a chunk's columns.
LOG_PROB, SAMPLE_ENTROPY, ROOM, OF_VALUE, OLD_LOG_PROB, RETURNS, OLD_VALUE, ADVANTAGE = range(8)
N_COLUMNS = 8


class Hyper(NamedTuple):
    """Hyper-parameters, in SB3's words; `clip_range_vf` and `target_kl` are -1 where not given."""

    clip_range: float
    clip_range_vf: float
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    target_kl: float
    learning_rate: float
    beta1: float
    beta2: float
    eps: float
    normalise: bool


@summed
def weigh_policy(columns: np.ndarray, hyper: Hyper, share: float, figures: np.ndarray) -> None:
    """Replace log probabilities by the loss's slope in them; note sums.

    `columns` is (N_COLUMNS, n) float32, `share` 1 / B.
    """
    least, most = np.float32(1.0 - hyper.clip_range), np.float32(1.0 + hyper.clip_range)
    own, entropy = columns[LOG_PROB], columns[SAMPLE_ENTROPY]
    old, advantage = columns[OLD_LOG_PROB], columns[ADVANTAGE]
    loss, far, order, scale = zero, zero, zero, np.float32(share)
    information = zero
    for j in range(own.shape[0]):
        change = own[j] - old[j]
        ratio = exp(change)
        clipped = min(max(ratio, least), most)
        one_way, other = advantage[j] * ratio, advantage[j] * clipped
        loss -= min(one_way, other)
        information += (ratio - one) - change
        far += one if ratio != clipped else zero
        order += entropy[j]
        # Where the clipped term is the smaller one, the loss does not depend on the policy.
        own[j] = -scale * one_way if one_way <= other else zero
    figures[POLICY_LOSS] += loss
    figures[KL] += information
    figures[CLIPPED] += far
    figures[ENTROPY] += order


@summed
def weigh_value(
    value: np.ndarray, columns: np.ndarray, hyper: Hyper, share: float, figures: np.ndarray
) -> None:
    """Write the loss's slope in the values (n,) to OF_VALUE; note the sum of squares."""
    returns, old, out = columns[RETURNS], columns[OLD_VALUE], columns[OF_VALUE]
    bound, limited = np.float32(abs(hyper.clip_range_vf)), hyper.clip_range_vf > 0.0
    total, scale = zero, np.float32(2.0 * hyper.vf_coef * share)
    for j in range(out.shape[0]):
        own, free = value[j], one
        if limited:
            moved = value[j] - old[j]
            free = one if abs(moved) <= bound else zero
            own = old[j] + min(max(moved, -bound), bound)
        far = own - returns[j]
        total += far * far
        out[j] = scale * far * free
    figures[VALUE_LOSS] += total
