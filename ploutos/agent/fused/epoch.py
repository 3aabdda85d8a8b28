"""An epoch of small minibatches in one call. In: a rollout in a random order. Out: parameters."""

from typing import NamedTuple

import numpy as np

from ploutos.agent.fused.gradient import Rollout, Room, n_parts, normalise, part_gradient
from ploutos.agent.fused.loss import Hyper
from ploutos.agent.fused.network import Net
from ploutos.agent.fused.options import fused
from ploutos.agent.fused.step import DONE, Moments, take_step


class Desk(NamedTuple):
    """Memory for the minibatches of one thread.

    room: for chunks. advantage (batch_size,), gradients (parts, P) float32. market: empty arrays,
    since observations hold the market's values. figures (minibatches, N_FIGURES) float64.
    """

    room: Room
    advantage: np.ndarray
    gradients: np.ndarray
    market: tuple[np.ndarray, np.ndarray, np.ndarray]
    figures: np.ndarray


@fused
def train_epoch(
    net: Net,
    moments: Moments,
    rollout: Rollout,
    order: tuple[np.ndarray, int],
    hyper: Hyper,
    desk: Desk,
) -> tuple[int, int]:
    """Work off the minibatches of one epoch, until one takes no step.

    Parameters
    ----------
    net, moments, hyper
        As in `take_step`.
    rollout : Rollout
        All samples.
    order : ((S,) int64, int)
        Numbers of the samples, and the size of a minibatch; the last one may be smaller.
    desk : Desk
        Memory; a row of figures per minibatch is written.

    Returns
    -------
    int, int
        Minibatches with a row of figures, and the last one's answer from `take_step`.
    """
    (picks, batch_size), figures = order, desk.figures
    number = 0
    for first in range(0, picks.shape[0], batch_size):
        own = picks[first : first + batch_size]
        n = own.shape[0]
        figures[number] = 0.0
        normalise(rollout, own, hyper, desk.advantage[:n])
        parts = n_parts(n)
        for part in range(parts):
            low, high = n * part // parts, n * (part + 1) // parts
            chosen = (own[low:high], desk.advantage[low:high], n)
            out = (desk.room, desk.gradients[part], figures[number])
            part_gradient(net, rollout, chosen, desk.market, hyper, out)
        code = take_step(net, moments, desk.gradients[:parts], n, hyper, figures[number])
        number += 1
        if code != DONE:
            return number, code
    return number, DONE
