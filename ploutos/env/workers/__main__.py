"""The nursery. In: descriptors as arguments, the spec on standard input. Out: worker processes.

It stays to tell how workers end, and to kill them when the caller is gone.
"""

import faulthandler
import gc
import os
import pickle
import signal
import socket
import sys
import threading
import traceback

import numpy as np

from ploutos.block import Block, attach
from ploutos.env.batch import Batch
from ploutos.env.lanes import LANES
from ploutos.env.market import Market, market_of
from ploutos.env.workers.serve import Part, serve
from ploutos.env.workers.shared import (
    SharedArrays,
    Sizes,
    WorkersSpec,
    map_file,
    slices_of,
    spin_times,
)
from ploutos.env.workers.words import LINE_WORDS, count_on, first_behind, get_up, lie_down
from ploutos.env.workers.wrapped import WrappedEnvs


def main(arguments: list[str]) -> None:
    """Attach, warm up, fork the workers, and stay until the last of them has ended.

    Parameters
    ----------
    arguments
        Descriptors: the control socket, the shared file, one socket per worker.
    """
    control, shared_file, *sockets = (int(argument) for argument in arguments)
    faulthandler.enable()
    spec, sizes = _read_job()
    block = attach(spec.block)
    market = market_of(block.panel)
    _warm_up(spec, market)
    shared = map_file(shared_file, sizes)
    gc.collect()
    # The collector would otherwise write to, and so copy, every page that holds Python objects.
    gc.freeze()
    children: dict[int, int] = {}
    for worker, descriptor in enumerate(sockets):
        pid = os.fork()
        if pid == 0:
            # What a worker does not own it closes, or its neighbours' ends would go unnoticed.
            for other in (control, *sockets[worker + 1 :]):
                os.close(other)
            _be_worker(worker, descriptor, (spec, block, market), shared)
        children[pid] = worker
        os.close(descriptor)
    _watch(children, control, shared)


def _read_job() -> tuple[WorkersSpec, Sizes]:
    """Read what the caller has written: first where to look for the module of a wrapper."""
    paths: list[str] = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own caller wrote it
    sys.path.extend(path for path in paths if path not in sys.path)
    return pickle.load(sys.stdin.buffer)  # noqa: S301 - as above


def _warm_up(spec: WorkersSpec, market: Market) -> None:
    """Compile, or load, everything that a worker calls, with the types it will call it with."""
    # One environment more than fill all lanes: their step and that of a single one are apart.
    n_envs = LANES + 1
    batch = Batch(market, spec.scaler, spec.config, spec.rows, n_envs)
    batch.seed(0)
    batch.reset()
    batch.masks()
    batch.step(np.zeros((n_envs, batch.n_symbols), batch.action_dtype))
    lines = np.zeros(2 * LINE_WORDS, np.int64)
    line = lines.ctypes.data
    first_behind(line, 1, 0, 1)
    count_on((line, line), 1, 0, (0, 0))
    lie_down(line, line, 0)
    get_up(line)


def _be_worker(
    worker: int, descriptor: int, job: tuple[WorkersSpec, Block, Market], shared: SharedArrays
) -> None:
    """Serve until the caller hangs up; never returns into the nursery's code."""
    code = 1
    try:
        spec, block, market = job
        shared.pid[worker] = os.getpid()
        _, spin_s = spin_times(spec)
        # Closed by the end of this process only: the caller, who ends everything when it hears of
        # it, then finds the last words written.
        channel = socket.socket(fileno=descriptor)
        serve(channel, worker, _parts(worker, spec, market), (block, shared, spin_s))
        code = 0
    except BaseException:  # noqa: BLE001 - the caller shows it
        print(f"worker {worker} (process {os.getpid()}) raised", file=sys.stderr)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _parts(worker: int, spec: WorkersSpec, market: Market) -> list[Part]:
    """Make the environments of a worker: those it has in either half."""
    parts = []
    for half, own in enumerate(slices_of(worker, spec.n_workers, spec.n_envs)):
        n_envs = own.stop - own.start
        if n_envs and spec.wrapper is not None:
            parts.append(Part(half, own, WrappedEnvs(market, spec, n_envs)))
        elif n_envs:
            batch = Batch(market, spec.scaler, spec.config, spec.rows, n_envs)
            parts.append(Part(half, own, batch))
    return parts


def _watch(children: dict[int, int], control: int, shared: SharedArrays) -> None:
    """Record how each worker ends; kill them all as soon as the caller hangs up or dies."""

    def kill_when_alone() -> None:
        os.read(control, 1)
        for pid in tuple(children):
            os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill_when_alone, daemon=True).start()
    while children:
        pid, status = os.wait()
        shared.exit_code[children.pop(pid)] = os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(sys.argv[1:])
