"""Tensors on disk, without pickles. In: named tensors. Out: one safetensors file and its digest.

A file is measured before it is read: what its header declares must be all that it holds, and what
the reader expects.
"""

import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import NonNegativeInt, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load, save

from ploutos.agent.untrusted import open_regular
from ploutos.config import FrozenConfig
from ploutos.errors import PolicyError, StoreError
from ploutos.store import digest_bytes, write_atomic

Tensors = dict[str, torch.Tensor]

# The parameters of a policy, Adam's two moments and the best ones so far: a billion numbers.
MOST_BYTES = 2**32
MOST_HEADER_BYTES = 2**20
LENGTH_BYTES = 8

DtypeName = Literal["BOOL", "U8", "I32", "I64", "F32", "F64"]
DTYPES: dict[DtypeName, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I32": torch.int32,
    "I64": torch.int64,
    "F32": torch.float32,
    "F64": torch.float64,
}


class Shape(NamedTuple):
    """What a tensor is, without its values."""

    dtype: torch.dtype
    sizes: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Return how many bytes the values take."""
        return self.dtype.itemsize * prod(self.sizes)


class _Entry(FrozenConfig):
    """What the header of a safetensors file says of one tensor."""

    dtype: DtypeName
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


_HEADER: TypeAdapter[dict[str, _Entry]] = TypeAdapter(dict[str, _Entry])


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, Shape]:
    """Return the shape of each tensor."""
    return {name: Shape(value.dtype, tuple(value.shape)) for name, value in tensors.items()}


def encode_tensors(tensors: Tensors) -> bytes:
    """Return the tensors as the bytes of a safetensors file."""
    # A copy each: safetensors refuses tensors that share memory.
    return save({name: value.detach().clone().contiguous() for name, value in tensors.items()})


def save_tensors(path: Path, tensors: Tensors) -> str:
    """Write the tensors atomically and return the SHA-256 of the file."""
    data = encode_tensors(tensors)
    write_atomic(path, data)
    return digest_bytes(data)


def load_tensors(
    path: Path, digest: str | None, expected: Mapping[str, Shape] | None = None
) -> Tensors:
    """Read the tensors back, after comparing the file with its header and its recorded digest.

    Parameters
    ----------
    path : Path
        A regular file; a link is refused.
    digest : str or None
        SHA-256 of the file; None, as in a manifest without one, is refused.
    expected : mapping of str to Shape, optional
        All the tensors that the file must hold; a file with others is not even read.

    Raises
    ------
    PolicyError
        If the file is missing, has another digest or is not a safetensors file, or if its size,
        or what its header declares, is not what is expected.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(min(size, LENGTH_BYTES))
            length = int.from_bytes(head, "little")
            if size <= LENGTH_BYTES or length > min(MOST_HEADER_BYTES, size - LENGTH_BYTES):
                raise PolicyError(
                    f"{path} is not a safetensors file: it has {size} bytes and begins with "
                    f"{head.hex()}. It was changed or only half written; train again."
                )
            head += file.read(length)
            _check_declared(path, head[LENGTH_BYTES:], size - LENGTH_BYTES - length, expected)
            data = head + file.read(size - len(head))
    except (StoreError, OSError) as error:
        raise PolicyError(f"expected a tensor file at {path}: {error}") from error
    received = digest_bytes(data)
    if received != digest:
        raise PolicyError(
            f"{path}: expected SHA-256 {digest}, received {received}. "
            "The file was changed or only half written; train again."
        )
    try:
        return load(data)
    except SafetensorError as error:
        raise PolicyError(f"{path} is not a safetensors file: {error}") from error


def _check_declared(
    path: Path, header: bytes, n_bytes: int, expected: Mapping[str, Shape] | None
) -> None:
    """Refuse a file whose header does not fit its size, or what the reader expects."""
    try:
        entries = _HEADER.validate_json(header)
        declared = {
            name: Shape(DTYPES[entry.dtype], entry.shape) for name, entry in entries.items()
        }
    except ValueError as error:
        raise PolicyError(
            f"{path} is not a safetensors file: its header cannot be read ({error}). It was "
            "changed or only half written; train again."
        ) from error
    if expected is not None and declared != expected:
        names = sorted(name for name in expected.keys() | declared.keys()
                       if expected.get(name) != declared.get(name))  # fmt: skip
        first = names[0]
        raise PolicyError(
            f"{path} does not fit: of {first!r} expected {expected.get(first)}, received "
            f"{declared.get(first)}; {len(names)} tensors differ."
        )
    total = sum(shape.n_bytes for shape in declared.values())
    if total != n_bytes or n_bytes > MOST_BYTES:
        raise PolicyError(
            f"{path}: expected {total} bytes of values, as its header says, and at most "
            f"{MOST_BYTES}; received {n_bytes}. It was changed or only half written; train again."
        )
