"""What the processes share. In: sizes. Out: arrays over one nameless file that all of them map."""

import mmap
import os
import tempfile
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from ploutos.block import BlockRef
from ploutos.env.config import EnvConfig
from ploutos.env.halves import half_of
from ploutos.env.kernel import Outcome, new_outcome
from ploutos.env.scaler import Scaler
from ploutos.env.workers.words import LINE_WORDS, SPIN_S
from ploutos.errors import WorkerError
from ploutos.folds import Rows

Wrapper = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]

# Commands. The number of STEP is a sum of 1 for the first half and 2 for the second, that of SEED
# the seed.
START, SEED, RESET, STEP, MASKS, TOUCH = range(6)

_ALIGNMENT = 128
_ZEROS = bytes(1024 * 1024)


class WorkersSpec(NamedTuple):
    """What to step and in how many processes.

    block: the published panel. config: the episode. rows: half-open range of panel rows that
    episodes stay inside. scaler: the scaling of the observations. n_envs: E. n_workers: W <= E.

    wrapper: what to put around every `TradingEnv`, for instance a class of `gymnasium.wrappers` or
    a `functools.partial` of your own; environments are then stepped one by one, in Python.
    n_cores: cores that all of them may use, for instance what a container's quota leaves; default:
    those that this process may run on. Nobody waits without sleeping who has no core to itself.
    """

    block: BlockRef
    config: EnvConfig
    rows: Rows
    scaler: Scaler
    n_envs: int
    n_workers: int
    wrapper: Wrapper | None = None
    n_cores: int | None = None


class Sizes(NamedTuple):
    """W, E, N, D and the dtype of actions."""

    n_workers: int
    n_envs: int
    n_symbols: int
    length: int
    action_dtype: np.dtype


class SharedArrays(NamedTuple):
    """Views of the shared file.

    lines (W, 2, 16) int64: see `ploutos.env.workers.words`; those of [:, 0] are the caller's.
    action (E, N) int64 or float64: written by the caller. masks (E, N, 3) bool and outcome: written
    by the workers, each its own environments. pid (W,) int64: process ids of the workers.
    exit_code (W,) int64: written by the nursery when a worker has ended; negative = killed by that
    signal.
    """

    lines: np.ndarray
    action: np.ndarray
    masks: np.ndarray
    outcome: Outcome
    pid: np.ndarray
    exit_code: np.ndarray


class _Place(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype


def slices_of(worker: int, n_workers: int, n_envs: int) -> tuple[slice, slice]:
    """Return the environments of one worker: a part of either half, contiguous, maybe empty.

    The first parts differ in size by at most one, and so do both parts together: up to E workers
    all have something to do.
    """
    middle = half_of(0, n_envs).stop
    firsts, all_ = ([w * n // n_workers for w in (worker, worker + 1)] for n in (middle, n_envs))
    seconds = [middle + both - first for both, first in zip(all_, firsts, strict=True)]
    return slice(*firsts), slice(*seconds)


def spin_times(spec: WorkersSpec) -> tuple[float, float]:
    """Return how long the caller and a worker look before they sleep, in seconds.

    Who has no core to itself does not spin, because that keeps somebody else from working: workers
    spin if there is a core for each, the caller if there is one more.
    """
    n_cores = spec.n_cores
    if n_cores is None:
        asked = hasattr(os, "sched_getaffinity")
        n_cores = len(os.sched_getaffinity(0)) if asked else os.cpu_count() or 1
    caller, worker = spec.n_workers < n_cores, spec.n_workers <= n_cores
    return caller * SPIN_S, worker * SPIN_S


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


def file_bytes(sizes: Sizes) -> int:
    """Return the size of the shared file."""
    return sum(_room(place) for place in _places(sizes).values())


def map_file(descriptor: int, sizes: Sizes) -> SharedArrays:
    """Map the shared file and view it as arrays; the descriptor may be closed afterwards."""
    mapping = mmap.mmap(descriptor, file_bytes(sizes))
    arrays, offset = {}, 0
    for name, place in _places(sizes).items():
        flat = np.frombuffer(mapping, place.dtype, prod(place.shape), offset)
        arrays[name] = flat.reshape(place.shape)
        offset += _room(place)
    outcome = Outcome(**{name: arrays.pop(name) for name in Outcome._fields})
    return SharedArrays(**arrays, outcome=outcome)


def _places(sizes: Sizes) -> dict[str, _Place]:
    integer, E = np.dtype(np.int64), sizes.n_envs
    # Zero environments cost nothing and have the shapes and dtypes that the kernel wants.
    outcome = new_outcome(0, sizes.length)._asdict()
    return {
        "lines": _Place((sizes.n_workers, 2, LINE_WORDS), integer),
        "pid": _Place((sizes.n_workers,), integer),
        "exit_code": _Place((sizes.n_workers,), integer),
        "action": _Place((E, sizes.n_symbols), sizes.action_dtype),
        "masks": _Place((E, sizes.n_symbols, 3), np.dtype(np.bool_)),
    } | {name: _Place((E, *none.shape[1:]), none.dtype) for name, none in outcome.items()}


def _room(place: _Place) -> int:
    """Return the bytes of an array, rounded up so that the next one is aligned."""
    n_bytes = prod(place.shape) * place.dtype.itemsize
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
