"""A small panel file for the tests of the block, and a check that no segment is left."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ploutos.block import BlockRef
from ploutos.panel import PanelRef
from tests.block.panels import DAY_NS, write_panel
from tests.block.processes import OWNER, Process

T, N, F, M = 400, 3, 40, 2


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "closed_at": np.arange(T, dtype=np.int64) * DAY_NS,
        "decided_at": np.arange(T, dtype=np.int64) * DAY_NS + 1,
        "features": rng.normal(size=(T, N, F)).astype(np.float32),
        "macro": rng.normal(size=(T, M)).astype(np.float32),
        "prices": rng.uniform(1, 9, size=(T, N, 5)),
        "split_ratio": np.ones((T, N)),
        "cash_dividend": np.zeros((T, N)),
        "reference": np.ones((T, 0)),
        "valid": np.ones((T, N), np.uint8),
        "macro_valid": np.ones((T, M), np.uint8),
    }


@pytest.fixture(scope="session")
def panel(arrays, tmp_path_factory) -> PanelRef:
    return write_panel(tmp_path_factory.mktemp("panel"), **arrays)


@pytest.fixture(params=["shared memory", "file"])
def folder(request, tmp_path) -> Path | None:
    """Where the block goes: shared memory by itself, a file when a folder is given."""
    return None if request.param == "shared memory" else tmp_path / "blocks"


@pytest.fixture(autouse=True)
def no_segment_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("PLOUTOS_HOME", str(tmp_path / "home"))
    yield
    assert list(tmp_path.rglob("ploutos-*")) == []
    assert list(Path("/dev/shm").glob(f"ploutos-{os.getpid()}-*")) == []


@pytest.fixture
def run_python() -> Iterator[Callable[..., Process]]:
    """Give a function that starts Python on some code in a group of its own, killed at the end."""
    processes = []

    def start(code: str, *arguments: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def start_owner(run_python, panel) -> Callable[..., tuple[Process, BlockRef]]:
    """Give a function that starts a process which publishes the panel until its stdin speaks."""

    def start(folder: Path | None = None, code: str = OWNER) -> tuple[Process, BlockRef]:
        process = run_python(code, panel.model_dump_json(), str(folder or ""))
        return process, BlockRef.model_validate_json(process.stdout.readline())

    return start
