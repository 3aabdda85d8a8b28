"""Panel files for the tests of the block."""

import hashlib
from pathlib import Path

import numpy as np

from ploutos.panel import Panel, PanelMeta, PanelRef, panel_to_buffer

DAY_NS = 86_400_000_000_000


def write_panel(folder: Path, features: np.ndarray, **others: np.ndarray) -> PanelRef:
    """Write a panel of (T, N, F) features to `folder`; arrays not given are plain."""
    n_rows, n_symbols, n_features = features.shape
    n_macro = others.get("macro", np.empty((0, 2))).shape[1]
    arrays = {
        "closed_at": np.arange(n_rows, dtype=np.int64) * DAY_NS,
        "decided_at": np.arange(n_rows, dtype=np.int64) * DAY_NS + 1,
        "features": features,
        "macro": np.zeros((n_rows, n_macro), np.float32),
        "prices": np.full((n_rows, n_symbols, 5), 10.0),
        "split_ratio": np.ones((n_rows, n_symbols)),
        "cash_dividend": np.zeros((n_rows, n_symbols)),
        "reference": np.ones((n_rows, 0)),
        "valid": np.ones((n_rows, n_symbols), np.uint8),
        "macro_valid": np.ones((n_rows, n_macro), np.uint8),
    } | others
    meta = PanelMeta(
        name="test",
        symbols=tuple(f"S{index:03}" for index in range(n_symbols)),
        feature_names=tuple(f"feature_{index}" for index in range(n_features)),
        macro_names=tuple(f"macro_{index}" for index in range(n_macro)),
        catalog_digest="c" * 64,
        first_row=5,
    )
    data = memoryview(panel_to_buffer(Panel(meta=meta, **arrays)))
    path = folder / "panel.arrow"
    path.write_bytes(data)
    return PanelRef(
        path=str(path),
        digest=hashlib.sha256(data).hexdigest(),
        n_bytes=len(data),
        n_rows=n_rows,
        n_symbols=n_symbols,
        n_features=n_features,
        n_macro=n_macro,
        first_row=meta.first_row,
        catalog_digest=meta.catalog_digest,
    )
