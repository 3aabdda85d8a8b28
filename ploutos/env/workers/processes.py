"""Starting and ending the processes. In: a job for the nursery. Out: one socket per worker."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from ploutos.env.workers.shared import SharedArrays, Sizes, WorkersSpec
from ploutos.errors import EnvironmentConfigError, WorkerError
from ploutos.threads import thread_variables

GRACE_S = 5.0
LAST_BYTES = 8192


def message_of(spec: WorkersSpec, sizes: Sizes) -> bytes:
    """Return what the nursery reads on its standard input.

    Raises
    ------
    EnvironmentConfigError
        If another process could not find the wrapper.
    """
    function = getattr(spec.wrapper, "func", spec.wrapper)
    problem: object = "it stands in the program that was started, not in a module"
    if getattr(function, "__module__", None) != "__main__":
        try:
            return pickle.dumps(sys.path) + pickle.dumps((spec, sizes))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            problem = error
    raise EnvironmentConfigError(
        f"expected a wrapper that the workers can import, received {spec.wrapper}: {problem}. Pass "
        "a class or a function of a module, or a functools.partial of one."
    )


class Processes:
    """The nursery and its workers, from start to end.

    Parameters
    ----------
    message : bytes
        The job.
    descriptor : int
        The shared file; it may be closed afterwards.
    shared : SharedArrays
        The same file, mapped.
    """

    def __init__(self, message: bytes, descriptor: int, shared: SharedArrays) -> None:
        self._shared = shared
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as we do
        self.last_words = ""
        pairs = [socket.socketpair() for _ in shared.pid]
        self.channels = [ours for ours, _ in pairs]
        self._control, far_control = socket.socketpair()
        far = [far_control, *(theirs for _, theirs in pairs)]
        passed = [far_control.fileno(), descriptor, *(theirs.fileno() for _, theirs in pairs)]
        try:
            self._nursery = self._open_nursery(message, passed)
        finally:
            for theirs in far:
                theirs.close()

    def failure(self, worker: int, what: str) -> WorkerError:
        """End everything, then describe what happened, with what the processes had to say."""
        self.end(grace_s=0)
        pid, code = int(self._shared.pid[worker]), int(self._shared.exit_code[worker])
        if pid == 0:
            code = self._nursery.returncode
        reason = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return WorkerError(
            f"environment worker {worker} (process {pid or 'not started'}) {what}; {reason}. "
            f"All workers have been ended. Their last words:\n{self.last_words or '(none)'}"
        )

    def end(self, grace_s: float) -> bool:
        """End every process, by force after `grace_s`; return False if they had ended before."""
        if self._nursery.returncode is not None:
            return False
        for channel in self.channels:
            channel.close()
        self.channels = []
        if not self._nursery_ends_within(grace_s):
            # To the nursery this means: kill the workers.
            self._control.shutdown(socket.SHUT_WR)
            self._nursery_ends_within(GRACE_S)
        # Not reaped yet, the nursery keeps the group's number from being given to others.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._nursery.pid, signal.SIGKILL)
        self._nursery.wait()
        self._control.close()
        self.last_words = _tail(self._errors.fileno())
        self._errors.close()
        return True

    def _open_nursery(self, message: bytes, passed: Sequence[int]) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as file:
            file.write(message)
            file.seek(0)
            return subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "ploutos.env.workers", *map(str, passed)],
                stdin=file,
                stderr=self._errors,
                pass_fds=passed,
                # One thread each: with more, a fork would leave locks behind that nobody opens.
                env=os.environ | thread_variables(1),
                # Ctrl-C reaches the caller alone, and one signal can end the whole group.
                start_new_session=True,
            )

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
