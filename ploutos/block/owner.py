"""The owner of a block. In: a panel file. Out: a published segment that lives as long as the owner.

Publishing copies the file once and digests it meanwhile; readers see the segment complete or are
refused. A death without clean-up (SIGKILL, SIGTERM) is mended by the next start, which reaps.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from ploutos.block.header import COMPLETE, STATE_FIELD, STATE_OFFSET, BlockRef, pack_header
from ploutos.block.segment import (
    SHM_FOLDER,
    Segment,
    blocks_folder,
    check_space,
    create_file_segment,
    create_segment,
    reap_dead_blocks,
)
from ploutos.block.source import Source, open_source
from ploutos.errors import BlockError, SpaceError
from ploutos.panel import PanelRef

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
            with open_source(self._panel) as source:
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

    def _place(self, source: Source) -> BlockRef:
        """Publish into shared memory if it is there and large enough, else into a file."""
        header = pack_header(source.layout(), len(source.mapping), self._panel.digest)
        size = len(header) + len(source.mapping)
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

    def _publish(self, source: Source, header: bytes, create: Callable[[], Segment]) -> BlockRef:
        segment = self._segment = create()
        try:
            segment.write(header, 0)
            _copy(source, segment, len(header))
            segment.write(STATE_FIELD.pack(COMPLETE), STATE_OFFSET)
        except BaseException:
            self.release()
            raise
        return BlockRef(
            segment=segment.path.name,
            folder=str(segment.path.parent),
            size=len(source.mapping),
            digest=self._panel.digest,
        )


def _copy(source: Source, segment: Segment, offset: int) -> None:
    """Copy the file into a segment and check the digest of what was copied.

    Digesting takes as long as copying. Each is one call that needs no GIL and no buffer of the
    other's: threads that hand chunks over wait for each other as soon as the machine is busy.
    """
    with ThreadPoolExecutor(1) as pool:
        checking = pool.submit(source.check)
        segment.write(memoryview(source.mapping), offset)
        checking.result()
    source.check_unchanged()
