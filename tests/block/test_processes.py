"""The shared block between real processes: readers, owners that end, a busy reaper."""

import hashlib
import json
import multiprocessing
import runpy
import subprocess
import sys

import pytest

from ploutos.block import SharedDataManager
from ploutos.block.segment import create_file_segment, create_segment
from tests.block.processes import READER, file_of, finish
from tests.memory import mapped_bytes


def test_four_processes_read_every_page_of_one_copy(panel, arrays, run_python):
    expected = {name: hashlib.sha256(value).hexdigest() for name, value in arrays.items()}
    with SharedDataManager(panel) as manager:
        readers = [
            run_python(READER, manager.ref.model_dump_json(), ",".join(arrays)) for _ in range(4)
        ]
        assert [json.loads(reader.stdout.readline()) for reader in readers] == [expected] * 4
        segment = manager.ref.segment
        shared = sum(mapped_bytes(reader.pid, segment)["Pss"] for reader in readers)
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
