"""A small panel file for the tests of the block, and a check that no segment is left."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from ploutos.panel import Panel, PanelMeta, PanelRef, panel_to_buffer

T, N, F, M = 400, 3, 40, 2


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "closed_at": np.arange(T, dtype=np.int64) * 86_400_000_000_000,
        "decided_at": np.arange(T, dtype=np.int64) * 86_400_000_000_000 + 1,
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
    meta = PanelMeta(
        name="random",
        symbols=("AAA", "BBB", "CCC"),
        feature_names=tuple(f"feature_{index}" for index in range(F)),
        macro_names=("vix_level", "tnx_level"),
        catalog_digest="c" * 64,
        first_row=5,
    )
    data = memoryview(panel_to_buffer(Panel(meta=meta, **arrays)))
    path = tmp_path_factory.mktemp("panel") / "panel.arrow"
    path.write_bytes(data)
    return PanelRef(
        path=str(path),
        digest=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
        n_rows=T,
        n_symbols=N,
        n_features=F,
        n_macro=M,
        first_row=meta.first_row,
        catalog_digest=meta.catalog_digest,
    )


@pytest.fixture(autouse=True)
def no_segment_is_left():
    yield
    assert list(Path("/dev/shm").glob(f"ploutos-{os.getpid()}-*")) == []
