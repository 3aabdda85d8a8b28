"""The caller's side of the workers. In: a `WorkersSpec`, actions. Out: the outcome of each step."""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import numpy as np

from ploutos.block import attach
from ploutos.env.batch import check_actions
from ploutos.env.kernel import Outcome
from ploutos.env.observe import observation_length
from ploutos.env.workers.shared import (
    COMMAND,
    DONE,
    RESET,
    SEED,
    STEP,
    TOUCH,
    WorkersSpec,
    create_file,
    file_bytes,
    map_file,
)
from ploutos.errors import EnvironmentConfigError, WorkerError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
START_TIMEOUT_S = 300.0
GRACE_S = 5.0
LAST_BYTES = 8192

_log = logging.getLogger(__name__)


class Workers:
    """E environments in W processes; use it as a context, or call `close`.

    Its methods are those of `Batch`, and so are their results, bit for bit. Whatever goes wrong
    (a worker dies, raises or does not answer, the caller is interrupted), every process is ended
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
        If there are no workers, or more workers than environments.
    WorkerError
        If the workers do not start.
    """

    def __init__(self, spec: WorkersSpec, timeout_s: float = 60.0) -> None:
        if not 1 <= spec.n_workers <= spec.n_envs:
            raise EnvironmentConfigError(
                f"expected between 1 and {spec.n_envs} workers (one environment each), received "
                f"{spec.n_workers}"
            )
        with attach(spec.block) as block:
            self.n_symbols = block.panel.n_symbols
            self.length = observation_length(block.panel)
        self.n_envs, self.scaler = spec.n_envs, spec.scaler
        self._timeout_s = timeout_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as we do
        self._sockets: list[socket.socket] = []
        self._start(spec)
        self._wait("starting", START_TIMEOUT_S)

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
        self._tell(SEED, seed)
        self._wait("seeding", self._timeout_s)

    def reset(self) -> np.ndarray:
        """Start an episode everywhere; return the (E, D) observations (a view, overwritten)."""
        self._tell(RESET)
        self._wait("starting episodes", self._timeout_s)
        return self.outcome.observation

    def touch(self) -> None:
        """Read every page of the block in every worker, so that no step has to wait for one."""
        self._tell(TOUCH)
        self._wait("reading the block", self._timeout_s)

    def step(self, action: np.ndarray) -> Outcome:
        """Step all environments with (E, N) actions; the outcome is overwritten by the next step.

        Raises
        ------
        EnvironmentConfigError
            If the actions have the wrong shape or a value other than 0, 1, 2.
        WorkerError
            If a worker does not answer in time; all have been ended then.
        """
        self.start_step(action)
        return self.finish_step()

    def start_step(self, action: np.ndarray) -> None:
        """Begin a step as `step` does and return at once; `finish_step` must follow."""
        self._shared.action[:] = check_actions(action, self.n_envs, self.n_symbols)
        self._tell(STEP)

    def finish_step(self) -> Outcome:
        """Wait for the step that was begun; see `step`."""
        self._wait("stepping", self._timeout_s)
        return self.outcome

    def close(self) -> None:
        """End all processes; harmless if they have ended already.

        They are asked by closing their sockets, and killed if they take longer than a few seconds.
        """
        if self._end(grace_s=GRACE_S) and self._last_words:
            _log.warning("the environment workers wrote:\n%s", self._last_words)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self, spec: WorkersSpec) -> None:
        descriptor = create_file(file_bytes(spec, self.n_symbols, self.length))
        pairs = [socket.socketpair() for _ in range(spec.n_workers)]
        self._sockets = [ours for ours, _ in pairs]
        self._control, far_control = socket.socketpair()
        far = [far_control, *(theirs for _, theirs in pairs)]
        passed = [far_control.fileno(), descriptor, *(theirs.fileno() for _, theirs in pairs)]
        try:
            self._shared = map_file(descriptor, spec, self.n_symbols, self.length)
            self._process = self._open_nursery(spec, passed)
        finally:
            os.close(descriptor)
            for theirs in far:
                theirs.close()

    def _open_nursery(self, spec: WorkersSpec, passed: Sequence[int]) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as message:
            pickle.dump(spec, message)
            message.seek(0)
            return subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "ploutos.env.workers", *map(str, passed)],
                stdin=message,
                stderr=self._errors,
                pass_fds=passed,
                # One thread each: with more, a fork would leave locks behind that nobody opens.
                env=os.environ | dict.fromkeys(THREAD_VARIABLES, "1"),
                # Ctrl-C reaches the caller alone, and one signal can end the whole group.
                start_new_session=True,
            )

    def _tell(self, command: bytes, number: int = 0) -> None:
        if not self._sockets:
            raise WorkerError("the environment workers have been closed: start new ones")
        message = COMMAND.pack(command, number)
        for worker, channel in enumerate(self._sockets):
            try:
                channel.sendall(message)
            except OSError:
                raise self._failure(worker, "had ended before it was told to go on") from None

    def _wait(self, what: str, timeout_s: float) -> None:
        """Wait until every worker has answered; if one does not, end them all and raise."""
        deadline = time.monotonic() + timeout_s
        worker = -1
        try:
            for channel in self._sockets:
                worker += 1
                channel.settimeout(max(deadline - time.monotonic(), 1e-3))
                if channel.recv(1) != DONE:
                    raise ConnectionResetError  # noqa: TRY301 - what a socket says elsewhere
        except TimeoutError:
            late = f"did not answer within {timeout_s:g} s while {what}"
            raise self._failure(worker, late) from None
        except ConnectionError:
            raise self._failure(worker, f"ended while {what}") from None
        except BaseException:
            self._end(grace_s=0)
            raise

    def _failure(self, worker: int, what: str) -> WorkerError:
        """End everything, then describe what happened, with what the processes had to say."""
        self._end(grace_s=0)
        pid, code = int(self._shared.pid[worker]), int(self._shared.exit_code[worker])
        if pid == 0:
            code = self._process.returncode
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return WorkerError(
            f"environment worker {worker} (process {pid or 'not started'}) {what}; {reason}. "
            f"All workers have been ended. Their last words:\n{self._last_words or '(none)'}"
        )

    def _end(self, grace_s: float) -> bool:
        """End every process, by force after `grace_s`; return False if they had ended before."""
        if self._process.returncode is not None:
            return False
        for channel in self._sockets:
            channel.close()
        self._sockets = []
        if not self._nursery_ends_within(grace_s):
            # To the nursery this means: kill the workers.
            self._control.shutdown(socket.SHUT_WR)
            self._nursery_ends_within(GRACE_S)
        # Not reaped yet, the nursery keeps the group's number from being given to others.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._control.close()
        self._last_words = _tail(self._errors.fileno())
        self._errors.close()
        return True

    def _nursery_ends_within(self, grace_s: float) -> bool:
        """Wait for the nursery's end of the control socket to close; the nursery never writes."""
        self._control.settimeout(max(grace_s, 1e-3))
        try:
            return self._control.recv(1) == b""
        except OSError:
            return False


def _tail(descriptor: int) -> str:
    """Return the end of a file as text."""
    start = max(0, os.fstat(descriptor).st_size - LAST_BYTES)
    return os.pread(descriptor, LAST_BYTES, start).decode(errors="replace").strip()
