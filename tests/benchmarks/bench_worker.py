"""Environment workers against those of SB3's SubprocVecEnv: memory of their own, time to start."""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

import numpy as np
import psutil
from stable_baselines3.common.vec_env import SubprocVecEnv

from ploutos.block import SharedDataManager
from ploutos.env import EnvConfig, TradingEnv
from ploutos.env.scaler import fit_scaler
from ploutos.env.workers import Workers, WorkersSpec
from ploutos.folds import Rows
from ploutos.panel import save_panel
from tests.benchmarks.pairs import Pairs, alternate, times_better
from tests.memory import private_bytes
from tests.panels import random_panel

WORKERS = 64
# Starting the peer's 64 workers alone takes minutes on two cores.
PAIRS = 2
STEPS = 1000
PEER_STEPS = 50
# What a worker of the peer needs while it starts, over what it needs in the end.
HEADROOM = 1.2
MIB = 1024**2


def run() -> Iterator[Mapping[str, Any]]:
    """Yield `worker.private_mib`, `worker.private_ratio` and `worker.start`."""
    panel = random_panel(bars=20_000, symbols=15, features=85, macro=36)
    rows = Rows(start=panel.meta.first_row, stop=panel.n_rows)
    scaler = fit_scaler(panel, Rows(start=rows.start, stop=1000), 5.0)
    actions = np.random.default_rng(0).integers(0, 3, (STEPS, WORKERS, panel.n_symbols))
    memory = Pairs([], [])
    with tempfile.TemporaryDirectory() as home:
        os.environ["PLOUTOS_HOME"] = home
        with SharedDataManager(save_panel(panel)) as owner:
            spec = WorkersSpec(owner.ref, EnvConfig(), rows, scaler, WORKERS, WORKERS)
            env = functools.partial(TradingEnv, owner.ref, EnvConfig(), rows, scaler)
            # Both sides find their kernels compiled.
            Workers(spec._replace(n_envs=1, n_workers=1)).close()
            _check_memory(env)
            first: dict[str, np.ndarray] = {}

            def ours() -> float:
                began = time.perf_counter()
                with Workers(spec) as workers:
                    workers.seed(7)
                    first["ours"] = workers.reset().copy()
                    took = time.perf_counter() - began
                    for action in actions:
                        workers.step(action)
                    memory.ours.append(_largest_mib(workers.pids))
                return took

            def peer() -> float:
                began = time.perf_counter()
                workers = SubprocVecEnv([env] * WORKERS)
                workers.seed(7)
                first["peer"] = np.array(workers.reset())
                took = time.perf_counter() - began
                for action in actions[:PEER_STEPS]:
                    workers.step(action)
                memory.peer.append(_largest_mib([one.pid for one in workers.processes]))
                workers.close()
                return took

            started = alternate(ours, peer, PAIRS)
            if not np.array_equal(first["ours"], first["peer"]):
                raise RuntimeError("both sides must observe the same")
    yield {
        "name": "worker.private_mib",
        "value": round(max(memory.ours), 2),
        "unit": "MiB",
        "ours": round(median(memory.ours), 2),
        "peer": round(median(memory.peer), 2),
        "spread": [round(min(memory.ours), 2), round(max(memory.ours), 2)],
        "detail": f"private memory of the largest of {WORKERS} workers after {STEPS} steps",
    }
    detail = (
        f"MiB private to the largest of {WORKERS} workers, after {STEPS} steps of ours and "
        f"{PEER_STEPS} of the peer's"
    )
    yield times_better("worker.private_ratio", memory, detail)
    detail = f"seconds until {WORKERS} workers have given their first observation"
    yield times_better("worker.start", started, detail)


def _check_memory(env: Callable[[], TradingEnv]) -> None:
    """Start one worker of the peer; raise if there is no room for as many as are compared."""
    workers = SubprocVecEnv([env])
    workers.seed(7)
    workers.reset()
    needed = WORKERS * HEADROOM * _largest_mib([one.pid for one in workers.processes])
    workers.close()
    available = psutil.virtual_memory().available / MIB
    if needed > available:
        raise RuntimeError(
            f"{WORKERS} workers of SubprocVecEnv need {needed:.0f} MiB, but only {available:.0f} "
            "MiB are available: end other programs, or measure on a larger machine"
        )


def _largest_mib(pids: list[int] | tuple[int, ...]) -> float:
    return max(private_bytes(pid) for pid in pids) / MIB
