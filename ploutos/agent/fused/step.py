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


class AdamStep(NamedTuple):
    """The numbers of one step of Adam, float32.

    scale: factor on the gradient. fresh1, beta2, fresh2: 1 - beta1, beta2, 1 - beta2. size: step
    size over the first bias correction. root: one over the root of the second. eps: epsilon.
    """

    scale: np.float32
    fresh1: np.float32
    beta2: np.float32
    fresh2: np.float32
    size: np.float32
    root: np.float32
    eps: np.float32


@fused
def adam_step(
    learning_rate: float, betas: tuple[float, float], eps: float, steps: int, scale: float
) -> AdamStep:
    """Return the numbers of step number `steps`, from 1 on."""
    beta1, beta2 = betas
    return AdamStep(
        np.float32(scale),
        np.float32(1.0 - beta1),
        np.float32(beta2),
        np.float32(1.0 - beta2),
        np.float32(learning_rate / (1.0 - beta1**steps)),
        np.float32(1.0 / np.sqrt(1.0 - beta2**steps)),
        np.float32(eps),
    )


@fused
def adam(
    parameter: np.ndarray,
    gradient: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    step: AdamStep,
) -> None:
    """Take a step along flat float32 gradients; parameter and moments are changed in place.

    Source: Kingma and Ba 2015, algorithm 1, with epsilon outside of the bias correction as in
    torch.optim.Adam.
    """
    for i in range(parameter.shape[0]):
        slope = gradient[i] * step.scale
        first[i] += step.fresh1 * (slope - first[i])
        second[i] = step.beta2 * second[i] + step.fresh2 * slope * slope
        parameter[i] -= step.size * first[i] / (np.sqrt(second[i]) * step.root + step.eps)


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
    moments.n_steps[0] += 1
    betas, t = (hyper.beta1, hyper.beta2), moments.n_steps[0]
    step = adam_step(hyper.learning_rate, betas, hyper.eps, t, scale)
    adam(net.parameters, gradient, moments.first, moments.second, step)
    return DONE
