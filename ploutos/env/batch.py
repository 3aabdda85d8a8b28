"""A batch of environments over one market: the state that the thin fronts share.

In: a market, rows, a scaler, a config. Out: `Batch`, with `seed`, `reset`, `step`,
`masks`, and `start_step` and `finish_step` for its two halves.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ploutos.env.account import Accounts, open_accounts
from ploutos.env.buffers import Buffer
from ploutos.env.config import EnvConfig
from ploutos.env.entry import masks_at, observe_at, reset_at, step_at
from ploutos.env.halves import HALVES, Turns, half_of, size_of_half
from ploutos.env.kernel import Episodes, Outcome, new_episodes, new_outcome, seed_episodes
from ploutos.env.lanes import LANES
from ploutos.env.market import Market
from ploutos.env.scaler import Scaler, scaling_of
from ploutos.env.setup import (
    action_space,
    check_actions,
    check_market,
    observation_space,
    setup_of,
)
from ploutos.env.table import Parts, Table, address_of
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio.fills import new_trades


class _Job(NamedTuple):
    """A part of a step: its arguments, and its place in the queue of the threads."""

    table: Table
    action: np.ndarray
    queued: Future[None]


class Batch:
    """E environments over one market, stepped by one thread or several. The fronts are thin.

    Parameters
    ----------
    market, scaler : Market, Scaler
        What is observed.
    config : EnvConfig
        The episode.
    rows : Rows
        Half-open range of panel rows that episodes stay inside.
    n_envs : int
        E.
    n_threads : int
        Threads that step slices of the environments; the results do not depend on it.

    Raises
    ------
    EnvironmentConfigError
        If the rows lie outside the market, or the config cannot trade in it.
    """

    def __init__(
        self,
        market: Market,
        scaler: Scaler,
        config: EnvConfig,
        rows: Rows,
        n_envs: int,
        n_threads: int = 1,
    ) -> None:
        check_market(market, config, rows)
        self.market = market
        self.scaler = scaler
        self.setup = setup_of(config, rows)
        self.n_envs = n_envs
        self.n_symbols = market.mark.shape[1]
        self.action_space = action_space(config, self.n_symbols)
        self.action_dtype = np.float64 if self.setup.rules.by_weight else np.int64
        self.observation_space = observation_space(market, config)
        self.length = self.observation_space.shape[0]
        self.accounts = open_accounts(n_envs, self.n_symbols, self.setup.initial_cash_micro)
        self.episodes = new_episodes(n_envs)
        self.outcome = new_outcome(n_envs, self.length)
        scaling = scaling_of(scaler, self.n_symbols)
        self._turns = Turns()
        self._jobs: list[list[_Job]] = [[] for _ in HALVES]
        n_threads = max(1, min(n_threads, n_envs))
        self._slices = _slices_of(slice(0, n_envs), n_threads)
        self._half_slices = [_slices_of(half_of(half, n_envs), n_threads) for half in HALVES]
        # Room for the trades of the account that a thread is stepping; the front of one reads them.
        self.trades = new_trades(self.n_symbols)
        self._whole = Parts(
            market, scaling, self.episodes, self.accounts, self.trades, self.outcome
        )
        self.write_into(self.outcome)
        self._threads = ThreadPoolExecutor(n_threads - 1) if n_threads > 1 else None

    def seed(self, seed: int) -> None:
        """Give environment e the stream that a single environment seeded `seed + e` has."""
        self._turns.check_none()
        seed_episodes(self.episodes, seed)

    def seed_one(self, e: int, seed: int) -> None:
        """Give environment e the stream of `seed`."""
        own = Episodes(*(array[e : e + 1] for array in self.episodes))
        seed_episodes(own, seed)

    def move_to(self, row: int) -> None:
        """Let the episodes that have just begun begin at `row` instead, with their usual length.

        Raises
        ------
        EnvironmentConfigError
            If no decision can be taken at the row.
        """
        first, stop = self.setup.first_row, self.setup.stop_row
        if not first <= row < stop:
            raise EnvironmentConfigError(
                f"expected a decision row in [{first}, {stop}), received {row}."
            )
        bars = self.setup.episode_bars or stop
        self.episodes.row[:], self.episodes.stop[:] = row, min(row + bars, stop)
        self.observe()

    def reset(self) -> np.ndarray:
        """Start an episode everywhere; return the (E, D) observations (a view, overwritten)."""
        self._turns.check_none()
        reset_at(self._table.addresses)
        return self.outcome.observation

    def observe(self) -> np.ndarray:
        """Return the (E, D) observations of where the environments stand (a view, overwritten)."""
        self._turns.check_none()
        observe_at(self._table.addresses)
        return self.outcome.observation

    def step(self, action: np.ndarray) -> Outcome:
        """Step all environments with (E, N) actions; the outcome is overwritten by the next step.

        Raises
        ------
        EnvironmentConfigError
            If the actions have the wrong shape, a value other than 0, 1, 2, or a weight that is
            not finite, or if a half is being stepped; nothing has happened then.
        """
        self._turns.check_none()
        return self.advance(
            check_actions(action, self.n_envs, self.n_symbols, self.setup.rules.by_weight)
        )

    def advance(self, action: np.ndarray) -> Outcome:
        """Step as `step` does, with actions that `check_actions` has returned."""
        if self._threads is None:
            step_at(self._table.addresses, action)
            return self.outcome
        jobs = [
            self._threads.submit(step_at, table.addresses, action[own])
            for own, table in zip(self._slices[1:], self._tables[1:], strict=True)
        ]
        step_at(self._tables[0].addresses, action[self._slices[0]])
        for job in jobs:
            job.result()
        return self.outcome

    def start_step(self, action: np.ndarray, half: int) -> None:
        """Begin to step a half; with several threads, return at once. `finish_step` must follow.

        Parameters
        ----------
        action : (E // 2, N) or (E - E // 2, N)
            Actions of the half, as `step` takes them.
        half : int
            0 for environments [0, E // 2), 1 for [E // 2, E). Both may be under way.

        Raises
        ------
        EnvironmentConfigError
            As `step` does, and if the half is under way already.
        """
        n_envs = size_of_half(half, self.n_envs)
        action = check_actions(action, n_envs, self.n_symbols, self.setup.rules.by_weight)
        self._turns.start(half)
        if not self._half_tables:
            whole = self._whole._replace(outcome=self.outcome)
            self._half_tables = [
                [Table(_part(whole, own), self.setup) for own in slices]
                for slices in self._half_slices
            ]
        first = half_of(half, self.n_envs).start
        if self._threads is not None:
            # The caller may write the next actions into the array before these are carried out.
            action = action.copy()
        first_address = address_of(self.outcome.observation)
        for own, table in zip(self._half_slices[half], self._half_tables[half], strict=True):
            table.observe_at(first_address + own.start * 4 * self.length)
            part = action[own.start - first : own.stop - first]
            if self._threads is None:
                step_at(table.addresses, part)
            else:
                queued = self._threads.submit(step_at, table.addresses, part)
                self._jobs[half].append(_Job(table, part, queued))

    def finish_step(self, half: int) -> Outcome:
        """Wait for the step of a half that was begun; return its outcome (views, overwritten).

        Raises
        ------
        EnvironmentConfigError
            If the half is not under way.
        """
        self._turns.finish(half)
        jobs, self._jobs[half] = self._jobs[half], []
        for table, action, queued in jobs:
            # What no thread has begun yet is done here: this thread is one of them.
            if queued.cancel():
                step_at(table.addresses, action)
            else:
                queued.result()
        return Outcome(*(array[half_of(half, self.n_envs)] for array in self.outcome))

    def write_into(self, outcome: Outcome) -> None:
        """Let reset and step write into these arrays of E environments from now on."""
        self._turns.check_none()
        self.outcome = outcome
        whole = self._whole._replace(outcome=outcome)
        self._table = Table(whole, self.setup)
        self._tables = [self._table]
        if len(self._slices) > 1:
            self._tables = [Table(_part(whole, own), self.setup) for own in self._slices]
        # Made when they are asked for: a single environment has no halves.
        self._half_tables: list[list[Table]] = []

    def observe_into(self, buffer: Buffer) -> None:
        """Let reset and step write observations into this buffer, (E, D), from now on."""
        self._turns.check_none()
        self.outcome = Outcome(buffer.array, *self.outcome[1:])
        self._table.observe_at(buffer.address)
        if self._threads is not None:
            row_bytes = 4 * self.length
            for own, table in zip(self._slices, self._tables, strict=True):
                table.observe_at(buffer.address + own.start * row_bytes)

    def masks(self) -> np.ndarray:
        """Return which of hold, buy, sell can do anything: (E, N, 3) bool, where all stand now."""
        self._turns.check_none()
        masks = np.empty((self.n_envs, self.n_symbols, 3), np.bool_)
        masks_at(self._table.addresses, masks)
        return masks

    def close(self) -> None:
        """End the threads; the market belongs to whoever attached it."""
        if self._threads is not None:
            self._threads.shutdown()


def _slices_of(whole: slice, n_slices: int) -> list[slice]:
    """Divide environments into contiguous slices of like sizes, which fill their lanes if they can.

    What fills no lanes is stepped one by one. With enough environments for every slice to fill
    its lanes at least once, all but the last one therefore hold multiples of `LANES`.
    """
    first, n_envs = whole.start, whole.stop - whole.start
    unit = LANES if n_envs >= n_slices * LANES else 1
    bounds = [first + n_envs // unit * i // n_slices * unit for i in range(n_slices)]
    return [slice(*pair) for pair in pairwise([*bounds, whole.stop])]


def _part(whole: Parts, own: slice) -> Parts:
    """Return a thread's environments, with room of its own for trades."""
    return whole._replace(
        episodes=Episodes(*(array[own] for array in whole.episodes)),
        accounts=Accounts(*(array[own] for array in whole.accounts)),
        trades=new_trades(whole.trades.order.shape[0]),
        outcome=Outcome(*(array[own] for array in whole.outcome)),
    )
