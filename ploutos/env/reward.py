"""The reward of a step. In: the account before and after a bar. Out: one number.

    reward = scale * ( log_return          * ln(V' / V)
                     + benchmark_return    * (ln(V' / V) - b')
                     + differential_sharpe * D
                     - drawdown            * max(d' - d, 0)
                     - turnover            * traded / V )

V, V': equity at the two closes, after all costs. b': log return of the equal-weight benchmark.
d, d': drawdown `1 - V / peak`; only its growth is punished, so that waiting in a drawdown costs
nothing. traded: value bought and sold.

D is the differential Sharpe ratio (Moody & Saffell 2001, "Learning to trade via direct
reinforcement", eq. 14): with R = V' / V - 1 and moving moments A, B of R and R^2 at decay eta,

    D = (B * (R - A) - A * (R^2 - B) / 2) / (B - A^2)^(3/2)
    A <- A + eta (R - A),   B <- B + eta (R^2 - B)

and 0 while the variance B - A^2 is 0. A and B start at 0 in every episode.
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.env.config import RewardConfig

# Below this variance per bar a Sharpe ratio is rounding noise.
SMALLEST_VARIANCE = 1e-14


class RewardWeights(NamedTuple):
    """The numbers of a `RewardConfig`."""

    scale: float
    log_return: float
    benchmark_return: float
    differential_sharpe: float
    sharpe_decay: float
    drawdown: float
    turnover: float


class StepFacts(NamedTuple):
    """What a step did to an account.

    before, after: equity at the two closes; traded: value bought and sold, micro-USD. benchmark:
    its log return. drawdown_before, drawdown_after: fractions at the two closes.
    """

    before: float
    after: float
    traded: float
    benchmark: float
    drawdown_before: float
    drawdown_after: float


def reward_weights(config: RewardConfig) -> RewardWeights:
    """Return the form's numbers as a tuple for the kernel."""
    return RewardWeights(**config.model_dump())


@compiled
def step_reward(facts: StepFacts, moments: np.ndarray, weights: RewardWeights) -> float:
    """Return the reward; `moments` (2,) float64, the A and B above, are moved on in place."""
    growth = np.log(max(facts.after, 1.0) / facts.before)
    total = weights.log_return * growth
    total += weights.benchmark_return * (growth - facts.benchmark)
    if weights.differential_sharpe != 0.0:
        change = facts.after / facts.before - 1.0
        total += weights.differential_sharpe * differential_sharpe(
            change, moments, weights.sharpe_decay
        )
    total -= weights.drawdown * max(facts.drawdown_after - facts.drawdown_before, 0.0)
    total -= weights.turnover * facts.traded / facts.before
    return weights.scale * total


@compiled
def differential_sharpe(change: float, moments: np.ndarray, decay: float) -> float:
    """Return D for the simple return `change` and move the two moving moments on."""
    mean, square = moments[0], moments[1]
    to_mean, to_square = change - mean, change * change - square
    moments[0] = mean + decay * to_mean
    moments[1] = square + decay * to_square
    variance = square - mean * mean
    if variance <= SMALLEST_VARIANCE:
        return 0.0
    return (square * to_mean - 0.5 * mean * to_square) / variance**1.5
