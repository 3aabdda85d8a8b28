"""Worker processes: equal to one batch, one copy of the block, and every way to lose them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from ploutos.block import BlockRef, SharedDataManager
from ploutos.env.batch import Batch
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.env.scaler import fit_scaler
from ploutos.env.workers import Workers, WorkersSpec
from ploutos.errors import BlockError, EnvironmentConfigError, WorkerError
from ploutos.folds import Rows
from ploutos.panel import save_panel
from tests.memory import mapped_bytes, private_bytes
from tests.panels import random_panel

CONFIG = EnvConfig(episode_bars=7)
ROWS = Rows(start=20, stop=120)
PANEL = random_panel()
SCALER = fit_scaler(PANEL, ROWS, CONFIG.clip)
# The whole proof takes some ten seconds; a small machine may take fewer processes.
MANY = int(os.environ.get("PLOUTOS_TEST_WORKERS", "64"))


@pytest.fixture
def block(home) -> Iterator[BlockRef]:
    with SharedDataManager(save_panel(PANEL)) as owner:
        yield owner.ref


def spec_of(block: BlockRef, n_envs: int, n_workers: int) -> WorkersSpec:
    return WorkersSpec(block, CONFIG, ROWS, SCALER, n_envs, n_workers)


def family_of(workers: Workers) -> list[psutil.Process]:
    """List the workers and the process that forked them."""
    forks = [psutil.Process(pid) for pid in workers.pids]
    return [psutil.Process(forks[0].ppid()), *forks]


def assert_ended(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


@contextmanager
def lost(workers: Workers, message: str) -> Iterator[list[psutil.Process]]:
    """Expect the error, and that every process is gone when it is raised."""
    family = family_of(workers)
    with workers:
        with pytest.raises(WorkerError, match=message):
            yield family
        assert_ended(family)
        with pytest.raises(WorkerError, match="have been closed"):
            workers.reset()


def test_workers_equal_one_batch_bit_for_bit(block):
    batch = Batch(market_of(PANEL), SCALER, CONFIG, ROWS, 7)
    rng = np.random.default_rng(0)
    with Workers(spec_of(block, 7, 3)) as workers:
        family = family_of(workers)
        for seed in (5, 2**40):
            batch.seed(seed)
            workers.seed(seed)
            np.testing.assert_array_equal(workers.reset(), batch.reset())
            for _ in range(40):
                action = rng.integers(0, 3, (7, 2))
                for expected, received in zip(
                    batch.step(action), workers.step(action), strict=True
                ):
                    np.testing.assert_array_equal(received, expected)
    assert_ended(family)
    workers.close()


def test_actions_that_make_no_sense_are_refused_and_the_workers_go_on(block):
    with Workers(spec_of(block, 3, 1)) as workers:
        workers.seed(1)
        workers.reset()
        for action in (np.zeros((2, 2), int), np.full((3, 2), 3)):
            with pytest.raises(EnvironmentConfigError):
                workers.step(action)
        assert workers.step(np.zeros((3, 2), int)).reward.shape == (3,)


def test_many_workers_hold_one_copy_of_the_block_and_little_else(home):
    """Pss divides each page by the number of processes that map it, so its sum counts copies."""
    panel = random_panel(bars=2000, symbols=15, features=85, macro=36)
    rows = Rows(start=20, stop=2000)
    scaler = fit_scaler(panel, rows, CONFIG.clip)
    with SharedDataManager(save_panel(panel)) as owner:
        spec = WorkersSpec(owner.ref, CONFIG, rows, scaler, MANY, MANY)
        with Workers(spec) as workers:
            workers.seed(1)
            workers.reset()
            action = np.random.default_rng(0).integers(0, 3, (MANY, 15))
            for _ in range(1000):
                workers.step(action)
            workers.touch()
            everyone = [os.getpid(), *(process.pid for process in family_of(workers))]
            maps = [mapped_bytes(pid, owner.ref.segment) for pid in everyone]

            # Every worker has read every page of the panel file, which is all but the header.
            assert all(one["Rss"] >= owner.ref.size for one in maps[2:])
            assert sum(one["Pss"] for one in maps) <= 1.02 * owner.ref.size
            assert sum(one["Private_Dirty"] + one["Private_Clean"] for one in maps) == 0
            assert max(private_bytes(pid) for pid in workers.pids) <= 16 * 1024**2


def test_workers_have_no_frame_or_learning_library_in_memory(block):
    with Workers(spec_of(block, 2, 2)) as workers:
        for process in family_of(workers):
            libraries = Path(f"/proc/{process.pid}/maps").read_text()
            assert "numba" in libraries
            for name in ("torch", "polars", "pandas", "pyarrow", "libarrow"):
                assert name not in libraries


@pytest.mark.parametrize("moment", ["between steps", "during a step"])
def test_killed_worker_is_named_and_the_others_are_ended(moment, block):
    action = np.zeros((4, 2), int)
    workers = Workers(spec_of(block, 4, 2))
    workers.reset()
    with lost(workers, r"worker 1 \(process \d+\) .*ended.*; killed by SIGKILL"):
        if moment == "during a step":
            os.kill(workers.pids[1], signal.SIGSTOP)
            workers.start_step(action)
        os.kill(workers.pids[1], signal.SIGKILL)
        workers.step(action) if moment == "between steps" else workers.finish_step()


def test_stopped_worker_is_noticed_within_the_deadline(block):
    workers = Workers(spec_of(block, 4, 2), timeout_s=0.5)
    workers.reset()
    with lost(workers, r"worker 0 .* did not answer within 0.5 s while stepping"):
        os.kill(workers.pids[0], signal.SIGSTOP)
        began = time.monotonic()
        workers.step(np.zeros((4, 2), int))
    assert time.monotonic() - began < 10


def test_worker_that_raises_is_shown_with_its_traceback(block):
    workers = Workers(spec_of(block, 4, 2))
    workers.reset()
    with lost(workers, r"(?s)worker 1 .*exit code 1.*Traceback.*in serve.*KeyboardInterrupt"):
        os.kill(workers.pids[1], signal.SIGINT)
        psutil.Process(workers.pids[1]).wait(10)
        workers.step(np.zeros((4, 2), int))


def test_end_of_the_process_that_forked_them_leaves_no_worker_behind(block):
    workers = Workers(spec_of(block, 2, 2))
    family = family_of(workers)
    os.kill(workers.pids[0], signal.SIGSTOP)
    family[0].kill()
    workers.close()
    assert_ended(family)


def test_workers_that_cannot_start_say_why(block):
    config = spec_of(block, 2, 2)._replace(rows=Rows(start=20, stop=9999))
    with pytest.raises(WorkerError, match=r"(?s)worker 0 .* while starting; exit code 1.*9999"):
        Workers(config)
    with pytest.raises(BlockError, match="cannot open segment"):
        Workers(spec_of(block.model_copy(update={"segment": "ploutos-gone"}), 2, 2))
    for n_workers in (0, 3):
        with pytest.raises(EnvironmentConfigError, match="between 1 and 2 workers"):
            Workers(spec_of(block, 2, n_workers))


CALLER = """
import sys, time
from ploutos.block import SharedDataManager
from ploutos.env.workers import Workers
from tests.env.test_workers import PANEL, save_panel, spec_of
with SharedDataManager(save_panel(PANEL)) as owner, Workers(spec_of(owner.ref, 2, 2)) as workers:
    workers.reset()
    print(owner.ref.segment, *workers.pids, flush=True)
    time.sleep(60)
"""


def test_killed_caller_leaves_no_process_behind_not_even_a_stopped_one(home):
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with caller:
        segment, *pids = caller.stdout.readline().split()
        forks = [psutil.Process(int(pid)) for pid in pids]
        family = [forks[0].parent(), *forks]
        forks[0].suspend()
        os.killpg(caller.pid, signal.SIGKILL)
    assert_ended(family)
    with SharedDataManager(save_panel(PANEL)):
        assert not Path("/dev/shm", segment).exists()
