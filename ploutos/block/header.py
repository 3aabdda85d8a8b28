"""The first pages of a segment. In: digests, sizes, a layout. Out: bytes, and back, checked.

A segment is: fixed fields | layout as JSON | zeros up to a page | the panel file's bytes. The
layout says where in the payload each array lies, so that a reader needs no Arrow library.
"""

import hashlib
import mmap
import struct
from typing import NamedTuple

from pydantic import Field, ValidationError

from ploutos.config import FrozenConfig
from ploutos.errors import BlockError
from ploutos.panel import PanelMeta

PAGE_BYTES = 4096
MAGIC = b"PLOUTOS\n"
VERSION = 1
WRITING, COMPLETE = 0, 1
STATE_OFFSET = 12
# magic, version, state, header bytes, payload bytes, layout bytes, payload digest, layout digest
FIXED_FIELDS = struct.Struct("<8sIIQQQ32s32s")
STATE_FIELD = struct.Struct("<I")


class BlockRef(FrozenConfig):
    """The address of a published block: small, picklable, and enough to attach."""

    segment: str = Field(
        pattern=r"^ploutos-[0-9a-z-]+$", description="Name of the segment, also of its file."
    )
    folder: str = Field(
        default="/dev/shm",  # noqa: S108 - where Linux keeps POSIX shared memory
        pattern=r"^/",
        description="Folder of the segment's file: shared memory, or where it did not fit, a disk.",
    )
    size: int = Field(gt=0, description="Size of the panel file in the segment, in bytes.")
    digest: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the panel file, hexadecimal."
    )


class ArrayPlace(FrozenConfig):
    """Where one array lies in the payload, row-major."""

    offset: int = Field(ge=0, description="First byte, counted from the start of the payload.")
    dtype: str = Field(description="numpy dtype string, byte order included.")
    shape: tuple[int, ...] = Field(description="Lengths of the axes.")


class Layout(FrozenConfig):
    """Everything a reader needs to turn the payload into a panel."""

    meta: PanelMeta = Field(description="Names and origin of the panel.")
    arrays: dict[str, ArrayPlace] = Field(description="Place of each array, by panel field.")


class Fields(NamedTuple):
    """The fixed fields of a header, as stored."""

    magic: bytes
    version: int
    state: int
    header_bytes: int
    payload_bytes: int
    layout_bytes: int
    payload_digest: bytes
    layout_digest: bytes


def pack_header(layout: Layout, payload_bytes: int, payload_digest: str) -> bytes:
    """Return the header of a segment in state WRITING, padded to whole pages."""
    text = layout.model_dump_json().encode()
    header_bytes = -(-(FIXED_FIELDS.size + len(text)) // PAGE_BYTES) * PAGE_BYTES
    fields = Fields(
        magic=MAGIC,
        version=VERSION,
        state=WRITING,
        header_bytes=header_bytes,
        payload_bytes=payload_bytes,
        layout_bytes=len(text),
        payload_digest=bytes.fromhex(payload_digest),
        layout_digest=hashlib.sha256(text).digest(),
    )
    return (FIXED_FIELDS.pack(*fields) + text).ljust(header_bytes, b"\0")


def read_header(mapping: mmap.mmap | bytes, ref: BlockRef) -> tuple[int, Layout]:
    """Check a mapped segment against the ref that led here; constant time.

    Returns
    -------
    tuple
        Offset of the payload in the segment, in bytes, and the layout.

    Raises
    ------
    BlockError
        If anything in the header is not what the ref or this version says; it names what.
    """
    segment = memoryview(mapping)
    if len(segment) < FIXED_FIELDS.size:
        raise _refusal(ref, "size", f"at least {FIXED_FIELDS.size} bytes", len(segment))
    fields = Fields._make(FIXED_FIELDS.unpack_from(segment))
    # The magic first: without it the other fields mean nothing.
    checks = (
        ("magic", MAGIC, fields.magic),
        ("version", VERSION, fields.version),
        ("state (1 = completely written)", COMPLETE, fields.state),
        ("payload size", ref.size, fields.payload_bytes),
        ("digest", ref.digest, fields.payload_digest.hex()),
        ("segment size", fields.header_bytes + fields.payload_bytes, len(segment)),
    )
    for what, expected, received in checks:
        if expected != received:
            raise _refusal(ref, what, expected, received)
    stop = FIXED_FIELDS.size + fields.layout_bytes
    if stop > fields.header_bytes:
        raise _refusal(ref, "layout size", f"at most {fields.header_bytes}", stop)
    text = bytes(segment[FIXED_FIELDS.size : stop])
    if hashlib.sha256(text).digest() != fields.layout_digest:
        raise _refusal(ref, "layout", "the bytes of its digest", "other bytes")
    try:
        return fields.header_bytes, Layout.model_validate_json(text)
    except ValidationError as error:
        raise _refusal(ref, "layout", "a layout of this version", error) from error


def _refusal(ref: BlockRef, what: str, expected: object, received: object) -> BlockError:
    return BlockError(
        f"segment {ref.segment} is not the block that was published: wrong {what}, expected "
        f"{expected}, received {received}. Publish the panel again and attach to the new ref."
    )
