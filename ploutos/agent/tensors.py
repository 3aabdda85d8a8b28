"""Tensors on disk, without pickles. In: named tensors. Out: one safetensors file and its digest."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ploutos.errors import PolicyError
from ploutos.store import digest_bytes, write_atomic


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> str:
    """Write the tensors atomically and return the SHA-256 of the file."""
    data = save({name: value.detach().clone().contiguous() for name, value in tensors.items()})
    write_atomic(path, data)
    return digest_bytes(data)


def load_tensors(path: Path, digest: str | None) -> dict[str, torch.Tensor]:
    """Read the tensors back, after comparing the file with its recorded digest.

    Raises
    ------
    PolicyError
        If the file is missing, has another digest or is not a safetensors file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
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
