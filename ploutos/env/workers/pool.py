"""The caller's side of the workers. In: a `WorkersSpec`, actions. Out: the outcome of each step."""

import logging
import os
from types import TracebackType
from typing import Any, Self

import numpy as np

from ploutos.block import attach
from ploutos.env.halves import HALVES, Turns, half_of, size_of_half
from ploutos.env.kernel import Outcome
from ploutos.env.market import market_of
from ploutos.env.setup import action_space, check_actions, observation_space, setup_of
from ploutos.env.workers.commands import Commands
from ploutos.env.workers.processes import GRACE_S, Processes, message_of
from ploutos.env.workers.shared import (
    MASKS,
    RESET,
    SEED,
    START,
    STEP,
    TOUCH,
    Sizes,
    WorkersSpec,
    create_file,
    file_bytes,
    map_file,
    spin_times,
)
from ploutos.env.workers.wrapped import flat_space, wrap
from ploutos.errors import EnvironmentConfigError, WorkerError

START_TIMEOUT_S = 300.0
WHOLE = sum(1 << half for half in HALVES)

_log = logging.getLogger(__name__)


class Workers:
    """E environments in W processes; use it as a context, or call `close`.

    Its methods are those of `Batch`, but for those that reach into an environment's state, and so
    are their results, bit for bit. They are for one thread of the caller. Whatever goes wrong (a
    worker dies, raises or does not answer, the caller is interrupted), every process is ended
    before the error is raised. If the caller itself is killed, the others end by themselves.

    Parameters
    ----------
    spec : WorkersSpec
        What to step, in how many processes.
    timeout_s : float
        Longest time that a command may take, in seconds.

    Raises
    ------
    BlockError
        If the block cannot be attached.
    EnvironmentConfigError
        If there are no workers, or more workers than environments; if the wrapper does not fit.
    WorkerError
        If the workers do not start.
    """

    def __init__(self, spec: WorkersSpec, timeout_s: float = 60.0) -> None:
        if not 1 <= spec.n_workers <= spec.n_envs:
            raise EnvironmentConfigError(
                f"expected between 1 and {spec.n_envs} workers (one environment each), received "
                f"{spec.n_workers}"
            )
        self.n_envs, self.scaler = spec.n_envs, spec.scaler
        self.setup = setup_of(spec.config, spec.rows)
        self.action_dtype = np.float64 if self.setup.rules.by_weight else np.int64
        self._bind(spec)
        self._timeout_s = timeout_s
        self._turns, self._tickets = Turns(), [0, 0]
        self._infos: dict[int, dict[str, Any]] = {}
        self._start(spec)
        self._commands.finish(self._commands.give(START), "starting", START_TIMEOUT_S)

    def _bind(self, spec: WorkersSpec) -> None:
        """Find out what is observed; a wrapper has to be asked."""
        with attach(spec.block) as block:
            self.n_symbols = block.panel.n_symbols
            self.observation_space = observation_space(block.panel, spec.config)
            self.action_space = action_space(spec.config, self.n_symbols)
            if spec.wrapper is not None:
                env = wrap(market_of(block.panel), spec)
                self.observation_space = flat_space(env.observation_space)
                self.action_space = env.action_space
                env.close()
        self.length = self.observation_space.shape[0]

    def _start(self, spec: WorkersSpec) -> None:
        dtype = np.dtype(self.action_dtype)
        sizes = Sizes(spec.n_workers, spec.n_envs, self.n_symbols, self.length, dtype)
        message = message_of(spec, sizes)
        descriptor = create_file(file_bytes(sizes))
        try:
            self._shared = map_file(descriptor, sizes)
            self._processes = Processes(message, descriptor, self._shared)
        finally:
            os.close(descriptor)
        spin_s, _ = spin_times(spec)
        self._commands = Commands(self._shared.lines, self._processes, spin_s)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(self._shared.pid.tolist())

    @property
    def outcome(self) -> Outcome:
        """The shared arrays that every step overwrites."""
        return self._shared.outcome

    def seed(self, seed: int) -> None:
        """Give environment e the stream that a single environment seeded `seed + e` has."""
        # As the 64 bits that a word holds; a stream knows no others.
        self._all(SEED, "seeding", (seed + 2**63) % 2**64 - 2**63)

    def reset(self) -> np.ndarray:
        """Start an episode everywhere; return the (E, D) observations (a view, overwritten)."""
        self._all(RESET, "starting episodes")
        return self.outcome.observation

    def masks(self) -> np.ndarray:
        """Return which of hold, buy, sell can do anything: (E, N, 3) bool, where all stand now."""
        self._all(MASKS, "finding out what can be done")
        return self._shared.masks.copy()

    def touch(self) -> None:
        """Read every page of the block in every worker, so that no step has to wait for one."""
        self._all(TOUCH, "reading the block")

    def step(self, action: np.ndarray) -> Outcome:
        """Step all environments with (E, N) actions; the outcome is overwritten by the next step.

        Raises
        ------
        EnvironmentConfigError
            If the actions have the wrong shape, a value other than 0, 1, 2, or a weight that is
            not finite, or if a half is being stepped; nothing has happened then.
        WorkerError
            If a worker does not answer in time; all have been ended then.
        """
        action = check_actions(action, self.n_envs, self.n_symbols, self.setup.rules.by_weight)
        self._check_idle()
        self._shared.action[:] = action
        self._infos = self._all(STEP, "stepping", WHOLE)
        return self.outcome

    def start_step(self, action: np.ndarray, half: int) -> None:
        """Begin to step a half and return at once; `finish_step` must follow.

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
        WorkerError
            If a worker has ended; all have been ended then.
        """
        n_envs = size_of_half(half, self.n_envs)
        action = check_actions(action, n_envs, self.n_symbols, self.setup.rules.by_weight)
        self._check_open()
        self._turns.start(half)
        self._shared.action[half_of(half, self.n_envs)] = action
        self._tickets[half] = self._commands.give(STEP, 1 << half)

    def finish_step(self, half: int) -> Outcome:
        """Wait for the step of a half that was begun; return its outcome (views, overwritten).

        Raises
        ------
        EnvironmentConfigError
            If the half is not under way.
        WorkerError
            If a worker does not answer in time; all have been ended then.
        """
        self._check_open()
        self._turns.finish(half)
        self._infos = self._commands.finish(self._tickets[half], "stepping", self._timeout_s)
        own = half_of(half, self.n_envs)
        return Outcome(*(array[own] for array in self.outcome))

    def infos(self) -> dict[int, dict[str, Any]]:
        """Return what the wrapper told of the episodes that the last finished step has ended.

        By the number of the environment; without `row` and `equity_usd`, which are its own.
        """
        return self._infos

    def close(self) -> None:
        """End all processes; harmless if they have ended already.

        They are asked by closing their sockets, and killed if they take longer than a few seconds.
        """
        if self._processes.end(grace_s=GRACE_S) and self._processes.last_words:
            _log.warning("the environment workers wrote:\n%s", self._processes.last_words)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_idle(self) -> None:
        self._check_open()
        self._turns.check_none()

    def _check_open(self) -> None:
        if not self._processes.channels:
            raise WorkerError("the environment workers have been closed: start new ones")

    def _all(self, command: int, what: str, number: int = 0) -> dict[int, dict[str, Any]]:
        """Have a command carried out that concerns all environments."""
        self._check_idle()
        given = self._commands.give(command, number)
        return self._commands.finish(given, what, self._timeout_s)
