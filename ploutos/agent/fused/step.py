"""A step of the optimiser. In: the gradients of a minibatch's parts. Out: parameters, changed."""

from typing import NamedTuple

import numpy as np

from ploutos.agent.fused.loss import ENTROPY, KL, LOSS, NORM, POLICY_LOSS, VALUE_LOSS, Hyper
from ploutos.agent.fused.network import Net, add_to, zero
from ploutos.agent.fused.options import fused, summed

DONE, TOO_FAR, LOSS_NOT_FINITE, GRADIENT_NOT_FINITE = range(4)


class Moments(NamedTuple):
    """State of Adam: first and second moment (P,) float32, and the steps taken, (1,) int64."""

    first: np.ndarray
    second: np.ndarray
    n_steps: np.ndarray


@summed
def _square_sum(values: np.ndarray) -> np.float64:
    total = np.float64(0.0)
    for first in range(0, values.shape[0], 256):
        part = values[first : first + 256]
        own = zero
        for i in range(part.shape[0]):
            own += part[i] * part[i]
        total += own
    return total


@fused
def _adam(
    parameters: np.ndarray, moments: Moments, gradient: np.ndarray, hyper: Hyper, scale: float
) -> None:
    """Take a step of Adam (Kingma & Ba 2015) along `scale * gradient`, as torch.optim.Adam does."""
    first, second = moments.first, moments.second
    moments.n_steps[0] += 1
    t = moments.n_steps[0]
    step = np.float32(hyper.learning_rate / (1.0 - hyper.beta1**t))
    root = np.float32(1.0 / np.sqrt(1.0 - hyper.beta2**t))
    fresh1, fresh2 = np.float32(1.0 - hyper.beta1), np.float32(1.0 - hyper.beta2)
    beta2, eps, factor = np.float32(hyper.beta2), np.float32(hyper.eps), np.float32(scale)
    for i in range(parameters.shape[0]):
        slope = gradient[i] * factor
        first[i] += fresh1 * (slope - first[i])
        second[i] = beta2 * second[i] + fresh2 * slope * slope
        parameters[i] -= step * first[i] / (np.sqrt(second[i]) * root + eps)


@fused
def take_step(
    net: Net,
    moments: Moments,
    gradients: np.ndarray,
    n_samples: int,
    hyper: Hyper,
    figures: np.ndarray,
) -> int:
    """Add up the parts' gradients, clip their norm and take a step, if all is well.

    Parameters
    ----------
    net, moments : Net, Moments
        Parameters and moments are changed in place; left alone where DONE is not returned.
    gradients : (parts, P) float32
        The first one becomes the sum.
    n_samples : int
        B, of the whole minibatch.
    hyper : Hyper
        Hyper-parameters.
    figures : (N_FIGURES,) float64
        Sums over samples become means; the norm and the loss are noted.

    Returns
    -------
    int
        DONE; TOO_FAR past the target divergence; LOSS_NOT_FINITE; GRADIENT_NOT_FINITE.
    """
    for number in range(NORM):
        figures[number] /= n_samples
    loss = figures[POLICY_LOSS] + hyper.vf_coef * figures[VALUE_LOSS]
    figures[LOSS] = loss - hyper.ent_coef * figures[ENTROPY]
    if not np.isfinite(figures[LOSS] + figures[KL]):
        return LOSS_NOT_FINITE
    if 0.0 < 1.5 * hyper.target_kl < figures[KL]:
        return TOO_FAR
    gradient = gradients[0]
    for part in range(1, gradients.shape[0]):
        add_to(gradients[part], gradient)
    norm = np.sqrt(_square_sum(gradient))
    figures[NORM] = norm
    if not np.isfinite(norm):
        return GRADIENT_NOT_FINITE
    scale = min(1.0, hyper.max_grad_norm / (norm + 1e-6))
    _adam(net.parameters, moments, gradient, hyper, scale)
    return DONE
