"""Owners, readers and writers that die: real signals, and nothing is left or harmed."""

import os
import signal
import time
from itertools import cycle, islice, product
from pathlib import Path

import numpy as np
import pytest

from ploutos.block import SharedDataManager, attach, reap_dead_blocks
from ploutos.errors import BlockError
from tests.block.processes import OWNER, READER, Process, file_of, finish, payload_digest

# Real kills in the killing tests; a long run takes PLOUTOS_TEST_KILLS=100.
KILLS = int(os.environ.get("PLOUTOS_TEST_KILLS", "10"))

# Publishes and releases without an end as soon as its stdin has spoken.
PUBLISHER = f"""{OWNER}
while True:
    with manager:
        pass
"""


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


def kill_group(process: Process) -> None:
    """Kill at once even Python's resource tracker, which would clean up."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def test_next_start_takes_what_a_killed_owner_left_and_leaves_the_living(
    panel, start_owner, run_python, tmp_path
):
    folders = [None, tmp_path / "blocks"]
    living = [start_owner(folder) for folder in folders]
    for folder, with_reader in islice(cycle(product(folders, [False, True])), -(-KILLS // 2)):
        owner, ref = start_owner(folder)
        if with_reader:
            reader = run_python(READER, ref.model_dump_json(), "features")
            assert reader.stdout.readline()
            kill_group(reader)
        with attach(ref):
            kill_group(owner)
            assert file_of(ref).exists()
            with SharedDataManager(panel, folder):
                assert not file_of(ref).exists()
                assert all(file_of(other).exists() for _, other in living)
    for other, ref in living:
        assert payload_digest(ref) == panel.digest
        assert attach(ref).panel.n_rows == panel.n_rows
        assert finish(other) == ""


def test_killed_reader_leaves_the_block_to_its_owner(panel, run_python, folder):
    with SharedDataManager(panel, folder) as manager:
        for _ in range(-(-KILLS // 10)):
            reader = run_python(READER, manager.ref.model_dump_json(), "features")
            assert reader.stdout.readline()
            kill_group(reader)
            assert reap_dead_blocks(*([folder] if folder else [])) == ()
        assert payload_digest(manager.ref) == panel.digest


def test_owner_killed_while_it_publishes_leaves_nothing_to_the_next_start(
    start_owner, tmp_path, folder
):
    rng = np.random.default_rng(0)
    for _ in range(-(-KILLS // 5)):
        owner, _ = start_owner(folder, PUBLISHER)
        owner.stdin.write("go on\n")
        owner.stdin.flush()
        time.sleep(rng.uniform(0, 0.05))
        kill_group(owner)
        reap_dead_blocks(*([folder] if folder else []))
        for place in (Path("/dev/shm"), tmp_path):
            assert list(place.rglob(f"ploutos-{owner.pid}-*")) == []
