"""The owner of a block. In: a panel file. Out: a published segment that lives as long as the owner.

Publishing copies the file once, digesting what it copies; readers see the segment complete or
are refused. A death without clean-up (SIGKILL, SIGTERM) is mended by the next start, which reaps.
"""

import dataclasses
import hashlib
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
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
    Segment,
    check_space,
    create_segment,
    free_bytes,
    reap_dead_blocks,
)
from ploutos.errors import BlockError
from ploutos.panel import PanelRef

CHUNK_BYTES = 1024 * 1024


class SharedDataManager:
    """Publish one panel as a shared block, and take it back at the end.

    >>> with SharedDataManager(panel_ref) as manager:  # doctest: +SKIP
    ...     start_workers(manager.ref)

    Workers hold `manager.ref` and call `ploutos.block.attach`. Leaving the context unlinks the
    segment; workers that still map it keep their memory.
    """

    def __init__(self, panel: PanelRef) -> None:
        self._panel = panel
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
            If the panel file is missing or does not have its digest, or if it does not fit into
            shared memory; nothing is left behind then.
        PanelError
            If the file is not a panel.
        """
        if self._ref is None:
            reap_dead_blocks()
            try:
                source = os.open(self._panel.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise BlockError(
                    f"cannot open the panel file: {error}. Build the panel again."
                ) from error
            try:
                self._ref = self._publish(source)
            except BaseException:
                self.release()
                raise
            finally:
                os.close(source)
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

    def _publish(self, source: int) -> BlockRef:
        size = os.fstat(source).st_size
        header = pack_header(_layout(source, size, self._panel.path), size, self._panel.digest)
        total = len(header) + size
        check_space(total, free_bytes())
        segment = self._segment = create_segment(total)
        segment.allocate(total)
        segment.write(header, 0)
        digest = _copy(source, segment, len(header))
        if digest != self._panel.digest:
            raise BlockError(
                f"{self._panel.path} is corrupt: expected digest {self._panel.digest}, received "
                f"{digest}. Delete the file and build the panel again."
            )
        segment.write(STATE_FIELD.pack(COMPLETE), STATE_OFFSET)
        return BlockRef(segment=segment.name, size=size, digest=digest)


def _layout(source: int, size: int, path: str | Path) -> Layout:
    """Find where the arrays of a panel file lie, by asking the panel's own reader."""
    if size == 0:
        raise BlockError(f"{path} is empty: expected a panel file. Build the panel again.")
    mapping = mmap.mmap(source, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    start = np.frombuffer(mapping, np.uint8).ctypes.data
    # Looked up late: the panel package loads pyarrow on first use, and readers import this module.
    panel = panels.panel_from_buffer(memoryview(mapping))
    arrays = {
        field.name: getattr(panel, field.name)
        for field in dataclasses.fields(panel)
        if field.name != "meta"
    }
    return Layout(
        meta=panel.meta,
        arrays={name: _place(name, array, start, size) for name, array in arrays.items()},
    )


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


def _copy(source: int, segment: Segment, offset: int) -> str:
    """Copy a file into a segment and return the SHA-256 of exactly the bytes that were copied.

    Digesting costs as much as copying; it runs beside it, on the chunk read before.
    """
    digest = hashlib.sha256()
    position = 0
    digesting: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool:
        for buffer in cycle((bytearray(CHUNK_BYTES), bytearray(CHUNK_BYTES))):
            count = os.preadv(source, [buffer], position)
            if digesting is not None:
                digesting.result()
            if count == 0:
                break
            chunk = memoryview(buffer)[:count]
            digesting = pool.submit(digest.update, chunk)
            segment.write(chunk, offset + position)
            position += count
    return digest.hexdigest()
