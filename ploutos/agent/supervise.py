"""Members as supervised processes. In: specs. Out: a policy folder each, or a named failure.

Each member is a process of its own, watched by one thread: a member that dies, stops reporting or
raises is noticed, its last words are shown, and it alone is started again.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from ploutos.agent.member import MemberSpec
from ploutos.env.workers import THREAD_VARIABLES
from ploutos.errors import TrainingError
from ploutos.store import write_json

Report = Callable[[MemberSpec, int, float], None]

LAST_LINES = 15
# A wait without a limit would not notice Ctrl-C where a library restarts interrupted calls.
POLL_S = 0.5


class _Stop:
    """Set once: the watching threads kill their processes and return."""

    def __init__(self) -> None:
        self.event = threading.Event()


def run_members(
    specs: Sequence[MemberSpec], in_parallel: int, timeout_s: float, retries: int, report: Report
) -> None:
    """Run all members, at most `in_parallel` at once, and return when every one has finished.

    Parameters
    ----------
    specs : sequence of MemberSpec
        What to train.
    in_parallel : int
        Processes side by side, from the plan.
    timeout_s : float
        Longest silence of a member, in seconds.
    retries : int
        Restarts of a failed member; it goes on from its checkpoint.
    report : callable
        `report(spec, timesteps, steps_per_s)`, called from the watching threads.

    Raises
    ------
    TrainingError
        If a member fails more often than `retries`. The others are stopped first.
    """
    stop = _Stop()
    with ThreadPoolExecutor(in_parallel, thread_name_prefix="member") as pool:
        futures = [
            pool.submit(_run_with_retries, spec, timeout_s, retries, report, stop) for spec in specs
        ]
        try:
            done, left = wait(futures, POLL_S, FIRST_EXCEPTION)
            while left and not any(future.exception() for future in done):
                done, left = wait(futures, POLL_S, FIRST_EXCEPTION)
        except BaseException:
            _cancel(stop, pool)
            raise
        failed = [future for future in done if future.exception() is not None]
        if failed:
            _cancel(stop, pool)
            failed[0].result()


def _cancel(stop: _Stop, pool: ThreadPoolExecutor) -> None:
    stop.event.set()
    pool.shutdown(wait=True, cancel_futures=True)


def _run_with_retries(
    spec: MemberSpec, timeout_s: float, retries: int, report: Report, stop: _Stop
) -> None:
    for attempt in range(retries + 1):
        try:
            _run_once(spec, timeout_s, report, stop)
        except TrainingError:
            if attempt == retries or stop.event.is_set():
                raise
        else:
            return


def _run_once(spec: MemberSpec, timeout_s: float, report: Report, stop: _Stop) -> None:
    work = Path(spec.work_folder)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / "spec.json", spec.model_dump(mode="json"))
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(spec.torch_threads))
    with (work / "stderr.log").open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "ploutos.agent", str(work / "spec.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops its members
        )
        try:
            reason = _watch(process, spec, timeout_s, report, stop)
        finally:
            _end(process)
    if stop.event.is_set():
        raise TrainingError(f"{spec.name} was stopped because the run is stopping.")
    if reason or process.returncode != 0 or not Path(spec.folder).is_dir():
        raise TrainingError(
            f"member {spec.name} failed: {reason or f'exit code {process.returncode}'}. "
            f"Its last words ({work / 'stderr.log'}):\n{_tail(work / 'stderr.log')}"
        )


def _watch(
    process: subprocess.Popen[bytes],
    spec: MemberSpec,
    timeout_s: float,
    report: Report,
    stop: _Stop,
) -> str | None:
    """Pass progress on until the output closes; return why the process must be ended, or None."""
    if process.stdout is None:
        return "no pipe to its standard output"
    heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not stop.event.is_set():
            if selector.select(timeout=0.5):
                line = process.stdout.readline()
                if not line:
                    process.wait(timeout=timeout_s)
                    return None
                heard = time.monotonic()
                _pass_on(line, spec, report)
            elif time.monotonic() - heard > timeout_s:
                return f"no progress for {timeout_s:.0f} s"
    return "the run is stopping"


def _pass_on(line: bytes, spec: MemberSpec, report: Report) -> None:
    try:
        message = json.loads(line)
        timesteps, steps_per_s = int(message["timesteps"]), float(message["steps_per_s"])
    except (ValueError, KeyError, TypeError):
        return  # a library printed something of its own
    report(spec, timesteps, steps_per_s)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, whatever happened."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return "\n".join(lines[-LAST_LINES:])
