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

from ploutos.compiled import compiled, composed
from ploutos.env.account import (
    Accounts,
    account_at,
    mark_accounts,
    pay_dividends,
    pay_interest,
    reset_account,
)
from ploutos.env.lanes import (
    Lanes,
    from_lane,
    gather,
    gather_events,
    scatter,
    show_actions,
)
from ploutos.env.market import Market
from ploutos.env.memory import copy_values
from ploutos.env.observe import observe_accounts, observe_window
from ploutos.env.reward import RewardWeights, StepFacts, step_reward
from ploutos.env.scaler import Scaling
from ploutos.portfolio.config import Rules
from ploutos.portfolio.fills import DIVIDEND, TRADED, fill_orders
from ploutos.portfolio.orders import plan_orders


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
    out: tuple[np.ndarray, np.ndarray],
) -> None:
    """Write an account's observation at a close.

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
    out : ((D,) float32, (2 or more, 1) float64)
        Written: the observation; and room for sums.
    """
    e, row = at
    observation, room = out
    one, account = (accounts.quantity.shape[1], 1), account_at(accounts, e)
    part = observation[_observe_market(data, (row, row), setup, observation) :]
    mark, last = data[0].mark[row].reshape(one), accounts.last_action[e].reshape(one)
    observe_accounts(account, mark, last, room, part.reshape((part.shape[0], 1)))


@compiled
def _observe_market(
    data: tuple[Market, Scaling], rows: tuple[int, int], setup: Setup, out: np.ndarray
) -> int:
    """Write what is observed of the market at a row, or the row, and return its length.

    `rows` are the row, and one that will be observed soon.
    """
    if setup.by_reference:
        out[0] = rows[0]
        return 1
    return observe_window(data[0], data[1], rows, setup.window_bars, out)


@composed
def reset(
    data: tuple[Market, Scaling],
    state: tuple[Episodes, Accounts],
    setup: Setup,
    observation: np.ndarray,
    room: np.ndarray,
) -> None:
    """Start an episode in every environment and write the (E, D) observations."""
    episodes, accounts = state
    for e in range(observation.shape[0]):
        start_episode(episodes, accounts, e, setup)
        observe(data, accounts, (e, episodes.row[e]), setup, (observation[e], room))


@composed
def step(
    data: tuple[Market, Scaling],
    state: tuple[Episodes, Accounts, Lanes],
    own: tuple[int, int],
    action: np.ndarray,
    setup: Setup,
    outcome: Outcome,
) -> None:
    """Step some environments once; one that ends is reset at once (Gymnasium's SAME_STEP).

    Pure but for what it is given to change; allocates nothing; holds no lock, so that threads may
    step slices of the environments side by side.

    Parameters
    ----------
    data : (Market, Scaling)
        What is observed and how it is scaled.
    state : (Episodes, Accounts, Lanes)
        State of E environments, changed in place; room for L of them.
    own : (int, int)
        The environments to step, [first, first + L), in as many lanes.
    action : (E, N) int64 or float64
        0 hold, 1 buy, 2 sell; or target weights.
    setup : Setup
        Rows, rules, reward.
    outcome : Outcome
        Written.
    """
    market, rules = data[0], setup.rules
    episodes, accounts, lanes = state
    first, last = own[0], own[0] + own[1]
    rows, mine = episodes.row[first:last], _accounts_of(accounts, first, last)
    account, bar, trades = lanes.account, lanes.bar, lanes.trades
    has_events = gather(market, mine, rows, action[first:last], lanes)
    seen = (bar.last_mark, lanes.valid)
    plan_orders(lanes.action, account, seen, rules, (trades.order, trades.sums))
    pay_interest(account, bar.last_mark, lanes.days, rules, trades)
    trades.flows[DIVIDEND] = 0.0
    if has_events:
        gather_events(market, rows, lanes)
        pay_dividends(account, bar.split_ratio, lanes.cash_dividend, trades)
    fill_orders(bar, account.cash, account.quantity, rules, trades)
    mark_accounts(account, lanes.mark, rules, trades)
    show_actions(lanes, rules)
    observe_accounts(account, lanes.mark, lanes.action, trades.sums, lanes.shown)
    for lane in range(last - first):
        _judge(lanes, lane, (mine, rows), setup, (outcome, first + lane))
    scatter(lanes, mine)
    for e in range(first, last):
        _show(data, state, e - first, setup, (outcome, e))


@compiled
def _accounts_of(accounts: Accounts, first: int, last: int) -> Accounts:
    return Accounts(
        accounts.cash[first:last],
        accounts.equity[first:last],
        accounts.peak[first:last],
        accounts.stopped[first:last],
        accounts.moments[first:last],
        accounts.quantity[first:last],
        accounts.entry_price[first:last],
        accounts.held_bars[first:last],
        accounts.last_action[first:last],
    )


@composed
def _judge(
    lanes: Lanes,
    lane: int,
    before: tuple[Accounts, np.ndarray],
    setup: Setup,
    out: tuple[Outcome, int],
) -> None:
    """Move a lane's environment to its next row and write what the step brought it.

    Parameters
    ----------
    lanes, lane
        The lanes at the bar's close.
    before : (Accounts, (L,) int64)
        The accounts as they were at the close before; the rows, moved on.
    setup : Setup
        Reward and ruin.
    out : (Outcome, int)
        Written, and where.
    """
    accounts, row = before
    outcome, e = out
    old, after = accounts.equity[lane], lanes.account.equity[lane]
    facts = StepFacts(
        old,
        after,
        lanes.trades.flows[TRADED, lane],
        lanes.benchmark[lane],
        1.0 - old / accounts.peak[lane],
        1.0 - after / lanes.account.peak[lane],
    )
    row[lane] += 1
    outcome.equity[e] = after
    outcome.reward[e] = step_reward(facts, accounts.moments[lane], setup.reward)
    outcome.terminated[e] = after <= setup.ruin_micro


@composed
def _show(
    data: tuple[Market, Scaling],
    state: tuple[Episodes, Accounts, Lanes],
    lane: int,
    setup: Setup,
    out: tuple[Outcome, int],
) -> None:
    """Write a lane's observation; if its episode ended, start the next one and observe that."""
    episodes, accounts, lanes = state
    outcome, e = out
    row, observation = episodes.row[e], outcome.observation[e]
    then = episodes.row[min(e + 1, episodes.row.shape[0] - 1)]
    used = _observe_market(data, (row, then), setup, observation)
    from_lane(lanes.shown, lane, observation[used : used + lanes.shown.shape[0]])
    at_end = row >= episodes.stop[e]
    outcome.truncated[e] = at_end and outcome.terminated[e] == 0
    if at_end or outcome.terminated[e] != 0:
        copy_values(observation, outcome.final_observation[e])
        start_episode(episodes, accounts, e, setup)
        room = lanes.trades.sums[:, :1]
        observe(data, accounts, (e, episodes.row[e]), setup, (observation, room))
