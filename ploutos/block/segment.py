"""Segments as files. In: sizes, names. Out: created, locked and reaped segments.

A segment is POSIX shared memory (on Linux a file in /dev/shm), or an ordinary file in the home
folder where that is too small or does not exist; everything but its creation is the same.

Every byte goes in through a descriptor before anyone maps it: a full file system is an error of
`pwrite` and never a SIGBUS, and no page needs to be reserved, hence zeroed, before it is written.

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
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from ploutos.errors import BlockError, SpaceError
from ploutos.store import home

PREFIX = "ploutos-"
SHM_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory

Unlink = Callable[[], None]


class Segment:
    """A segment that this process owns: created, locked, to be filled."""

    def __init__(self, path: Path, descriptor: int, unlink: Unlink) -> None:
        self.path = path
        self.descriptor = descriptor
        self._unlink = unlink

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`, in bytes.

        Raises
        ------
        SpaceError
            If the file system is full.
        BlockError
            If the operating system refuses for another reason.
        """
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self.descriptor, rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise BlockError(f"cannot write to {self.path}: {error}") from error
            raise _no_space(offset + len(rest), offset, self.path.parent) from error

    def remove(self) -> None:
        """Unlink the segment and drop the lock; processes that map it keep their memory."""
        self._unlink()
        os.close(self.descriptor)


def create_segment(size: int) -> Segment:
    """Create shared memory of `size` bytes under a new name and take its owner's lock.

    Raises
    ------
    BlockError
        If the operating system refuses.
    """
    return _until_locked(lambda: _create_shared_memory(size), f"shared memory of {size} bytes")


def create_file_segment(folder: Path, size: int) -> Segment:
    """Create a file of `size` bytes under a new name in `folder` and take its owner's lock.

    Raises
    ------
    BlockError
        If the operating system refuses.
    """
    return _until_locked(lambda: _create_file(folder, size), f"a block file in {folder}")


def blocks_folder() -> Path:
    """Return the folder of the blocks that are files; it need not exist."""
    return home() / "blocks"


def segment_path(name: str, folder: Path | str = SHM_FOLDER) -> Path:
    """Return the file behind a segment's name."""
    return Path(folder) / name


def open_segment(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a segment's file without following links; raises OSError as `os.open` does."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def free_bytes(folder: Path = SHM_FOLDER) -> int:
    """Return the free bytes of the file system at `folder`; 0 if there is none."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return 0
    # A tmpfs mounted without a limit reports no blocks at all.
    return status.f_bavail * status.f_frsize if status.f_blocks else sys.maxsize


def check_space(needed_bytes: int, folder: Path) -> None:
    """Check that a segment fits into a folder's file system.

    Raises
    ------
    SpaceError
        If it does not; the message says what is needed, what is there, what to do.
    """
    available_bytes = free_bytes(folder)
    if needed_bytes > available_bytes:
        raise _no_space(needed_bytes, available_bytes, folder)


def reap_dead_blocks(*folders: Path) -> tuple[str, ...]:
    """Unlink every segment whose owner is dead, and return their names, sorted.

    Looks into shared memory, the home folder's blocks and `folders`. Segments of living owners, of
    other users, and files that are not segments stay.
    """
    places = {SHM_FOLDER, blocks_folder(), *folders}
    paths = [path for place in places for path in place.glob(f"{PREFIX}*")]
    return tuple(sorted(path.name for path in paths if _reap(path)))


def _until_locked(create: Callable[[], Segment | None], what: str) -> Segment:
    """Create segments until one is locked before a reaper takes it."""
    try:
        while True:
            segment = create()
            if segment is not None:
                return segment
    except OSError as error:
        raise BlockError(f"cannot create {what}: {error}") from error


def _new_name() -> str:
    return f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}"


def _create_shared_memory(size: int) -> Segment | None:
    """Return a locked new segment, or None if a reaper was faster."""
    memory = SharedMemory(_new_name(), create=True, size=size)
    # Bytes go in through a descriptor, never through this mapping.
    memory.close()
    with suppress(FileNotFoundError):
        path = segment_path(memory.name)
        segment = _lock(path, open_segment(path, os.O_RDWR), lambda: _unlink_memory(memory))
        if segment is not None:
            return segment
    _forget(memory)
    return None


def _create_file(folder: Path, size: int) -> Segment | None:
    """Return a locked new segment, or None if a reaper was faster."""
    path = segment_path(_new_name(), folder)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
        return _lock(path, descriptor, lambda: path.unlink(missing_ok=True))
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise


def _lock(path: Path, descriptor: int, unlink: Unlink) -> Segment | None:
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink:
        return Segment(path, descriptor, unlink)
    os.close(descriptor)
    return None


def _unlink_memory(memory: SharedMemory) -> None:
    try:
        memory.unlink()
    except FileNotFoundError:
        _forget(memory)


def _forget(memory: SharedMemory) -> None:
    """Tell the resource tracker that a segment is gone already, or it would complain at exit."""
    resource_tracker.unregister(f"/{memory.name}", "shared_memory")


def _reap(path: Path) -> bool:
    """Unlink one segment if its exclusive lock is free."""
    try:
        # For writing: NFS locks exclusively only what is open for it.
        descriptor = open_segment(path, os.O_RDWR)
    except OSError:
        # Gone meanwhile, a link, or another user's: not ours to remove.
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except (BlockingIOError, FileNotFoundError, PermissionError):
        return False
    finally:
        os.close(descriptor)
    return True


def _no_space(needed_bytes: int, available_bytes: int, folder: Path) -> SpaceError:
    return SpaceError(
        f"not enough space for the shared block: expected at least {needed_bytes} free bytes in "
        f"{folder}, received {available_bytes}. Enlarge it (for /dev/shm: docker run --shm-size, "
        "or mount -o remount,size=...), or use fewer symbols or features."
    )
