"""Reading files that a stranger may have written. In: a path. Out: bytes, or a checked model.

Nothing that is read here can run code, lead out of its folder, or make this process allocate more
than the reader allows. JSON carries its own digest, so that a flipped bit in it is seen, too.
"""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, TypeVar

from pydantic import JsonValue, TypeAdapter

from ploutos.config import FrozenConfig
from ploutos.errors import StoreError
from ploutos.store import digest_json, write_atomic

MOST_JSON_BYTES = 2**20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])

Sealed = TypeVar("Sealed", bound=FrozenConfig)


def plain_name(name: str) -> str:
    """Return `name` if it can only mean an entry of the folder that it is looked up in.

    Raises
    ------
    StoreError
        If it is empty, hidden, has a separator or any character but letters, digits, `.`, `_`, `-`.
    """
    if not _PLAIN_NAME.fullmatch(name):
        raise StoreError(
            f"expected a plain file name of letters, digits, '.', '_' and '-', received {name!r}."
        )
    return name


def open_regular(path: Path) -> int:
    """Open a file for reading and return its descriptor, which the caller closes.

    Raises
    ------
    StoreError
        If it is missing, or anything but a regular file: a link may lead anywhere, a pipe or a
        device may never end.
    """
    try:
        # Opening a pipe would otherwise wait for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise StoreError(f"expected a regular file at {path}: {error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"expected a regular file at {path}, received something else.")
    return descriptor


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Read a whole regular file of at most `most_bytes` bytes.

    Raises
    ------
    StoreError
        If it is missing, larger, or not a regular file.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise StoreError(f"{path}: expected at most {most_bytes} bytes, received {size}.")
        try:
            return file.read(size)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error}") from error


def write_sealed(path: Path, content: FrozenConfig) -> None:
    """Write a model as JSON together with the digest of its canonical form, atomically.

    Raises
    ------
    StoreError
        If the file system refuses.
    """
    listed = content.model_dump(mode="json")
    write_atomic(path, _encoded({"content": listed, "sha256": digest_json(listed)}))


def read_sealed(path: Path, kind: type[Sealed]) -> Sealed:
    """Read what `write_sealed` wrote.

    Raises
    ------
    StoreError
        If any byte of the file is not as written, or the content is not a `kind`.
    """
    data = read_regular(path, MOST_JSON_BYTES)
    try:
        # Unlike the standard library's, pydantic's parser refuses deep nesting instead of failing.
        whole = _OBJECT.validate_json(data)
        content, digest = whole["content"], whole["sha256"]
        if digest_json(content) != digest or _encoded(whole) != data:
            raise StoreError(f"{path} does not have the digest that it names; it was changed.")
        return kind.model_validate(content)
    except (ValueError, LookupError) as error:
        raise StoreError(f"expected a sealed {kind.__name__} at {path}: {error}") from error


def _encoded(value: Any) -> bytes:
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    return text.encode() + b"\n"
