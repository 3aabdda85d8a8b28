"""A small panel file for the tests of the block, and a check that no segment is left."""

import os
from pathlib import Path

import numpy as np
import pytest

from ploutos.panel import PanelRef
from tests.block.panels import DAY_NS, write_panel

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
