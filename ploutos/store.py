"""Where things live and how they are written. In: bytes, JSON. Out: files under the home folder.

Every write is atomic: a temporary name in the same folder, fsync, rename. A reader sees the old
file or the new one, never half of one. What a killed writer left under a temporary name is removed
by a later write into the same folder.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ploutos.errors import StoreError

_log = logging.getLogger(__name__)

DIGEST_LENGTH = 64
# A live writer touches its temporary file or folder many times in an hour. One that was stopped for
# longer finds it gone and fails, and what it meant to replace stays whole.
ABANDONED_AFTER_S = 3600.0
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


def home() -> Path:
    """Return the absolute home folder (`$PLOUTOS_HOME`); it need not exist yet."""
    # On first use: environment workers import this module and never read a setting.
    from ploutos.settings import load_settings  # noqa: PLC0415

    return load_settings().home.expanduser().resolve()


def folder(*parts: str) -> Path:
    """Return the folder `home/parts...`, created if missing.

    Raises
    ------
    StoreError
        If the folder cannot be created.
    """
    path = home().joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the folder {path}: {error}. Set PLOUTOS_HOME to a writable place."
        ) from error
    return path


def digest_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """Encode `value` as JSON with sorted keys and no spaces; NaN and infinity are refused."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def digest_json(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value))


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` so that a crash leaves the old content or the new, nothing between.

    Raises
    ------
    StoreError
        If the file system refuses (full, read-only, missing folder).
    """
    temporary = _temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error}") from error
    _remove_abandoned(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    write_atomic(path, text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    StoreError
        If the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"expected a JSON file at {path}: {error}") from error


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `final` in one rename when the block ends well.

    An existing `final` is kept and the new one dropped: names are content addresses, so both hold
    the same. On an exception nothing is left.
    """
    temporary = _temporary_beside(final)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        try:
            temporary.rename(final)
        except OSError:
            if not final.is_dir():
                raise
        _sync_folder(final.parent)
    except OSError as error:
        raise StoreError(f"cannot write the folder {final}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_abandoned(final.parent)


@cache
def code_digest() -> str:
    """Return a digest of every Python source file of the installed `ploutos` package.

    Results are cached under it: changed code never passes an old result off as its own.
    """
    root = Path(__file__).parent
    listing = {
        str(path.relative_to(root)): digest_file(path) for path in sorted(root.rglob("*.py"))
    }
    return digest_json(listing)


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def _remove_abandoned(parent: Path) -> None:
    """Remove temporary files and folders that nobody has touched for an hour."""
    oldest = time.time() - ABANDONED_AFTER_S
    for entry in os.scandir(parent):
        if not _TEMPORARY.fullmatch(entry.name):
            continue
        try:
            if entry.stat(follow_symlinks=False).st_mtime >= oldest:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()
        except FileNotFoundError:
            continue  # its writer finished, or another process removed it
        except OSError as error:
            _log.warning("cannot remove the abandoned %s: %s", entry.path, error)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
