"""The shared block between real processes: readers, writers, kills, a full /dev/shm."""

import hashlib
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice, product
from pathlib import Path

import numpy as np
import pytest

from ploutos.block import BlockRef, SharedDataManager, attach, reap_dead_blocks
from ploutos.block.segment import create_file_segment, create_segment, segment_path
from ploutos.errors import BlockError

# Real kills in the killing test; a long run takes PLOUTOS_TEST_KILLS=100.
KILLS = int(os.environ.get("PLOUTOS_TEST_KILLS", "10"))

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
import hashlib, json, os, sys
from ploutos.block import BlockRef, attach
with attach(BlockRef.model_validate_json(sys.argv[1])) as block:
    panel = block.panel
    digests = {
        name: hashlib.sha256(getattr(panel, name)).hexdigest() for name in sys.argv[2].split(",")
    }
    print(json.dumps(digests), flush=True)
    sys.stdin.readline()
    pss, inside = 0, False
    for line in open("/proc/self/smaps"):
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            inside = block.ref.segment in line
        if inside and fields[0] == "Pss:":
            pss += int(fields[1]) * 1024
    print(pss, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def run_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give a function that starts Python on some code in a group of its own, killed at the end."""
    processes = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def start_owner(run_python, panel) -> Callable[..., tuple[subprocess.Popen[str], BlockRef]]:
    """Give a function that starts a process which publishes the panel until its stdin speaks."""

    def start(folder: Path | None = None) -> tuple[subprocess.Popen[str], BlockRef]:
        process = run_python(OWNER, panel.model_dump_json(), str(folder or ""))
        return process, BlockRef.model_validate_json(process.stdout.readline())

    return start


def file_of(ref: BlockRef) -> Path:
    return segment_path(ref.segment, ref.folder)


def finish(process: subprocess.Popen[str]) -> str:
    """Let a process end by itself, and return what it wrote to stderr."""
    _, errors = process.communicate("go on\n" * 3, timeout=60)
    assert process.returncode == 0, errors
    return errors


def payload_digest(ref: BlockRef) -> str:
    return hashlib.sha256(file_of(ref).read_bytes()[-ref.size :]).hexdigest()


def test_four_processes_read_every_page_of_one_copy(panel, arrays, run_python):
    expected = {name: hashlib.sha256(value).hexdigest() for name, value in arrays.items()}
    with SharedDataManager(panel) as manager:
        readers = [
            run_python(READER, manager.ref.model_dump_json(), ",".join(arrays)) for _ in range(4)
        ]
        assert [json.loads(reader.stdout.readline()) for reader in readers] == [expected] * 4
        for reader in readers:
            reader.stdin.write("measure\n")
            reader.stdin.flush()
        shared = sum(int(reader.stdout.readline()) for reader in readers)
        assert 0.9 * manager.ref.size < shared <= 1.02 * (manager.ref.size + 8192)
        assert [finish(reader) for reader in readers] == [""] * 4
        assert file_of(manager.ref).exists()


def test_spawned_children_attach_and_end_without_taking_the_segment_along(panel, arrays, tmp_path):
    script = tmp_path / "child.py"
    script.write_text(
        "from ploutos.block import attach\n"
        "with attach(ref) as block:\n"
        "    out.write_text(str(int(block.panel.valid.sum())))\n"
    )
    spawn = multiprocessing.get_context("spawn")
    with SharedDataManager(panel) as manager:
        outs = [tmp_path / f"{index}.txt" for index in range(2)]
        children = [
            spawn.Process(
                target=runpy.run_path, args=(str(script), {"ref": manager.ref, "out": out})
            )
            for out in outs
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0]
        assert [out.read_text() for out in outs] == [str(arrays["valid"].size)] * 2
        assert file_of(manager.ref).exists()


def test_reader_imports_no_frame_or_learning_library():
    code = (
        "import sys, ploutos.block;"
        "print([name for name in ('polars', 'pandas', 'pyarrow', 'torch') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "[]"


def test_owner_that_ends_normally_leaves_no_segment_and_no_complaint(start_owner):
    process, ref = start_owner()

    assert file_of(ref).exists()
    assert finish(process) == ""
    assert not file_of(ref).exists()


def test_owner_whose_segment_was_removed_by_someone_ends_without_complaint(start_owner):
    process, ref = start_owner()
    file_of(ref).unlink()

    assert finish(process) == ""


def test_next_start_reaps_the_dead_and_leaves_the_living(panel, start_owner, folder):
    living, living_ref = start_owner(folder)
    dead, dead_ref = start_owner(folder)
    # The whole group at once: not even Python's resource tracker is left to clean up.
    os.killpg(dead.pid, signal.SIGKILL)
    dead.communicate(timeout=30)
    assert file_of(dead_ref).exists()

    with SharedDataManager(panel, folder):
        assert not file_of(dead_ref).exists()
        assert file_of(living_ref).exists()
    assert attach(living_ref).panel.n_rows == panel.n_rows
    finish(living)


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_owner_stopped_by_a_signal_leaves_no_segment(kind, start_owner):
    process, ref = start_owner()
    process.send_signal(kind)
    process.communicate(timeout=30)

    deadline = time.monotonic() + 10
    while file_of(ref).exists() and time.monotonic() < deadline:
        reap_dead_blocks()
        time.sleep(0.01)
    assert process.returncode != 0
    assert not file_of(ref).exists()


def test_readers_keep_their_memory_when_the_owner_dies(panel, arrays, start_owner):
    process, ref = start_owner()
    with attach(ref) as block:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        assert ref.segment in reap_dead_blocks()
        np.testing.assert_array_equal(block.panel.features, arrays["features"])
    with pytest.raises(BlockError, match=f"cannot open segment {ref.segment}"):
        attach(ref)


@pytest.mark.parametrize(
    "attack",
    [
        "ctypes.memset(address, 0xFF, 64)",
        "print(libc.mprotect(ctypes.c_void_p(address // 4096 * 4096), 4096, 3));"
        "ctypes.memset(address, 0xFF, 64)",
    ],
    ids=["write", "mprotect"],
)
def test_writer_dies_alone_and_the_block_is_unchanged(panel, attack, run_python, folder):
    code = (
        "import ctypes, sys; from ploutos.block import *;"
        "libc = ctypes.CDLL(None);"
        "block = attach(BlockRef.model_validate_json(sys.argv[1]));"
        f"address = block.panel.features.ctypes.data; {attack}"
    )
    with SharedDataManager(panel, folder) as manager:
        process = run_python(code, manager.ref.model_dump_json())
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGSEGV
        assert payload_digest(manager.ref) == panel.digest == manager.ref.digest


def test_no_kill_leaves_a_segment_or_touches_another_run(panel, start_owner, run_python, tmp_path):
    other, other_ref = start_owner()
    cases = cycle(product([None, tmp_path / "blocks"], ["owner", "reader", "group"]))
    for folder, victim in islice(cases, KILLS):
        owner, ref = start_owner(folder)
        reader = run_python(READER, ref.model_dump_json(), "features")
        assert reader.stdout.readline()
        killed = {"owner": [owner], "reader": [reader], "group": [owner, reader]}[victim]
        for process in killed:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
        if victim == "reader":
            assert payload_digest(ref) == panel.digest
            finish(owner)
        with SharedDataManager(panel, folder):
            assert not file_of(ref).exists()
            assert file_of(other_ref).exists()
    assert payload_digest(other_ref) == panel.digest
    finish(other)


@pytest.mark.parametrize("kind", ["shared memory", "file"])
def test_reaper_never_takes_a_segment_whose_owner_is_about_to_lock_it(kind, run_python, tmp_path):
    reaper = run_python(
        "import pathlib, sys\n"
        "from ploutos.block import reap_dead_blocks\n"
        "print('ready', flush=True)\n"
        "while True: reap_dead_blocks(pathlib.Path(sys.argv[1]))\n",
        str(tmp_path),
    )
    reaper.stdout.readline()
    for _ in range(300):
        segment = create_segment(8) if kind == "shared memory" else create_file_segment(tmp_path, 8)
        assert segment.path.exists()
        segment.remove()
        assert not segment.path.exists()
