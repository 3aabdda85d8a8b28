"""The file that is published. In: the path of a panel file. Out: its mapping, checked, laid out."""

import dataclasses
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from typing import NamedTuple

import numpy as np

from ploutos import panel as panels
from ploutos.block.header import ArrayPlace, Layout
from ploutos.errors import BlockError
from ploutos.panel import Panel, PanelRef
from ploutos.store import digest_bytes


class Source(NamedTuple):
    """A panel file while it is published: open, mapped read-only, and its state at the start."""

    panel: PanelRef
    file: FileIO
    mapping: mmap.mmap
    stamp: tuple[int, int]

    def layout(self) -> Layout:
        """Return where the arrays lie in the file; its digest is not looked at.

        Raises
        ------
        BlockError
            If the file holds the features of another catalog than its ref says.
        PanelError
            If it is not a panel.
        """
        # Looked up late: the panel package loads pyarrow on first use; readers import this module.
        panel = panels.panel_from_buffer(memoryview(self.mapping))
        if panel.meta.catalog_digest != self.panel.catalog_digest:
            raise BlockError(
                f"{self.panel.path} holds the features of another catalog: expected "
                f"{self.panel.catalog_digest}, received {panel.meta.catalog_digest}. Build the "
                "panel again."
            )
        return _layout(panel, self.mapping)

    def check(self) -> None:
        """Digest the file, at the speed of one processor and without the GIL.

        Raises
        ------
        BlockError
            If the digest is not the one that the panel's ref holds.
        """
        received = digest_bytes(memoryview(self.mapping))
        if received != self.panel.digest:
            raise BlockError(
                f"{self.panel.path} is corrupt: expected digest {self.panel.digest}, received "
                f"{received}. Delete the file and build the panel again."
            )

    def check_unchanged(self) -> None:
        """Check that nobody has written to the file since it was opened.

        Copying and digesting read the file once each: this is what makes both the same bytes.

        Raises
        ------
        BlockError
            If the file was changed.
        """
        if (received := _stamp(self.file)) != self.stamp:
            raise BlockError(
                f"{self.panel.path} was changed while it was published: expected the size and time "
                f"{self.stamp}, received {received}. Panel files are replaced, never rewritten: "
                "find out who does, and build the panel again."
            )


@contextmanager
def open_source(panel: PanelRef) -> Iterator[Source]:
    """Open and map a panel file.

    Raises
    ------
    BlockError
        If it is missing, empty or cannot be mapped.
    """
    with _open(panel.path) as file:
        # Taken before anything is read, so that no change can fall between.
        stamp = _stamp(file)
        yield Source(panel, file, _map(file), stamp)


def _open(path: str) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        raise BlockError(f"cannot open the panel file: {error}. Build the panel again.") from error


def _map(file: FileIO) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    except (OSError, ValueError) as error:
        raise BlockError(f"cannot map {file.name}: {error}. Build the panel again.") from error


def _stamp(file: FileIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


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
