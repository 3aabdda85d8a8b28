"""Programs that own or read a block, and what the tests ask of them."""

import hashlib
import subprocess
from pathlib import Path

from ploutos.block import BlockRef
from ploutos.block.segment import segment_path

Process = subprocess.Popen[str]

OWNER = """
import sys
from pathlib import Path
from ploutos.block import SharedDataManager
from ploutos.panel import PanelRef
folder = Path(sys.argv[2]) if sys.argv[2] else None
with SharedDataManager(PanelRef.model_validate_json(sys.argv[1]), folder) as manager:
    print(manager.ref.model_dump_json(), flush=True)
    sys.stdin.readline()
"""

READER = """
import hashlib, json, sys
from ploutos.block import BlockRef, attach
with attach(BlockRef.model_validate_json(sys.argv[1])) as block:
    panel = block.panel
    digests = {
        name: hashlib.sha256(getattr(panel, name)).hexdigest() for name in sys.argv[2].split(",")
    }
    print(json.dumps(digests), flush=True)
    sys.stdin.readline()
"""


def file_of(ref: BlockRef) -> Path:
    return segment_path(ref.segment, ref.folder)


def finish(process: Process) -> str:
    """Let a process end by itself, and return what it wrote to stderr."""
    _, errors = process.communicate("go on\n" * 3, timeout=60)
    assert process.returncode == 0, errors
    return errors


def payload_digest(ref: BlockRef) -> str:
    return hashlib.sha256(file_of(ref).read_bytes()[-ref.size :]).hexdigest()
