"""Episodes of many accounts, stepped together. In: actions. Out: observations, rewards, ends.

An episode starts at a random row of its rows and ends after `episode_bars` decisions (truncated)
or at ruin (terminated). Windows may overhang the ends of the rows and are cut there, so that every
decision row is visited with equal probability: each one lies in exactly `episode_bars` windows.
The first episode after seeding starts somewhere inside its window, so that ends are staggered.

The random numbers are one SplitMix64 stream per environment (Steele, Lea & Flood 2014, "Fast
splittable pseudorandom number generators"): eight bytes of state that a checkpoint can hold.
"""

import math
from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.env.account import Accounts, decide, observe, settle
from ploutos.env.market import Market
from ploutos.env.scaler import Scaler
from ploutos.portfolio.accounting import equity_micro
from ploutos.portfolio.config import Rules


class Episodes(NamedTuple):
    """Where each of E environments stands: row, last row and seed state.

    row (E,) int64: the row of the next decision. stop (E,) int64: the row at which the episode is
    truncated. random (E,) uint64: SplitMix64 states. fresh (E,) uint8: 1 until the first episode.
    """

    row: np.ndarray
    stop: np.ndarray
    random: np.ndarray
    fresh: np.ndarray


class Setup(NamedTuple):
    """The numbers of an `EnvConfig`, and the decision rows `[first_row, stop_row)`."""

    rules: Rules
    initial_cash_micro: int
    ruin_micro: int
    reward_scale: float
    first_row: int
    stop_row: int
    episode_bars: int


class Outcome(NamedTuple):
    """What a step writes. Observations are those of the next decision (after a reset if one ended).

    observation (E, D) float32; reward (E,) float32; terminated, truncated (E,) uint8;
    final_observation (E, D) float32: the last observation of an episode that just ended,
    untouched otherwise; equity_micro (E,) int64: equity at the step's close, before any reset.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: np.ndarray
    equity_micro: np.ndarray


def new_outcome(n_envs: int, length: int) -> Outcome:
    """Allocate an `Outcome` for E environments and observations of `length` values."""
    return Outcome(
        observation=np.zeros((n_envs, length), np.float32),
        reward=np.zeros(n_envs, np.float32),
        terminated=np.zeros(n_envs, np.uint8),
        truncated=np.zeros(n_envs, np.uint8),
        final_observation=np.zeros((n_envs, length), np.float32),
        equity_micro=np.zeros(n_envs, np.int64),
    )


def new_episodes(n_envs: int) -> Episodes:
    """Allocate `Episodes`; `seed_episodes` and `reset` make them usable."""
    return Episodes(
        row=np.zeros(n_envs, np.int64),
        stop=np.zeros(n_envs, np.int64),
        random=np.zeros(n_envs, np.uint64),
        fresh=np.ones(n_envs, np.uint8),
    )


def seed_episodes(episodes: Episodes, e: int, seed: int) -> None:
    """Start environment `e`'s random stream at `seed`, as a single environment would."""
    episodes.random[e] = np.uint64(seed % 2**64)
    episodes.fresh[e] = 1


@compiled
def _draw(random: np.ndarray, e: int, bound: int) -> int:
    """Return a uniform integer in [0, bound) and advance stream `e` (bias below bound / 2**63)."""
    random[e] += np.uint64(0x9E3779B97F4A7C15)
    z = random[e]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return int(z >> np.uint64(1)) % bound


@compiled
def reset(episodes: Episodes, accounts: Accounts, e: int, setup: Setup) -> None:
    """Start a new episode in environment `e`: a random window, a fresh account."""
    bars, first, stop = setup.episode_bars, setup.first_row, setup.stop_row
    start = first - bars + 1 + _draw(episodes.random, e, stop - first + bars - 1)
    begin, end = max(start, first), min(start + bars, stop)
    if episodes.fresh[e] == 1:
        begin += _draw(episodes.random, e, end - begin)
        episodes.fresh[e] = 0
    episodes.row[e] = begin
    episodes.stop[e] = end
    accounts.cash_micro[e] = setup.initial_cash_micro
    accounts.peak_micro[e] = setup.initial_cash_micro
    accounts.dividend_micro[e] = 0
    accounts.quantity_micro[e] = 0
    accounts.entry_price[e] = 0.0
    accounts.held_bars[e] = 0
    accounts.last_action[e] = 0
    accounts.order_micro[e] = 0


@compiled
def step(
    data: tuple[Market, Scaler],
    episodes: Episodes,
    accounts: Accounts,
    action: np.ndarray,
    setup: Setup,
    outcome: Outcome,
) -> None:
    """Step every environment once; one that ends is reset at once (Gymnasium's SAME_STEP).

    Parameters
    ----------
    data : (Market, Scaler)
        What is observed and how it is scaled.
    episodes, accounts : Episodes, Accounts
        State of the E environments, changed in place.
    action : (E, N) int64
        0 hold, 1 buy, 2 sell.
    setup : Setup
        Rows, rules, reward.
    outcome : Outcome
        Written.
    """
    market, scaler = data
    for e in range(action.shape[0]):
        row = episodes.row[e]
        before = equity_micro(accounts.cash_micro[e], accounts.quantity_micro[e], market.mark[row])
        decide(market, accounts, e, row, action[e], setup.rules)
        after = settle(market, accounts, e, row + 1, setup.rules)
        episodes.row[e] = row + 1
        outcome.equity_micro[e] = after
        outcome.reward[e] = setup.reward_scale * math.log(max(after, 1) / before)
        outcome.terminated[e] = 1 if after <= setup.ruin_micro else 0
        at_end = row + 1 >= episodes.stop[e]
        outcome.truncated[e] = 1 if at_end and outcome.terminated[e] == 0 else 0
        if at_end or outcome.terminated[e] == 1:
            observe(market, scaler, accounts, e, row + 1, outcome.final_observation[e])
            reset(episodes, accounts, e, setup)
        observe(market, scaler, accounts, e, episodes.row[e], outcome.observation[e])
