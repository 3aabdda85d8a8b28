"""Segments as files. In: sizes, names. Out: created, locked and reaped shared-memory segments.

An owner holds a shared `flock` on its segment for as long as it lives; the kernel drops it at any
death. A segment whose exclusive lock is free therefore belongs to nobody. Between creation and
lock a reaper may take a new segment for dead; it unlinks only while it holds the exclusive lock,
so the creator looks after locking whether its segment still has a name, and creates another one
if not. Neither process ids nor ages are consulted: both lie across containers.
"""

import errno
import fcntl
import os
import secrets
import stat
import sys
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from ploutos.errors import BlockError

PREFIX = "ploutos-"
SHM_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory


class Segment:
    """A shared-memory segment that this process owns: created, locked, not yet filled."""

    def __init__(self, memory: SharedMemory, descriptor: int) -> None:
        self.name = memory.name
        self.descriptor = descriptor
        self._memory = memory

    def allocate(self, size: int) -> None:
        """Reserve every page, so that no later write can die of SIGBUS.

        Raises
        ------
        BlockError
            If the file system is full.
        """
        try:
            os.posix_fallocate(self.descriptor, 0, size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise BlockError(f"cannot allocate {size} bytes of {self.name}: {error}") from error
            raise _no_space(size, free_bytes()) from error

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`, in bytes."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, offset)
            rest, offset = rest[written:], offset + written

    def remove(self) -> None:
        """Unlink the segment and drop the lock; processes that map it keep their memory."""
        try:
            self._memory.unlink()
        except FileNotFoundError:
            _forget(self._memory)
        os.close(self.descriptor)


def create_segment(size: int) -> Segment:
    """Create a segment of `size` bytes under a new name and take its owner's lock.

    Raises
    ------
    BlockError
        If the operating system refuses.
    """
    try:
        while True:
            segment = _create_and_lock(size)
            if segment is not None:
                return segment
    except OSError as error:
        raise BlockError(f"cannot create a segment of {size} bytes: {error}") from error


def segment_path(name: str) -> Path:
    """Return the file behind a segment's name."""
    return SHM_FOLDER / name


def open_segment(name: str, flags: int = os.O_RDONLY) -> int:
    """Open a segment's file without following links; raises OSError as `os.open` does."""
    return os.open(segment_path(name), flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def free_bytes(folder: Path = SHM_FOLDER) -> int:
    """Return the free bytes of the file system at `folder`; 0 if there is none."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    # A tmpfs mounted without a limit reports no blocks at all.
    return status.f_bavail * status.f_frsize if status.f_blocks else sys.maxsize


def check_space(needed_bytes: int, available_bytes: int) -> None:
    """Check that a segment fits.

    Raises
    ------
    BlockError
        If it does not; the message says what is needed, what is there, what to do.
    """
    if needed_bytes > available_bytes:
        raise _no_space(needed_bytes, available_bytes)


def reap_dead_blocks() -> tuple[str, ...]:
    """Unlink every segment whose owner is dead, and return their names, sorted.

    Segments of living owners, of other users, and files that are not segments stay.
    """
    names = sorted(path.name for path in SHM_FOLDER.glob(f"{PREFIX}*"))
    return tuple(name for name in names if _reap(name))


def _create_and_lock(size: int) -> Segment | None:
    """Return a locked new segment, or None if a reaper was faster."""
    memory = SharedMemory(f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}", create=True, size=size)
    # Bytes go in through a descriptor: a full file system is then an error and never a SIGBUS.
    memory.close()
    with suppress(FileNotFoundError):
        descriptor = open_segment(memory.name, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            return Segment(memory, descriptor)
        os.close(descriptor)
    _forget(memory)
    return None


def _reap(name: str) -> bool:
    """Unlink one segment if its exclusive lock is free."""
    try:
        descriptor = open_segment(name)
    except OSError:
        # Gone meanwhile, a link, or another user's: not ours to remove.
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        segment_path(name).unlink()
    except (BlockingIOError, FileNotFoundError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def _forget(memory: SharedMemory) -> None:
    """Tell the resource tracker that a segment is gone already, or it would complain at exit."""
    resource_tracker.unregister(f"/{memory.name}", "shared_memory")


def _no_space(needed_bytes: int, available_bytes: int) -> BlockError:
    return BlockError(
        f"not enough shared memory: expected at least {needed_bytes} free bytes in {SHM_FOLDER}, "
        f"received {available_bytes}. Enlarge it (docker run --shm-size, or mount -o "
        f"remount,size=... {SHM_FOLDER}), or use fewer symbols or features."
    )
