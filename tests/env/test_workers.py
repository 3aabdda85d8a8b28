"""Worker processes: equal to one batch, one copy of the block, and every way to lose them."""

import os
import signal
import subprocess
import sys
import tempfile
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
from ploutos.env.kernel import Outcome
from ploutos.env.market import market_of
from ploutos.env.scaler import fit_scaler
from ploutos.env.workers import Workers, WorkersSpec
from ploutos.env.workers.shared import spin_times
from ploutos.env.workers.words import SPIN_S
from ploutos.errors import BlockError, EnvironmentConfigError, WorkerError
from ploutos.folds import Rows
from ploutos.panel import save_panel
from ploutos.portfolio.config import PortfolioConfig, WeightActions
from tests.memory import mapped_bytes, private_bytes
from tests.panels import random_panel

CONFIG = EnvConfig(episode_bars=7)
CONFIGS = {
    "by value": CONFIG,
    "by reference": EnvConfig(episode_bars=7, by_reference=True),
    "window of three": EnvConfig(episode_bars=7, window_bars=3),
    "weights": EnvConfig(episode_bars=7, portfolio=PortfolioConfig(actions=WeightActions())),
}
ROWS = Rows(start=20, stop=120)
PANEL = random_panel()
SCALER = fit_scaler(PANEL, ROWS, CONFIG.clip)
# The whole proof takes some ten seconds; a small machine may take fewer processes.
MANY = int(os.environ.get("PLOUTOS_TEST_WORKERS", "64"))


@pytest.fixture
def block(home) -> Iterator[BlockRef]:
    with SharedDataManager(save_panel(PANEL)) as owner:
        yield owner.ref


def spec_of(
    block: BlockRef, n_envs: int, n_workers: int, config: EnvConfig = CONFIG
) -> WorkersSpec:
    return WorkersSpec(block, config, ROWS, SCALER, n_envs, n_workers)


def batch_of(n_envs: int, config: EnvConfig = CONFIG, n_threads: int = 1) -> Batch:
    return Batch(market_of(PANEL), SCALER, config, ROWS, n_envs, n_threads)


def actions_of(batch: Batch, rng: np.random.Generator) -> np.ndarray:
    shape = (batch.n_envs, batch.n_symbols)
    if batch.action_dtype == np.float64:
        return rng.random(shape)
    return rng.integers(0, 3, shape)


def assert_equal(received: Outcome, expected: Outcome) -> None:
    for name in Outcome._fields:
        np.testing.assert_array_equal(getattr(received, name), getattr(expected, name), name)


def family_of(workers: Workers) -> list[psutil.Process]:
    """List the workers and the process that forked them."""
    forks = [psutil.Process(pid) for pid in workers.pids]
    return [psutil.Process(forks[0].ppid()), *forks]


