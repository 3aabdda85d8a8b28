"""What the processes share. In: sizes. Out: arrays over one nameless file that all of them map."""

import mmap
import os
import struct
import tempfile
from math import prod
from typing import NamedTuple

import numpy as np

from ploutos.block import BlockRef
from ploutos.env.config import EnvConfig
from ploutos.env.kernel import Outcome, new_outcome
from ploutos.env.scaler import Scaler
from ploutos.errors import WorkerError
from ploutos.folds import Rows

COMMAND = struct.Struct("<cq")  # a letter and a number
SEED, RESET, STEP, TOUCH = b"s", b"r", b"a", b"t"
DONE = b"."

_ALIGNMENT = 64
_ZEROS = bytes(1024 * 1024)


class WorkersSpec(NamedTuple):
    """What to step and in how many processes.

    block: the published panel. config: the episode. rows: half-open range of panel rows that
    episodes stay inside. scaler: the scaling of the observations. n_envs: E. n_workers: W <= E.
    """

    block: BlockRef
    config: EnvConfig
    rows: Rows
    scaler: Scaler
    n_envs: int
    n_workers: int


class SharedArrays(NamedTuple):
    """Views of the shared file.

    action (E, N) int64: written by the caller. outcome: written by the workers, each its slice of
    environments. pid (W,) int64: process ids of the workers. exit_code (W,) int64: written by the
    nursery when a worker has ended; negative = killed by that signal.
    """

    action: np.ndarray
    outcome: Outcome
    pid: np.ndarray
    exit_code: np.ndarray


class _Place(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype


def slice_of(worker: int, n_workers: int, n_envs: int) -> slice:
    """Return the environments of one worker: contiguous, sizes differ by at most one."""
    return slice(worker * n_envs // n_workers, (worker + 1) * n_envs // n_workers)


def create_file(n_bytes: int) -> int:
    """Return the descriptor of a file without a name, every byte of it reserved.

    Raises
    ------
    WorkerError
        If there is no space for it.
    """
    try:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("ploutos-workers")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        # Written, not only lengthened: a page that is missing later would be a SIGBUS.
        for position in range(0, n_bytes, len(_ZEROS)):
            os.pwrite(descriptor, _ZEROS[: n_bytes - position], position)
    except OSError as error:
        raise WorkerError(
            f"cannot reserve {n_bytes} bytes for the arrays that workers share: {error}. "
            "Use fewer environments."
        ) from error
    return descriptor


def file_bytes(spec: WorkersSpec, n_symbols: int, length: int) -> int:
    """Return the size of the shared file for N symbols and observations of `length` values."""
    return sum(_room(place) for place in _places(spec, n_symbols, length).values())


def map_file(descriptor: int, spec: WorkersSpec, n_symbols: int, length: int) -> SharedArrays:
    """Map the shared file and view it as arrays; the descriptor may be closed afterwards."""
    mapping = mmap.mmap(descriptor, file_bytes(spec, n_symbols, length))
    arrays, offset = {}, 0
    for name, place in _places(spec, n_symbols, length).items():
        flat = np.frombuffer(mapping, place.dtype, prod(place.shape), offset)
        arrays[name] = flat.reshape(place.shape)
        offset += _room(place)
    outcome = Outcome(**{name: arrays[name] for name in Outcome._fields})
    return SharedArrays(arrays["action"], outcome, arrays["pid"], arrays["exit_code"])


def _places(spec: WorkersSpec, n_symbols: int, length: int) -> dict[str, _Place]:
    integer = np.dtype(np.int64)
    # Zero environments cost nothing and have the shapes and dtypes that the kernel wants.
    outcome = new_outcome(0, length)._asdict()
    return {
        "pid": _Place((spec.n_workers,), integer),
        "exit_code": _Place((spec.n_workers,), integer),
        "action": _Place((spec.n_envs, n_symbols), integer),
    } | {name: _Place((spec.n_envs, *none.shape[1:]), none.dtype) for name, none in outcome.items()}


def _room(place: _Place) -> int:
    """Return the bytes of an array, rounded up so that the next one is aligned."""
    n_bytes = prod(place.shape) * place.dtype.itemsize
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
