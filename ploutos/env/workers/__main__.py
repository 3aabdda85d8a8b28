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

from ploutos.block import Block, attach
from ploutos.env.batch import Batch
from ploutos.env.market import market_of
from ploutos.env.workers.serve import serve
from ploutos.env.workers.shared import SharedArrays, WorkersSpec, map_file, slice_of


def main(arguments: list[str]) -> None:
    """Attach, warm up, fork the workers, and stay until the last of them has ended.

    Parameters
    ----------
    arguments
        Descriptors: the control socket, the shared file, one socket per worker.
    """
    control, shared_file, *sockets = (int(argument) for argument in arguments)
    faulthandler.enable()
    spec: WorkersSpec = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own caller wrote it
    block = attach(spec.block)
    whole = _warm_batch(spec, block)
    shared = map_file(shared_file, spec, whole.n_symbols, whole.length)
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
            _be_worker(worker, descriptor, (spec, block, whole), shared)
        children[pid] = worker
        os.close(descriptor)
    _watch(children, control, shared)


def _warm_batch(spec: WorkersSpec, block: Block) -> Batch:
    """Compile, or load, everything that a worker calls, with the types it will call it with."""
    batch = Batch(market_of(block.panel), spec.scaler, spec.config, spec.rows, 1)
    batch.seed(0)
    batch.reset()
    batch.step(batch.accounts.last_action * 0)
    return batch


def _be_worker(
    worker: int, descriptor: int, job: tuple[WorkersSpec, Block, Batch], shared: SharedArrays
) -> None:
    """Serve until the caller hangs up; never returns into the nursery's code."""
    code = 1
    try:
        spec, block, whole = job
        own = slice_of(worker, spec.n_workers, spec.n_envs)
        batch = Batch(whole.market, spec.scaler, spec.config, spec.rows, own.stop - own.start)
        shared.pid[worker] = os.getpid()
        with socket.socket(fileno=descriptor) as channel:
            serve(channel, block, batch, (own, shared))
        code = 0
    except BaseException:  # noqa: BLE001 - the caller shows it
        print(f"worker {worker} (process {os.getpid()}) raised", file=sys.stderr)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
