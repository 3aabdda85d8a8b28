"""The panel's file: one record batch in an uncompressed Arrow IPC file. In, out: `Panel`, bytes.

Every array of k values per row is a `FixedSizeList[k]` column, which is at once valid Arrow and
one contiguous row-major matrix, so a reader maps the file and views it without a copy. The features
come first and start on a multiple of 64 bytes. The same panel always gives the same bytes.
"""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ploutos.errors import PanelError, StoreError
from ploutos.panel.model import PRICE_FIELDS, Panel, PanelMeta, PanelRef
from ploutos.store import canonical_json, digest_bytes, digest_file, folder, write_atomic

_META_KEY = b"ploutos"
_PADDING_KEY = b"ploutos.padding"
_ALIGNMENT = 64
_NS = np.dtype(np.int64)


def panel_to_buffer(panel: Panel) -> pa.Buffer:
    """Serialise a panel; one copy of its arrays is made.

    Raises
    ------
    PanelError
        If an array's shape or dtype does not fit the metadata, or the clock does not increase.
    """
    _check_clock(panel)
    columns = {
        name: _to_column(name, getattr(panel, name), shape, dtype)
        for name, (shape, dtype) in _layout(panel.meta, panel.n_rows).items()
        if prod(shape) > 0
    }
    metadata = {_META_KEY: canonical_json(panel.meta.model_dump(mode="json"))}
    # The offset of the body does not depend on the number of rows, so one row finds the padding.
    for padding in range(_ALIGNMENT):
        schema_metadata = metadata | {_PADDING_KEY: b" " * padding}
        batch = pa.record_batch(columns, metadata=schema_metadata)
        if _body_offset(_to_bytes(batch.slice(0, 1))) % _ALIGNMENT == 0:
            return _to_bytes(batch)
    raise PanelError(f"no padding below {_ALIGNMENT} bytes aligns the body of the panel's file")


def panel_from_buffer(buffer: pa.Buffer | memoryview | bytes, digest: str | None = None) -> Panel:
    """View the bytes of a panel file as arrays, without copying them.

    Parameters
    ----------
    buffer
        The file's bytes; they must outlive the panel and must not change.
    digest
        Expected SHA-256 of the bytes; None skips the check, which reads all of them.

    Raises
    ------
    PanelError
        If the bytes do not have the digest, or are not a panel file.
    """
    source = buffer if isinstance(buffer, pa.Buffer) else pa.py_buffer(buffer)
    if digest is not None and (received := digest_bytes(memoryview(source))) != digest:
        raise PanelError(
            f"panel: expected bytes with digest {digest}, received {received}. "
            "The file is corrupt or another one: build it again."
        )
    try:
        batch = _read_batch(source)
        metadata = batch.schema.metadata or {}
        meta = PanelMeta.model_validate_json(metadata[_META_KEY])
        layout = _layout(meta, batch.num_rows)
        arrays = {
            name: _from_column(batch, name, shape, dtype) for name, (shape, dtype) in layout.items()
        }
    except (pa.ArrowException, KeyError, OSError, ValueError) as error:
        raise PanelError(
            f"expected the bytes of a panel file, received something else: {error}"
        ) from error
    return Panel(meta=meta, **arrays)


def save_panel(panel: Panel) -> PanelRef:
    """Write the panel to home/panels/<digest>.arrow, atomically; an existing one is kept.

    Raises
    ------
    PanelError
        If the panel is not consistent.
    StoreError
        If the file cannot be written.
    """
    buffer = panel_to_buffer(panel)
    view = memoryview(buffer)
    digest = digest_bytes(view)
    path = folder("panels") / f"{digest}.arrow"
    if not path.is_file() or digest_file(path) != digest:
        write_atomic(path, view)
    return PanelRef(
        path=str(path),
        digest=digest,
        n_bytes=buffer.size,
        n_rows=panel.n_rows,
        n_symbols=panel.n_symbols,
        n_features=panel.n_features,
        n_macro=panel.n_macro,
        first_row=panel.meta.first_row,
        catalog_digest=panel.meta.catalog_digest,
    )


