"""The owner of a block. In: a panel file. Out: a published segment that lives as long as the owner.

Publishing copies the file once and digests the copy; readers see the segment complete or are
refused. A death without clean-up (SIGKILL, SIGTERM) is mended by the next start, which reaps.
"""

import dataclasses
import logging
import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
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
from ploutos.panel import PanelRef

CHUNK_BYTES = 8 * 1024 * 1024

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
            self._ref = self._place(_map_file(self._panel.path))
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

    def _place(self, source: mmap.mmap) -> BlockRef:
        """Publish into shared memory if it is there and large enough, else into a file."""
        layout = self._layout(source)
        header = pack_header(layout, len(source), self._panel.digest)
        size = len(header) + len(source)
        if self._folder is None:
            try:
                check_space(size, SHM_FOLDER)
                return self._publish(source, header, lambda: create_segment(size))
            except SpaceError as error:
                _log.warning("the block becomes a file in %s: %s", blocks_folder(), error)
        folder = (self._folder or blocks_folder()).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        check_space(size, folder)
        return self._publish(source, header, lambda: create_file_segment(folder, size))

    def _publish(self, source: mmap.mmap, header: bytes, create: Callable[[], Segment]) -> BlockRef:
        segment = self._segment = create()
        try:
            segment.write(header, 0)
            self._check_digest(_copy(source, segment, len(header)))
            segment.write(STATE_FIELD.pack(COMPLETE), STATE_OFFSET)
        except BaseException:
            self.release()
            raise
        return BlockRef(
            segment=segment.path.name,
            folder=str(segment.path.parent),
            size=len(source),
            digest=self._panel.digest,
        )

    def _check_digest(self, received: str) -> None:
        if received != self._panel.digest:
            raise BlockError(
                f"{self._panel.path} is corrupt: expected digest {self._panel.digest}, received "
                f"{received}. Delete the file and build the panel again."
            )

    def _layout(self, source: mmap.mmap) -> Layout:
        """Find where the arrays of the panel file lie, by asking the panel's own reader."""
        start = np.frombuffer(source, np.uint8).ctypes.data
        # Looked up late: the panel package loads pyarrow on first use; readers import this module.
        panel = panels.panel_from_buffer(memoryview(source))
        if panel.meta.catalog_digest != self._panel.catalog_digest:
            raise BlockError(
                f"{self._panel.path} holds the features of another catalog: expected "
                f"{self._panel.catalog_digest}, received {panel.meta.catalog_digest}. Build the "
                "panel again."
            )
        arrays = {
            field.name: getattr(panel, field.name)
            for field in dataclasses.fields(panel)
            if field.name != "meta"
        }
        places = {name: _place(name, array, start, len(source)) for name, array in arrays.items()}
        return Layout(meta=panel.meta, arrays=places)


def _map_file(path: str) -> mmap.mmap:
    """Map a panel file read-only."""
    try:
        with Path(path).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise BlockError(f"cannot map the panel file {path}: {error}. Build it again.") from error


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


def _copy(source: mmap.mmap, segment: Segment, offset: int) -> str:
    """Copy a mapped file into a segment and return the SHA-256 of what then stands there.

    Digesting costs as much as copying; it follows the copy in a thread, chunk by chunk, and reads
    the segment, so what is verified is what readers will see.
    """
    digest = sha256()
    written = memoryview(segment.map())[offset:]
    with memoryview(source) as panel, ThreadPoolExecutor(1) as pool:
        digesting = []
        for start in range(0, len(panel), CHUNK_BYTES):
            stop = min(start + CHUNK_BYTES, len(panel))
            segment.write(panel[start:stop], offset + start)
            digesting.append(pool.submit(digest.update, written[start:stop]))
        for chunk in digesting:
            chunk.result()
    return digest.hexdigest()
