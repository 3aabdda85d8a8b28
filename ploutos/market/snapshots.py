"""Immutable snapshots of market data. In: `MarketData`. Out: a digest, and the data again.

A snapshot's digest is computed from the values, not from the Parquet bytes: the same data have the
same digest whichever library version wrote them. Each file's own SHA-256 stands in the manifest,
and so do the versions that wrote it.
"""

import io
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import polars as pl

from ploutos.errors import SnapshotError, StoreError
from ploutos.market.data import MarketData
from ploutos.store import (
    DIGEST_LENGTH,
    digest_bytes,
    digest_json,
    folder,
    home,
    new_folder,
    read_json,
    write_atomic,
    write_json,
)

FORMAT = 2
TABLES = ("bars", "macro", "reference", "quarantine")
WRITTEN_WITH = ("ploutos", "polars", "pandera", "exchange-calendars", "yfinance", "alpaca-py")
MANIFEST = "manifest.json"


def save_snapshot(data: MarketData) -> str:
    """Keep market data under `home/snapshots/<digest>/` and return the digest.

    Saving the same data again changes nothing and returns the same digest. The folder appears
    whole or not at all.

    Raises
    ------
    SnapshotError
        If a snapshot of that digest is there already but damaged.
    StoreError
        If the disk refuses.
    """
    content = _content(data)
    digest = digest_json(content)
    final = _folder(digest)
    if final.is_dir():
        load_snapshot(digest)
        return digest
    folder("snapshots")
    with new_folder(final) as temporary:
        files: dict[str, str] = {}
        for table in TABLES:
            encoded = parquet_bytes(getattr(data, table))
            files[f"{table}.parquet"] = digest_bytes(encoded)
            write_atomic(temporary / f"{table}.parquet", encoded)
        manifest = {"content": content, "files": files, "versions": _versions()}
        write_json(temporary / MANIFEST, manifest)
    return digest


def load_snapshot(digest: str) -> MarketData:
    """Load a snapshot and verify every byte of it.

    Raises
    ------
    SnapshotError
        If there is none of that digest, or a file is missing, unreadable or changed; the message
        names the file.
    """
    root = _folder(digest)
    manifest = _read_manifest(root, digest)
    content = manifest["content"]
    frames = {table: _read_table(root, table, manifest) for table in TABLES}
    return MarketData(
        name=content["name"],
        bars=frames["bars"],
        macro=frames["macro"],
        reference=frames["reference"],
        missing_series=tuple(content["missing_series"]),
        exchange=content["exchange"],
        interval=content["interval"],
        quarantine=frames["quarantine"],
        provenance=content["provenance"],
    )


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """Encode a frame as Parquet."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=10, statistics=False)
    return buffer.getvalue()


def digest_frame(frame: pl.DataFrame) -> str:
    """Return the SHA-256 of a frame's values: names, types and rows in their order."""
    columns: dict[str, list[str]] = {}
    for column in frame.get_columns():
        kind = str(column.dtype)
        if column.dtype == pl.String:
            values = digest_json(column.to_list())
        else:
            values = digest_bytes(column.to_physical().to_numpy().tobytes())
        if column.null_count():
            # numpy shows a null as NaN, which is another value.
            values = digest_json([values, column.is_null().arg_true().to_list()])
        columns[column.name] = [kind, values]
    return digest_json({"rows": frame.height, "columns": columns, "order": frame.columns})


def _content(data: MarketData) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": data.name,
        "exchange": data.exchange,
        "interval": data.interval,
        "missing_series": list(data.missing_series),
        "provenance": data.provenance,
        "tables": {table: digest_frame(getattr(data, table)) for table in TABLES},
    }


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in WRITTEN_WITH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _folder(digest: str) -> Path:
    if len(digest) != DIGEST_LENGTH or not set(digest) <= set("0123456789abcdef"):
        raise SnapshotError(
            f"expected a snapshot digest of {DIGEST_LENGTH} hexadecimal digits, received {digest!r}"
        )
    return home() / "snapshots" / digest


def _read_manifest(root: Path, digest: str) -> dict[str, Any]:
    path = root / MANIFEST
    if not root.is_dir():
        raise SnapshotError(f"there is no snapshot {root}. Ingest the data again.")
    try:
        manifest = read_json(path)
        content, files = manifest["content"], manifest["files"]
    except (StoreError, KeyError, TypeError) as error:
        raise _damaged(path, f"it is not a manifest: {error}", root) from error
    if content.get("format") != FORMAT:
        raise SnapshotError(
            f"expected a snapshot of format {FORMAT}, received {content.get('format')} in {path}. "
            "Ingest the data again."
        )
    if digest_json(content) != digest:
        raise _damaged(path, f"its content has the digest {digest_json(content)}", root)
    if set(files) != {f"{table}.parquet" for table in TABLES}:
        raise _damaged(path, f"it lists the files {sorted(files)}", root)
    return manifest


def _read_table(root: Path, table: str, manifest: dict[str, Any]) -> pl.DataFrame:
    path = root / f"{table}.parquet"
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"it cannot be read: {error}", root) from error
    expected, received = manifest["files"][path.name], digest_bytes(encoded)
    if received != expected:
        raise _damaged(path, f"expected the SHA-256 {expected}, received {received}", root)
    try:
        frame = pl.read_parquet(io.BytesIO(encoded))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(path, f"it is not Parquet: {error}", root) from error
    if digest_frame(frame) != manifest["content"]["tables"][table]:
        raise _damaged(path, "its values are not those of the snapshot", root)
    return frame


def _damaged(path: Path, what: str, root: Path) -> SnapshotError:
    return SnapshotError(
        f"the snapshot file {path} is damaged: {what}. Delete {root}, ingest again."
    )