def assert_ended(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


def fall_asleep(workers: Workers) -> None:
    """Wait until every worker blocks in its socket."""
    deadline = time.monotonic() + 10
    for pid in workers.pids:
        while psutil.Process(pid).status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < deadline
            time.sleep(0.01)


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


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_workers_equal_one_batch_bit_for_bit(block, config):
    batch = batch_of(7, config)
    rng = np.random.default_rng(0)
    with Workers(spec_of(block, 7, 3, config)) as workers:
        family = family_of(workers)
        assert workers.observation_space == batch.observation_space
        assert workers.action_space == batch.action_space
        assert workers.action_dtype == batch.action_dtype
        for seed in (5, 2**40):
            batch.seed(seed)
            workers.seed(seed)
            np.testing.assert_array_equal(workers.reset(), batch.reset())
            for _ in range(40):
                np.testing.assert_array_equal(workers.masks(), batch.masks())
                action = actions_of(batch, rng)
                assert_equal(workers.step(action), batch.step(action))
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


@pytest.mark.parametrize(("n_cores", "spins"), [(1, (0, 0)), (2, (0, 1)), (3, (1, 1))])
def test_nobody_spins_without_a_core_of_its_own(block, n_cores, spins):
    spec = spec_of(block, 6, 2)._replace(n_cores=n_cores)
    assert spin_times(spec) == tuple(SPIN_S * one for one in spins)


def test_workers_that_never_spin_step_the_same(block):
    batch = batch_of(6)
    rng = np.random.default_rng(0)
    with Workers(spec_of(block, 6, 2)._replace(n_cores=1)) as workers:
        batch.seed(3)
        workers.seed(3)
        np.testing.assert_array_equal(workers.reset(), batch.reset())
        for _ in range(500):
            action = rng.integers(0, 3, (6, 2))
            assert_equal(workers.step(action), batch.step(action))


def test_workers_sleep_while_the_caller_is_away(block):
    with Workers(spec_of(block, 4, 2)._replace(n_cores=64)) as workers:
        workers.reset()
        fall_asleep(workers)
        before = [psutil.Process(pid).num_ctx_switches() for pid in workers.pids]
        time.sleep(0.5)
        assert [psutil.Process(pid).num_ctx_switches() for pid in workers.pids] == before
        assert workers.step(np.zeros((4, 2), int)).reward.shape == (4,)


def test_workers_write_no_file_but_the_nameless_one_they_share(block):
    with Workers(spec_of(block, 4, 2)) as workers:
        for process in family_of(workers):
            open_files = [str(one.readlink()) for one in Path(f"/proc/{process.pid}/fd").iterdir()]
            mapped = [one.path for one in process.memory_maps(grouped=True)]
            places = (tempfile.gettempdir(), "/dev/shm")
            named = {one for one in (*open_files, *mapped) if one.startswith(places)}
            assert {one for one in named if not one.endswith("(deleted)")} == {
                f"/dev/shm/{block.segment}"
            }


MOMENTS = ["between steps", "while it sleeps", "during a step of a half", "with both under way"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_worker_is_named_and_the_others_are_ended(moment, block):
    action = np.zeros((4, 2), int)
    workers = Workers(spec_of(block, 4, 2))
    workers.reset()
    with lost(workers, r"worker 1 \(process \d+\) .*ended.*; killed by SIGKILL"):
        if moment == "while it sleeps":
            fall_asleep(workers)
        if moment.startswith(("during", "with")):
            os.kill(workers.pids[1], signal.SIGSTOP)
            workers.start_step(action[:2], 1)
        if moment.startswith("with"):
            workers.start_step(action[:2], 0)
        os.kill(workers.pids[1], signal.SIGKILL)
        workers.finish_step(1) if moment.startswith(("during", "with")) else workers.step(action)


@pytest.mark.parametrize("moment", MOMENTS)
def test_stopped_worker_is_noticed_within_the_deadline(moment, block):
    action = np.zeros((4, 2), int)
    workers = Workers(spec_of(block, 4, 2), timeout_s=0.5)
    workers.reset()
    with lost(workers, r"worker 0 .* did not answer within 0.5 s while stepping"):
        if moment == "while it sleeps":
            fall_asleep(workers)
        os.kill(workers.pids[0], signal.SIGSTOP)
        began = time.monotonic()
        if moment.startswith("with"):
            workers.start_step(action[:2], 1)
        if moment.startswith(("during", "with")):
            workers.start_step(action[:2], 0)
            workers.finish_step(0)
        workers.step(action)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("moment", ["between steps", "while it sleeps"])
def test_worker_that_raises_is_shown_with_its_traceback(moment, block):
    workers = Workers(spec_of(block, 4, 2))
    workers.reset()
    with lost(workers, r"(?s)worker 1 .*exit code 1.*Traceback.*in serve.*KeyboardInterrupt"):
        if moment == "while it sleeps":
            fall_asleep(workers)
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
    if sys.argv[1:]:
        workers.start_step([[0, 0]], 1)
    print(owner.ref.segment, *workers.pids, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("during", [[], ["a step"]], ids=["between steps", "during a step"])
def test_killed_caller_leaves_no_process_behind_not_even_a_stopped_one(during, home):
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, *during],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
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
