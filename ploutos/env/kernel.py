"""The transition of many environments, compiled. In: actions. Out: observations, rewards, ends.

One step of an account with cash C, holdings q, waiting orders o, from row t to row t+1. Closes are
m (the last known one), opens p, splits s, dividends per share v; [x] is x to a whole micro-unit:

    at the close of t
        decide      o = plan_orders(a_t; C, q, m_t)                 `ploutos.portfolio.orders`
    before the open of t+1
        interest    C <- C + [(r_cash (C - short)+ - r_loan C-  - r_borrow short) days / 365]
        splits      q <- [q s_{t+1}],  o <- [o s_{t+1}]
        dividends   C <- C + sum [q v_{t+1}]
    at the open of t+1                                              `ploutos.portfolio.fills`
        reductions  f = cap(o),  C <- C - [f p (1 +- (h + k sqrt(|f| / volume_t)))] - fees
        additions   the same, all shrunk by one factor if cash (or gross room) does not cover them
                    q <- q + f,  whatever is left of o lapses
    at the close of t+1
        mark        V_{t+1} = C + sum [q m_{t+1}]
        stop        for good, if V_{t+1} <= (1 - drawdown_stop) * peak
        reward      `ploutos.env.reward`

Every quantity is fixed at row t; prices of row t+1 fill and mark it, so the last decision is taken
two rows before the end. Nothing of row t+1 enters an order.

An episode starts at a random row of its rows and ends after `episode_bars` decisions (truncated)
or at ruin (terminated). Windows may overhang the ends of the rows and are cut there, so that every
decision row is visited with equal probability: each one lies in exactly `episode_bars` windows.
The first episode after seeding starts somewhere inside its window, so that ends are staggered.

The random numbers are one SplitMix64 stream per environment (Steele, Lea & Flood 2014, "Fast
splittable pseudorandom number generators"): eight bytes of state that a checkpoint can hold.
"""

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.env.account import Accounts, account_at, decide, reset_account, settle
from ploutos.env.market import BENCHMARK, Market
from ploutos.env.memory import prefetch_row
from ploutos.env.observe import observe_account, observe_window
from ploutos.env.reward import RewardWeights, StepFacts, step_reward
from ploutos.env.scaler import Scaling
from ploutos.portfolio.config import Rules
from ploutos.portfolio.fills import TRADED, Trades

BLOCK_ENVS = 32


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
    """The numbers of an `EnvConfig`, and the decision rows `[first_row, stop_row)`.

    episode_bars: 0 = every episode is all of them. by_reference: observe the row's number in place
    of the market's values.
    """

    rules: Rules
    reward: RewardWeights
    initial_cash_micro: float
    ruin_micro: float
    first_row: int
    stop_row: int
    episode_bars: int
    window_bars: int
    by_reference: bool


class Outcome(NamedTuple):
    """What a step writes. Observations are those of the next decision (after a reset if one ended).

    observation (E, D) float32; reward (E,) float32; terminated, truncated (E,) uint8;
    final_observation (E, D) float32: the last observation of an episode that just ended,
    untouched otherwise; equity (E,) float64: equity at the step's close, before any reset,
    micro-USD.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: np.ndarray
    equity: np.ndarray


def new_outcome(n_envs: int, length: int) -> Outcome:
    """Allocate an `Outcome` for E environments and observations of `length` values."""
    return Outcome(
        observation=np.zeros((n_envs, length), np.float32),
        reward=np.zeros(n_envs, np.float32),
        terminated=np.zeros(n_envs, np.uint8),
        truncated=np.zeros(n_envs, np.uint8),
        final_observation=np.zeros((n_envs, length), np.float32),
        equity=np.zeros(n_envs),
    )


def new_episodes(n_envs: int) -> Episodes:
    """Allocate `Episodes`; `seed_episodes` and `reset` make them usable."""
    return Episodes(
        row=np.zeros(n_envs, np.int64),
        stop=np.zeros(n_envs, np.int64),
        random=np.zeros(n_envs, np.uint64),
        fresh=np.ones(n_envs, np.uint8),
    )


def seed_episodes(episodes: Episodes, seed: int) -> None:
    """Start environment e's random stream at `seed + e`, as a single environment would."""
    n_envs = episodes.random.shape[0]
    episodes.random[:] = np.uint64(seed % 2**64) + np.arange(n_envs, dtype=np.uint64)
    episodes.fresh[:] = 1


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
def start_episode(episodes: Episodes, accounts: Accounts, e: int, setup: Setup) -> None:
    """Start a new episode in environment `e`: a random window, a fresh account."""
    bars, first, stop = setup.episode_bars, setup.first_row, setup.stop_row
    reset_account(accounts, e, setup.initial_cash_micro)
    if bars == 0:
        episodes.row[e], episodes.stop[e] = first, stop
        return
    start = first - bars + 1 + _draw(episodes.random, e, stop - first + bars - 1)
    begin, end = max(start, first), min(start + bars, stop)
    if episodes.fresh[e] == 1:
        begin += _draw(episodes.random, e, end - begin)
        episodes.fresh[e] = 0
    episodes.row[e] = begin
    episodes.stop[e] = end


