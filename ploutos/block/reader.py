"""A reader of a block. In: a `BlockRef`. Out: the panel as views of memory mapped read-only."""

import dataclasses
import mmap
import os
from math import prod
from types import TracebackType
from typing import Self

import numpy as np

from ploutos.block.header import PAGE_BYTES, ArrayPlace, BlockRef, read_header
from ploutos.block.segment import open_segment, segment_path
from ploutos.errors import BlockError
from ploutos.panel import Panel


class Block:
    """An attached block; `close` (or leaving the context) lets the panel go.

    The memory is unmapped with the last array that looks into it, so no view is ever left
    dangling. The segment belongs to its owner: closing never removes it.
    """

    def __init__(self, ref: BlockRef, panel: Panel) -> None:
        self.ref = ref
        self._panel: Panel | None = panel

    @property
    def panel(self) -> Panel:
        """The shared panel; its arrays cannot be written.

        Raises
        ------
        BlockError
            If the block is closed.
        """
        if self._panel is None:
            raise BlockError(f"the block in {self.ref.segment} is closed: attach again")
        return self._panel

    def touch(self) -> None:
        """Read every page of the panel once, so that no later read waits for a page fault."""
        for field in dataclasses.fields(self.panel):
            if field.name != "meta":
                every_byte = getattr(self.panel, field.name).reshape(-1).view(np.uint8)
                every_byte[::PAGE_BYTES].sum()
                every_byte[-1:].sum()

    def close(self) -> None:
        """Let the panel go; harmless if closed already."""
        self._panel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def attach(ref: BlockRef) -> Block:
    """Map a published block read-only; takes the same time for any size.

    The mapping is read-only for the operating system too: a process that writes into it dies of
    SIGSEGV, alone. The owner verified the payload's digest; here header and ref are compared.

    Raises
    ------
    BlockError
        If the segment is gone, or is not completely the block that `ref` describes.
    """
    mapping = _map(ref)
    payload, layout = read_header(mapping, ref)
    names = {field.name for field in dataclasses.fields(Panel)} - {"meta"}
    if set(layout.arrays) != names:
        raise BlockError(
            f"segment {ref.segment} was published by another version: expected the arrays "
            f"{sorted(names)}, received {sorted(layout.arrays)}"
        )
    arrays = {name: _view(mapping, payload, place, ref) for name, place in layout.arrays.items()}
    return Block(ref, Panel(meta=layout.meta, **arrays))


def _map(ref: BlockRef) -> mmap.mmap:
    try:
        descriptor = open_segment(segment_path(ref.segment, ref.folder))
    except OSError as error:
        raise BlockError(
            f"cannot open segment {ref.segment}: {error}. Its owner has ended or released it; "
            "publish the panel again."
        ) from error
    try:
        size = os.fstat(descriptor).st_size
        return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise BlockError(f"cannot map segment {ref.segment}: {error}") from error
    finally:
        os.close(descriptor)


def _view(mapping: mmap.mmap, payload: int, place: ArrayPlace, ref: BlockRef) -> np.ndarray:
    try:
        flat = np.frombuffer(
            mapping, np.dtype(place.dtype), prod(place.shape), payload + place.offset
        )
    except (ValueError, TypeError) as error:
        raise BlockError(f"segment {ref.segment} has an invalid layout {place}: {error}") from error
    return flat.reshape(place.shape)
