"""The owner of a block. In: a panel file. Out: a published segment that lives as long as the owner.

Publishing copies the file once, digesting what it copies; readers see the segment complete or are
refused. A death without clean-up (SIGKILL, SIGTERM) is mended by the next start, which reaps.
"""

import dataclasses
import logging
import mmap
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from io import FileIO
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ploutos import panel as panels
from ploutos.block.header import (
    COMPLETE,
    STATE_FIELD,
    STATE_OFFSET,
    ArrayPlace,
    BlockRef,
    Layout,
    pack_header,
)
from ploutos.block.segment import (
    SHM_FOLDER,
    Segment,
    blocks_folder,
    check_space,
    create_file_segment,
    create_segment,
    reap_dead_blocks,
)
from ploutos.errors import BlockError, SpaceError
from ploutos.panel import Panel, PanelRef

# Large, because two Python threads that hand over often wait for each other.
CHUNK_BYTES = 4 * 1024 * 1024
CHUNKS = 4

_log = logging.getLogger(__name__)


class SharedDataManager:
    """Publish one panel as a shared block, and take it back at the end.

    >>> with SharedDataManager(panel_ref) as manager:  # doctest: +SKIP
    ...     start_workers(manager.ref)

    Workers hold `manager.ref` and call `ploutos.block.attach`. Leaving the context unlinks the
    segment; workers that still map it keep their memory.

    Parameters
    ----------
    panel : PanelRef
        The panel file.
    folder : Path, optional
        Folder for the block as a memory-mapped file. Default: shared memory, or a file in
        home/blocks where shared memory is too small or the platform has none (macOS).
    """

    def __init__(self, panel: PanelRef, folder: Path | None = None) -> None:
        self._panel = panel
        self._folder = folder
        self._segment: Segment | None = None
        self._ref: BlockRef | None = None

    @property
    def ref(self) -> BlockRef:
        """The address of the published block.

        Raises
        ------
        BlockError
            If the block is not published.
        """
        if self._ref is None:
            raise BlockError("the block is not published: call publish() or enter the context")
        return self._ref

    def publish(self) -> BlockRef:
        """Reap dead segments, then publish the panel; a second call returns the same ref.

        Raises
        ------
        BlockError
            If the panel file is missing or is not the one that the panel's ref describes, or if
            it fits nowhere (SpaceError); nothing is left behind then.
        PanelError
            If the file is not a panel.
        """
        if self._ref is None:
            reap_dead_blocks(*([self._folder] if self._folder else []))
            with _open(self._panel.path) as source:
                self._ref = self._place(source)
        return self._ref

    def release(self) -> None:
        """Unlink the segment; harmless if it was never published or is released already."""
        segment, self._segment, self._ref = self._segment, None, None
        if segment is not None:
            segment.remove()

    def __enter__(self) -> Self:
        self.publish()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _place(self, source: FileIO) -> BlockRef:
        """Publish into shared memory if it is there and large enough, else into a file."""
        header, size = self._header(source)
        if self._folder is None:
            try:
                check_space(size, SHM_FOLDER)
                return self._publish(source, header, lambda: create_segment(size))
            except SpaceError as error:
                _log.warning("the block becomes a file in %s: %s", blocks_folder(), error)
        folder = (self._folder or blocks_folder()).resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BlockError(f"cannot create the folder of the block: {error}") from error
        check_space(size, folder)
        return self._publish(source, header, lambda: create_file_segment(folder, size))

    def _publish(self, source: FileIO, header: bytes, create: Callable[[], Segment]) -> BlockRef:
        segment = self._segment = create()
        try:
            segment.write(header, 0)
            size, digest = _copy(source, segment, len(header))
            self._check_digest(digest)
            segment.write(STATE_FIELD.pack(COMPLETE), STATE_OFFSET)
        except BaseException:
            self.release()
            raise
        name, folder = segment.path.name, str(segment.path.parent)
        return BlockRef(segment=name, folder=folder, size=size, digest=digest)

    def _check_digest(self, received: str) -> None:
        if received != self._panel.digest:
            raise BlockError(
                f"{self._panel.path} is corrupt: expected digest {self._panel.digest}, received "
                f"{received}. Delete the file and build the panel again."
            )

    def _header(self, source: FileIO) -> tuple[bytes, int]:
        """Return the segment's header and the size of header and panel file, in bytes."""
        try:
            mapping = mmap.mmap(source.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise BlockError(f"cannot map {source.name}: {error}. Build it again.") from error
        # Looked up late: the panel package loads pyarrow on first use; readers import this module.
        panel = panels.panel_from_buffer(memoryview(mapping))
        if panel.meta.catalog_digest != self._panel.catalog_digest:
            raise BlockError(
                f"{source.name} holds the features of another catalog: expected "
                f"{self._panel.catalog_digest}, received {panel.meta.catalog_digest}. Build the "
                "panel again."
            )
        header = pack_header(_layout(panel, mapping), len(mapping), self._panel.digest)
        return header, len(header) + len(mapping)


def _open(path: str) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        raise BlockError(f"cannot open the panel file: {error}. Build the panel again.") from error


def _layout(panel: Panel, mapping: mmap.mmap) -> Layout:
    """Find where the arrays of a panel lie in the file that they are views of."""
    start = np.frombuffer(mapping, np.uint8).ctypes.data
    arrays = {
        field.name: getattr(panel, field.name)
        for field in dataclasses.fields(panel)
        if field.name != "meta"
    }
    places = {name: _place(name, array, start, len(mapping)) for name, array in arrays.items()}
    return Layout(meta=panel.meta, arrays=places)


def _place(name: str, array: np.ndarray, start: int, size: int) -> ArrayPlace:
    # An empty array lies nowhere.
    offset = array.ctypes.data - start if array.nbytes else 0
    if not (
        array.flags.c_contiguous and array.flags.aligned and 0 <= offset <= size - array.nbytes
    ):
        raise BlockError(
            f"panel array {name} cannot be shared: expected one aligned row-major part of the "
            f"file, received offset {offset} of {size} bytes, strides {array.strides}"
        )
    return ArrayPlace(offset=offset, dtype=array.dtype.str, shape=array.shape)


def _copy(source: FileIO, segment: Segment, offset: int) -> tuple[int, str]:
    """Copy a file into a segment; return the number and the SHA-256 of the bytes that were copied.

    Digesting costs more than copying; it follows the copy in a thread of its own, a few chunks
    behind, and takes them from the same buffers.
    """
    digest = sha256()
    position = source.seek(0)
    digesting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for buffer in cycle([bytearray(CHUNK_BYTES) for _ in range(CHUNKS)]):
            if len(digesting) == CHUNKS:
                digesting.popleft().result()
            count = source.readinto(buffer)
            if not count:
                break
            chunk = memoryview(buffer)[:count]
            digesting.append(pool.submit(digest.update, chunk))
            segment.write(chunk, offset + position)
            position += count
    return position, digest.hexdigest()