@compiled
def observe(
    data: tuple[Market, Scaling],
    accounts: Accounts,
    at: tuple[int, int],
    setup: Setup,
    out: np.ndarray,
) -> None:
    """Write an account's observation at a close into `out`, (D,) float32.

    Parameters
    ----------
    data : (Market, Scaling)
        What is observed and how it is scaled.
    accounts : Accounts
        The accounts.
    at : (int, int)
        The account and the row.
    setup : Setup
        Window, and whether to observe by reference.
    out : (D,) float32
        Written.
    """
    market, scaling = data
    e, row = at
    if setup.by_reference:
        out[0] = row
        used = 1
    else:
        used = observe_window(market, scaling, row, setup.window_bars, out)
    account = account_at(accounts, e)
    observe_account(account, market.mark[row], accounts.last_action[e], out[used:])


@compiled
def reset(
    data: tuple[Market, Scaling],
    state: tuple[Episodes, Accounts],
    setup: Setup,
    observation: np.ndarray,
) -> None:
    """Start an episode in every environment and write the (E, D) observations."""
    episodes, accounts = state
    for e in range(observation.shape[0]):
        start_episode(episodes, accounts, e, setup)
        observe(data, accounts, (e, episodes.row[e]), setup, observation[e])


@compiled
def step(
    data: tuple[Market, Scaling],
    state: tuple[Episodes, Accounts, Trades],
    action: np.ndarray,
    setup: Setup,
    outcome: Outcome,
) -> None:
    """Step every environment once; one that ends is reset at once (Gymnasium's SAME_STEP).

    Pure but for what it is given to change; allocates nothing; holds no lock, so that threads may
    step slices of the environments side by side.

    Parameters
    ----------
    data : (Market, Scaling)
        What is observed and how it is scaled.
    state : (Episodes, Accounts, Trades)
        State of the E environments, changed in place; the trades are room for one account's.
    action : (E, N) int64 or float64
        0 hold, 1 buy, 2 sell; or target weights.
    setup : Setup
        Rows, rules, reward.
    outcome : Outcome
        Written.
    """
    episodes, accounts, _ = state
    n_envs = action.shape[0]
    # A block's accounts first, then its observations: these are long, and would push out of the
    # cache what the next account needs.
    for first in range(0, n_envs, BLOCK_ENVS):
        last = min(first + BLOCK_ENVS, n_envs)
        for e in range(first, last):
            _prefetch_bar(data[0], episodes.row[e])
        for e in range(first, last):
            _trade(data, state, (e, action[e]), setup, outcome)
        for e in range(first, last):
            observe(data, accounts, (e, episodes.row[e]), setup, outcome.observation[e])


@compiled
def _prefetch_bar(market: Market, row: int) -> None:
    """Ask for what an account reads of the market between rows `row` and `row + 1`."""
    prefetch_row(market.mark, row)
    prefetch_row(market.volume, row)
    prefetch_row(market.valid, row)
    prefetch_row(market.mark, row + 1)
    prefetch_row(market.open, row + 1)
    prefetch_row(market.split_ratio, row + 1)
    prefetch_row(market.clock, row + 1)


@compiled
def _trade(
    data: tuple[Market, Scaling],
    state: tuple[Episodes, Accounts, Trades],
    one: tuple[int, np.ndarray],
    setup: Setup,
    outcome: Outcome,
) -> None:
    """Carry environment `one[0]` with action `one[1]` to its next decision; see `step`."""
    market, _ = data
    episodes, accounts, trades = state
    e, action = one
    row = episodes.row[e]
    before, drawdown = accounts.equity[e], 1.0 - accounts.equity[e] / accounts.peak[e]
    decide(market, accounts, (e, row), action, setup.rules, trades)
    row += 1
    after = settle(market, accounts, (e, row), setup.rules, trades)
    facts = StepFacts(
        before,
        after,
        trades.flows[TRADED],
        market.clock[row, BENCHMARK],
        drawdown,
        1.0 - after / accounts.peak[e],
    )
    episodes.row[e] = row
    outcome.equity[e] = after
    outcome.reward[e] = step_reward(facts, accounts.moments[e], setup.reward)
    terminated, at_end = after <= setup.ruin_micro, row >= episodes.stop[e]
    outcome.terminated[e] = terminated
    outcome.truncated[e] = at_end and not terminated
    if at_end or terminated:
        observe(data, accounts, (e, row), setup, outcome.final_observation[e])
        start_episode(episodes, accounts, e, setup)