def load_panel(source: PanelRef | Path | str) -> Panel:
    """Map a panel file into memory and view it; a ref's digest is verified.

    Raises
    ------
    StoreError
        If the file cannot be opened.
    PanelError
        If its bytes do not have the ref's digest, or are not a panel.
    """
    path = source.path if isinstance(source, PanelRef) else str(source)
    try:
        with pa.memory_map(path, "r") as mapped:
            buffer = mapped.read_buffer()
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot open the panel file {path}: {error}") from error
    digest = source.digest if isinstance(source, PanelRef) else None
    try:
        return panel_from_buffer(buffer, digest)
    except PanelError as error:
        raise PanelError(f"{path}: {error}") from error


def _layout(meta: PanelMeta, n_rows: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and dtype of every array, in the order of the file's columns."""
    n, f, m = len(meta.symbols), len(meta.feature_names), len(meta.macro_names)
    double, single, byte = np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.uint8)
    return {
        "features": ((n_rows, n, f), single),
        "macro": ((n_rows, m), single),
        "prices": ((n_rows, n, len(PRICE_FIELDS)), double),
        "split_ratio": ((n_rows, n), double),
        "cash_dividend": ((n_rows, n), double),
        "reference": ((n_rows, len(meta.reference_names)), double),
        "closed_at": ((n_rows,), _NS),
        "decided_at": ((n_rows,), _NS),
        "valid": ((n_rows, n), byte),
        "macro_valid": ((n_rows, m), byte),
    }


def _check_clock(panel: Panel) -> None:
    if panel.n_rows == 0 or panel.n_symbols == 0 or panel.n_features == 0:
        raise PanelError(
            "a panel needs at least one row, symbol and feature; received "
            f"{panel.n_rows} rows, {panel.n_symbols} symbols, {panel.n_features} features"
        )
    for name in ("closed_at", "decided_at"):
        steps = np.diff(getattr(panel, name))
        if (steps <= 0).any():
            row = int(np.argmax(steps <= 0)) + 1
            raise PanelError(
                f"panel: {name} must increase from row to row, but does not at row {row} "
                f"({np.datetime64(int(panel.closed_at[row]), 'ns')} UTC). Do the symbols close "
                "at different times of one session?"
            )
    early = panel.decided_at < panel.closed_at
    if early.any():
        raise PanelError(f"panel: row {int(np.argmax(early))} is decided before its bar closes")


def _to_column(
    name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> pa.Array:
    if array.shape != shape or array.dtype != dtype:
        raise PanelError(
            f"panel array '{name}': expected shape {shape} and dtype {dtype}, received "
            f"{array.shape} and {array.dtype}"
        )
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))  # (T, ...) -> (T * k,)
    if len(shape) == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, prod(shape[1:]))


def _from_column(
    batch: pa.RecordBatch, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    if prod(shape) == 0:
        return _read_only(np.empty(shape, dtype))
    column = batch.column(name)
    value_type = pa.from_numpy_dtype(dtype)
    expected = value_type if len(shape) == 1 else pa.list_(value_type, prod(shape[1:]))
    if column.type != expected or column.null_count:
        raise ValueError(
            f"column '{name}': expected {expected} without nulls, received {column.type} with "
            f"{column.null_count} nulls"
        )
    flat = column if len(shape) == 1 else column.flatten()
    return _read_only(flat.to_numpy(zero_copy_only=True).reshape(shape))  # (T * k,) -> (T, ...)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _read_batch(source: pa.Buffer) -> pa.RecordBatch:
    reader = pa.ipc.open_file(pa.BufferReader(source))
    if reader.num_record_batches != 1:
        raise ValueError(f"expected one record batch, received {reader.num_record_batches}")
    batch = reader.get_batch(0)
    batch.validate()
    return batch


def _to_bytes(batch: pa.RecordBatch) -> pa.Buffer:
    """Write the IPC file into a buffer of exactly its size."""
    counter = pa.MockOutputStream()
    _write_file(counter, batch)
    buffer = pa.allocate_buffer(counter.size())
    _write_file(pa.FixedSizeBufferWriter(buffer), batch)
    return buffer


def _write_file(sink: Any, batch: pa.RecordBatch) -> None:
    options = pa.ipc.IpcWriteOptions(compression=None, use_threads=False)
    with pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def _body_offset(file: pa.Buffer) -> int:
    """Return where the first column's values start, in bytes from the start of the file."""
    first = _read_batch(file).column(0)
    values = first.flatten() if isinstance(first, pa.FixedSizeListArray) else first
    return values.buffers()[1].address - file.address
