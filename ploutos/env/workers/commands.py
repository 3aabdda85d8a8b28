"""Commands to all workers, one after the other. In: a command. Out: news that all have done it."""

import pickle
import time
from typing import Any

import numpy as np

from ploutos.env.workers.processes import Processes
from ploutos.env.workers.words import (
    ASLEEP,
    WAKE,
    count_on,
    first_behind,
    line_of,
    sleep,
    slot_of,
    spin,
)

Infos = dict[int, dict[str, Any]]


class Commands:
    """The caller's lines. Up to two commands may be under way.

    Parameters
    ----------
    lines : (W, 2, 16) int64
        See `ploutos.env.workers.words`.
    processes : Processes
        Their sockets; ended as soon as one does not answer.
    spin_s : float
        How long to look before sleeping, in seconds.
    """

    def __init__(self, lines: np.ndarray, processes: Processes, spin_s: float) -> None:
        self._lines = lines
        self._n_workers = lines.shape[0]
        address = lines.ctypes.data
        self._pairs = [
            (line_of(address, worker, 0), line_of(address, worker, 1))
            for worker in range(self._n_workers)
        ]
        # Views, because a step of few environments takes no longer than a few subscripts.
        self._asleep = lines[:, 1, ASLEEP]
        self._lengths = [lines[:, 1, slot_of(count)] for count in (0, 1)]
        self._processes = processes
        self._spin_s = spin_s
        self._given = self._done = 0
        self._arrived: dict[int, Infos] = {}

    def give(self, kind: int, number: int = 0) -> int:
        """Give every worker a command; return its count.

        Raises
        ------
        WorkerError
            If a worker that has to be woken is gone; all have been ended.
        """
        self._given += 1
        worker = 0
        try:
            if count_on(self._pairs[0], self._n_workers, self._given, (kind, number)):
                # A worker that says so only now looks at the count once more before it sleeps.
                for worker, asleep in enumerate(self._asleep.tolist()):
                    if asleep:
                        self._processes.channels[worker].sendall(WAKE)
        except OSError:
            what = "had ended before it was told to go on"
            raise self._processes.failure(worker, what) from None
        except BaseException:
            self._processes.end(grace_s=0)
            raise
        return self._given

    def finish(self, count: int, what: str, timeout_s: float) -> Infos:
        """Wait until all workers have carried out command `count`; return what they told of it.

        A worker begins the next command only when what it told of this one has been read, so the
        earlier commands are finished first.

        Raises
        ------
        WorkerError
            If a worker is gone, or has not answered in time; all have been ended.
        """
        deadline = time.monotonic() + timeout_s
        while self._done < count:
            self._finish_next(what, deadline, timeout_s)
        return self._arrived.pop(count, {})

    def _finish_next(self, what: str, deadline: float, timeout_s: float) -> None:
        count = self._done + 1
        first, worker = self._pairs[0][1], 0
        try:
            worker = spin(first, self._n_workers, count, self._spin_s)
            while worker < self._n_workers:
                self._sleep(worker, count, deadline)
                worker = first_behind(first, self._n_workers, count, 1)
            for worker, length in enumerate(self._lengths[count % 2].tolist()):
                if length:
                    infos = self._read(worker, length, deadline)
                    self._arrived.setdefault(count, {}).update(infos)
        except TimeoutError:
            late = f"did not answer within {timeout_s:g} s while {what}"
            raise self._processes.failure(worker, late) from None
        except ConnectionError:
            raise self._processes.failure(worker, f"ended while {what}") from None
        except BaseException:
            self._processes.end(grace_s=0)
            raise
        self._done = count

    def _sleep(self, worker: int, count: int, deadline: float) -> None:
        channel = self._processes.channels[worker]
        channel.settimeout(max(deadline - time.monotonic(), 1e-3))
        if not sleep(channel, *self._pairs[worker], count):
            raise ConnectionResetError

    def _read(self, worker: int, length: int, deadline: float) -> Infos:
        """Read what a worker has to tell, `length` bytes after those that should have woken us."""
        channel = self._processes.channels[worker]
        message = b""
        while len(message) < length:
            channel.settimeout(max(deadline - time.monotonic(), 1e-3))
            piece = channel.recv(length - len(message))
            if not piece:
                raise ConnectionResetError
            message = (message + piece).lstrip(WAKE)
        return pickle.loads(message)  # noqa: S301 - our own worker wrote it
