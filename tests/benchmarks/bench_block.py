"""The shared block: publishing against a plain copy, and how many copies 64 workers hold."""

import gc
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ploutos.block import SharedDataManager
from ploutos.block.segment import segment_path
from ploutos.env.config import EnvConfig
from ploutos.env.scaler import fit_scaler
from ploutos.env.workers import Workers, WorkersSpec
from ploutos.folds import Rows
from ploutos.panel import PanelRef, save_panel
from ploutos.store import digest_bytes
from tests.benchmarks.pairs import alternate, share_of_peer
from tests.memory import mapped_bytes
from tests.panels import random_panel

PAIRS = 15
WORKERS = 64


def run() -> Iterator[Mapping[str, Any]]:
    """Yield `block.publish` and `block.pss_copies`."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["PLOUTOS_HOME"] = home
        panel = random_panel(bars=40_000, symbols=15, features=85, macro=36)
        ref = save_panel(panel)
        rows = Rows(start=panel.meta.first_row, stop=panel.n_rows)
        scaler = fit_scaler(panel, Rows(start=rows.start, stop=1000), 5.0)
        del panel
        gc.collect()
        yield _publish(ref)
        with SharedDataManager(ref) as owner:
            spec = WorkersSpec(owner.ref, EnvConfig(), rows, scaler, WORKERS, WORKERS)
            with Workers(spec) as workers:
                yield _pss_copies(workers, owner.ref.segment, ref.n_bytes)


def _publish(ref: PanelRef) -> Mapping[str, Any]:
    data = Path(ref.path).read_bytes()

    def ours() -> float:
        manager = SharedDataManager(ref)
        began = time.perf_counter()
        block = manager.publish()
        took = time.perf_counter() - began
        written = segment_path(block.segment).read_bytes()[-block.size :]
        manager.release()
        if digest_bytes(written) != ref.digest:
            raise RuntimeError("the segment does not hold the panel's bytes")
        return took

    def peer() -> float:
        began = time.perf_counter()
        memory = SharedMemory(create=True, size=len(data))
        memory.buf[: len(data)] = data
        took = time.perf_counter() - began
        memory.close()
        memory.unlink()
        return took

    ours(), peer()
    detail = (
        f"seconds to publish a panel file of {len(data) >> 20} MiB, verified by its SHA-256, "
        "against copying the same bytes, unverified, into a new SharedMemory"
    )
    return share_of_peer("block.publish", alternate(ours, peer, PAIRS), detail)


def _pss_copies(workers: Workers, segment: str, n_bytes: int) -> Mapping[str, Any]:
    workers.seed(0)
    workers.reset()
    workers.step(np.ones((WORKERS, workers.n_symbols), np.int64))
    workers.touch()
    # The owner has unmapped the block; the process that forked the workers maps it too.
    forked_by = psutil.Process(workers.pids[0]).ppid()
    maps = [mapped_bytes(pid, segment) for pid in (*workers.pids, forked_by)]
    if any(one["Rss"] < n_bytes for one in maps[:-1]):
        raise RuntimeError("a worker has not read every page")
    shared = sum(one["Pss"] for one in maps)
    private = sum(one["Private_Dirty"] + one["Private_Clean"] for one in maps)
    return {
        "name": "block.pss_copies",
        "value": round(shared / n_bytes, 4),
        "unit": "copies",
        "ours": shared,
        "peer": n_bytes,
        "spread": [0, 0],
        "detail": f"summed Pss of the mapping over {WORKERS} workers that have read every page "
        f"and the process that forked them, over its size; {private} bytes are private to one",
    }
