"""Generalised advantages. In: rewards and values of a rollout. Out: advantages."""

import numpy as np

from ploutos.agent.fused.network import one, zero
from ploutos.agent.fused.options import fused


@fused
def advantages(
    reward: np.ndarray,
    value: np.ndarray,
    starts: np.ndarray,
    last: tuple[np.ndarray, np.ndarray],
    discounts: tuple[float, float],
    out: np.ndarray,
) -> None:
    """Write generalised advantages (S, E) of a rollout (Schulman et al. 2016).

    With d_t = r_t + gamma v_{t+1} (1 - start_{t+1}) - v_t:
    A_t = d_t + gamma lambda (1 - start_{t+1}) A_{t+1}.

    Parameters
    ----------
    reward, value, starts : (S, E) float32
        Of each step; `starts` is 1 where the observation began an episode.
    last : ((E,) float32, (E,) float32)
        Values after the last step, and 1 where it ended an episode.
    discounts : (float, float)
        gamma, lambda.
    out : (S, E) float32
        Written.
    """
    gamma, both = np.float32(discounts[0]), np.float32(discounts[0] * discounts[1])
    n_steps, n_envs = reward.shape
    for t in range(n_steps - 1, -1, -1):
        later = t + 1 < n_steps
        following = value[t + 1] if later else last[0]
        begun = starts[t + 1] if later else last[1]
        ahead = out[t + 1] if later else out[t]
        own, given, here = out[t], reward[t], value[t]
        for e in range(n_envs):
            goes_on = one - begun[e]
            carried = ahead[e] if later else zero
            own[e] = given[e] + goes_on * (gamma * following[e] + both * carried) - here[e]
