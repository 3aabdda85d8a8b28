"""The compiled entries. In: a table of addresses. Out: what the kernel makes of what lies there."""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from ploutos.compiled import compiled
from ploutos.env import table as at
from ploutos.env.account import Accounts, write_masks
from ploutos.env.kernel import Episodes, Outcome, Setup, observe, reset, step
from ploutos.env.lanes import LANES, Lanes, lanes_at
from ploutos.env.market import Market
from ploutos.env.memory import readable_at, writable_at
from ploutos.env.reward import RewardWeights
from ploutos.env.scaler import Scaling
from ploutos.portfolio.config import Rules
from ploutos.portfolio.fills import Trades
from ploutos.portfolio.orders import N_SUMS

N_RULES, N_WEIGHTS = len(Rules._fields), len(RewardWeights._fields)
N_ALL = N_RULES + N_WEIGHTS + 2


@compiled
def step_lanes_at(table: np.ndarray, action: np.ndarray) -> None:
    """Step environments of a table once, as many as fill all lanes; see `ploutos.env.kernel.step`.

    Apart from `step_rest_at`: the length of the loops over lanes is known to the compiler.
    """
    data, setup, outcome = (_market(table), _scaling(table)), _setup(table), _outcome(table)
    state = (_episodes(table), _accounts(table), _many(table))
    for first in range(0, action.shape[0] - action.shape[0] % LANES, LANES):
        step(data, state, (first, LANES), action, setup, outcome)


@compiled
def step_rest_at(table: np.ndarray, action: np.ndarray) -> None:
    """Step the other environments of a table once, one by one."""
    data, setup, outcome = (_market(table), _scaling(table)), _setup(table), _outcome(table)
    state = (_episodes(table), _accounts(table), _single(table))
    for first in range(action.shape[0] - action.shape[0] % LANES, action.shape[0]):
        step(data, state, (first, 1), action, setup, outcome)


def step_at(table: np.ndarray, action: np.ndarray) -> None:
    """Step every environment of a table once with its action, (E, N) int64 or float64."""
    n_envs = action.shape[0]
    if n_envs >= LANES:
        step_lanes_at(table, action)
    if n_envs % LANES:
        step_rest_at(table, action)


@compiled
def reset_at(table: np.ndarray) -> None:
    """Start an episode in every environment of a table and write its observation."""
    data, state = (_market(table), _scaling(table)), (_episodes(table), _accounts(table))
    room = _single(table).trades.sums
    reset(data, state, _setup(table), _outcome(table).observation, room)


@compiled
def observe_at(table: np.ndarray) -> None:
    """Write every environment's observation where it stands."""
    data, accounts, rows = (_market(table), _scaling(table)), _accounts(table), _episodes(table).row
    setup, observation = _setup(table), _outcome(table).observation
    room = _single(table).trades.sums
    for e in range(rows.shape[0]):
        observe(data, accounts, (e, rows[e]), setup, (observation[e], room))


@compiled
def masks_at(table: np.ndarray, masks: np.ndarray) -> None:
    """Write which actions can do anything, (E, N, 3) bool, where the environments stand."""
    rows, rules = _episodes(table).row, _setup(table).rules
    write_masks(_market(table), _accounts(table), rows, rules, masks)


@compiled
def _market(table: np.ndarray) -> Market:
    T, N, F, M = table[at.T], table[at.N], table[at.F], table[at.M]
    return Market(
        readable_at(table[at.MARKET], (T, N, F), np.float32),
        readable_at(table[at.MARKET + 1], (T, M), np.float32),
        readable_at(table[at.MARKET + 2], (T, N), np.uint8),
        readable_at(table[at.MARKET + 3], (T, M), np.uint8),
        readable_at(table[at.MARKET + 4], (T, N), np.float64),
        readable_at(table[at.MARKET + 5], (T, N), np.float64),
        readable_at(table[at.MARKET + 6], (T, N), np.float64),
        readable_at(table[at.MARKET + 7], (T, N), np.float64),
        readable_at(table[at.MARKET + 8], (T, N), np.float64),
        readable_at(table[at.MARKET + 9], (T, 6), np.float64),
    )


