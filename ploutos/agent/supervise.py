"""Members as supervised processes. In: specs. Out: a policy folder each, or a named failure.

Each member is a process of its own, watched by one thread: a member that dies, stops reporting or
raises is noticed, its last words are shown, and it alone is started again. When the run is stopped,
by SIGTERM, Ctrl-C or a failure, every member leaves a checkpoint first.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from ploutos.agent.spec import DIVERGED_EXIT, STOPPED_EXIT, MemberSpec
from ploutos.agent.watch import POLL_S, end, watch
from ploutos.errors import DivergedError, TrainingError
from ploutos.store import write_json
from ploutos.threads import thread_variables

Report = Callable[[MemberSpec, int, float], None]

LAST_LINES = 15
# Platforms give a process that they end from five seconds on; this has to be over by then.
GRACE_S = 4.0


def run_members(
    specs: Sequence[MemberSpec], in_parallel: int, timeout_s: float, retries: int, report: Report
) -> None:
    """Run all members, at most `in_parallel` at once, and return when every one has finished.

    Where nobody else has asked for SIGTERM, it ends this process with code 143, after the members
    have left their checkpoints.

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
    DivergedError
        If the numbers of a member are not finite although it went back to a checkpoint once.
    """
    stop = threading.Event()
    with _exit_on_sigterm():
        pool = ThreadPoolExecutor(in_parallel, thread_name_prefix="member")
        run = partial(_run_with_retries, timeout_s=timeout_s, retries=retries, report=report)
        try:
            futures = [pool.submit(run, spec, stop) for spec in specs]
            done, left = wait(futures, POLL_S, FIRST_EXCEPTION)
            # A wait without a limit would not notice Ctrl-C where a library restarts calls.
            while left and not any(future.exception() for future in done):
                done, left = wait(futures, POLL_S, FIRST_EXCEPTION)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        for future in done:
            future.result()


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind this process, where it would otherwise end at once.

    Whoever has set a handler, as Prefect does, knows better; only the main thread may set one.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what follows must not be interrupted
    sys.exit(STOPPED_EXIT)


def _run_with_retries(
    spec: MemberSpec, stop: threading.Event, timeout_s: float, retries: int, report: Report
) -> None:
    for attempt in range(retries + 1):
        try:
            _run_once(spec, timeout_s, report, stop)
        except DivergedError:
            raise  # it has gone back to its checkpoint already
        except TrainingError:
            if attempt == retries or stop.is_set():
                raise
        else:
            return


def _run_once(spec: MemberSpec, timeout_s: float, report: Report, stop: threading.Event) -> None:
    work = Path(spec.work_folder)
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / "spec.json", spec.model_dump(mode="json"))
    environment = os.environ | thread_variables(spec.torch_threads)
    # Without it torch refuses to be deterministic on a GPU.
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
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
            reason = watch(process, partial(_pass_on, spec, report), timeout_s, stop)
        finally:
            end(process, GRACE_S if stop.is_set() else 0.0)
    if stop.is_set():
        raise TrainingError(f"{spec.name} was stopped because the run is stopping.")
    if reason or process.returncode != 0 or not Path(spec.folder).is_dir():
        kind = DivergedError if process.returncode == DIVERGED_EXIT else TrainingError
        raise kind(
            f"member {spec.name} failed: {reason or f'exit code {process.returncode}'}. "
            f"Its last words ({work / 'stderr.log'}):\n{_tail(work / 'stderr.log')}"
        )


def _pass_on(spec: MemberSpec, report: Report, line: bytes) -> bool:
    try:
        message = json.loads(line)
        timesteps, steps_per_s = int(message["timesteps"]), float(message["steps_per_s"])
    except (ValueError, KeyError, TypeError):
        return False  # a library printed something of its own
    report(spec, timesteps, steps_per_s)
    return True


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return "\n".join(lines[-LAST_LINES:])
