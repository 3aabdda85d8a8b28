"""Watching a child process. In: a process that reports lines. Out: its end, and why.

Nothing here waits for the child without a limit, whatever it does or leaves undone.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

POLL_S = 0.1
MOST_LINE_BYTES = 2**16


def watch(
    process: subprocess.Popen[bytes],
    is_progress: Callable[[bytes], bool],
    silence_s: float,
    stop: threading.Event,
) -> str | None:
    """Follow a child until it ends, and return why it has to be ended, or None if it has ended.

    Parameters
    ----------
    process : subprocess.Popen
        Started with pipes; its standard output is read here and nowhere else.
    is_progress : callable
        Gets every line of the output, and tells whether it was a sign of progress.
    silence_s : float
        Longest time without such a sign, in seconds.
    stop : threading.Event
        Set by whoever wants the child to be ended.
    """
    if process.stdout is None:
        return "no pipe to its standard output"
    descriptor, pending = process.stdout.fileno(), b""
    heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not stop.is_set():
            # Not by lines: one that is never finished would be waited for without a limit.
            if selector.select(timeout=POLL_S):
                data = os.read(descriptor, MOST_LINE_BYTES)
                if not data:
                    return _wait(process, silence_s, stop)
                *lines, pending = (pending + data).split(b"\n")
                pending = pending[-MOST_LINE_BYTES:]
                signs = [is_progress(line) for line in lines]
                if any(signs):
                    heard = time.monotonic()
            if time.monotonic() - heard > silence_s:
                return f"no progress for {silence_s:.0f} s"
    return "the run is stopping"


def _wait(process: subprocess.Popen[bytes], silence_s: float, stop: threading.Event) -> str | None:
    """Wait for the end of a child that has closed its output."""
    deadline = time.monotonic() + silence_s
    while process.poll() is None:
        if stop.wait(0.05):
            return "the run is stopping"
        if time.monotonic() > deadline:
            return f"it closed its output and did not end within {silence_s:.0f} s"
    return None


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Leave no process behind, whatever happened.

    The child leads a session of its own, and takes everything in it along. With `grace_s` above 0
    it is asked first, by SIGTERM, and has that many seconds.
    """
    if process.poll() is None and grace_s > 0:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