@compiled
def _scaling(table: np.ndarray) -> Scaling:
    N, F, M = table[at.N], table[at.F], table[at.M]
    return Scaling(
        readable_at(table[at.SCALING], (N * F,), np.float32),
        readable_at(table[at.SCALING + 1], (N * F,), np.float32),
        readable_at(table[at.SCALING + 2], (M,), np.float32),
        readable_at(table[at.SCALING + 3], (M,), np.float32),
        readable_at(table[at.SCALING + 4], (1,), np.float32),
    )


@compiled
def _episodes(table: np.ndarray) -> Episodes:
    E = table[at.E]
    return Episodes(
        writable_at(table[at.EPISODES], (E,), np.int64),
        writable_at(table[at.EPISODES + 1], (E,), np.int64),
        writable_at(table[at.EPISODES + 2], (E,), np.uint64),
        writable_at(table[at.EPISODES + 3], (E,), np.uint8),
    )


@compiled
def _accounts(table: np.ndarray) -> Accounts:
    N, E = table[at.N], table[at.E]
    return Accounts(
        writable_at(table[at.ACCOUNTS], (E,), np.float64),
        writable_at(table[at.ACCOUNTS + 1], (E,), np.float64),
        writable_at(table[at.ACCOUNTS + 2], (E,), np.float64),
        writable_at(table[at.ACCOUNTS + 3], (E,), np.float64),
        writable_at(table[at.ACCOUNTS + 4], (E, 2), np.float64),
        writable_at(table[at.ACCOUNTS + 5], (E, N), np.float64),
        writable_at(table[at.ACCOUNTS + 6], (E, N), np.float64),
        writable_at(table[at.ACCOUNTS + 7], (E, N), np.float64),
        writable_at(table[at.ACCOUNTS + 8], (E, N), np.float64),
    )


@compiled
def _many(table: np.ndarray) -> Lanes:
    return lanes_at(table[at.SCRATCH], table[at.N], LANES)


@compiled
def _single(table: np.ndarray) -> Lanes:
    """Return one lane, whose trades are those that the caller of a single environment reads."""
    N, lanes = table[at.N], lanes_at(table[at.SCRATCH], table[at.N], 1)
    trades = Trades(
        writable_at(table[at.TRADES], (N, 1), np.float64),
        writable_at(table[at.TRADES + 1], (N, 1), np.float64),
        writable_at(table[at.TRADES + 2], (N, 1), np.float64),
        writable_at(table[at.TRADES + 3], (N, 1), np.float64),
        writable_at(table[at.TRADES + 4], (3, 1), np.float64),
        writable_at(table[at.TRADES + 5], (N_SUMS, 1), np.float64),
    )
    return Lanes(
        lanes.action,
        lanes.valid,
        lanes.mark,
        lanes.cash_dividend,
        lanes.days,
        lanes.benchmark,
        lanes.account,
        lanes.bar,
        trades,
        lanes.shown,
    )


@compiled
def _outcome(table: np.ndarray) -> Outcome:
    E, D = table[at.E], table[at.D]
    return Outcome(
        writable_at(table[at.OUTCOME], (E, D), np.float32),
        writable_at(table[at.OUTCOME + 1], (E,), np.float32),
        writable_at(table[at.OUTCOME + 2], (E,), np.uint8),
        writable_at(table[at.OUTCOME + 3], (E,), np.uint8),
        writable_at(table[at.OUTCOME + 4], (E, D), np.float32),
        writable_at(table[at.OUTCOME + 5], (E,), np.float64),
    )


@compiled
def _setup(table: np.ndarray) -> Setup:
    numbers = readable_at(table[at.NUMBERS], (N_ALL,), np.float64)
    return Setup(
        # The compiler knows the lengths that these two have.
        Rules(*to_fixed_tuple(numbers[:N_RULES], N_RULES)),  # pyright: ignore[reportCallIssue]
        RewardWeights(*to_fixed_tuple(numbers[N_RULES : N_RULES + N_WEIGHTS], N_WEIGHTS)),
        numbers[N_RULES + N_WEIGHTS],
        numbers[N_RULES + N_WEIGHTS + 1],
        table[at.FIRST_ROW],
        table[at.STOP_ROW],
        table[at.EPISODE_BARS],
        table[at.WINDOW_BARS],
        table[at.BY_REFERENCE] != 0,
    )
