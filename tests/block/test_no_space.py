"""File systems that are too small, full or missing: real ones, mounted for one process alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ploutos.panel import PanelRef
from tests.block.panels import write_panel

MIB = 1024 * 1024
PROGRAM = """
import logging, os, sys
from pathlib import Path
from ploutos.block import SharedDataManager, attach, free_bytes
from ploutos.block.segment import SHM_FOLDER, create_file_segment, create_segment
from ploutos.errors import SpaceError
from ploutos.panel import PanelRef
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
ref = PanelRef.model_validate_json(sys.argv[1])
home = Path(os.environ["PLOUTOS_HOME"])
def left():
    return [path.name for place in (SHM_FOLDER, home / "blocks") for path in place.glob("*")]
"""
PUBLISH = """
try:
    with SharedDataManager(ref) as manager, attach(manager.ref) as block:
        print("folder", manager.ref.folder, len(left()))
        print("sum", float(block.panel.features.sum(dtype="float64")))
except SpaceError as error:
    print("refused", error)
print("left", left())
"""
FILL_UP = f"""
for segment in (create_segment({MIB}), create_file_segment(home, {MIB})):
    try:
        segment.write(bytes({MIB}), 0)
    except SpaceError as error:
        print("refused", error)
    segment.remove()
print("left", left())
"""
# Takes all of shared memory the moment the segment's lock is taken, when the check has passed.
RACE = """
def fill_up(event, _):
    filler = SHM_FOLDER / "filler"
    if event == "fcntl.flock" and not filler.exists():
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free_bytes() - 65536)
sys.addaudithook(fill_up)
"""
SMALL = "mount -t tmpfs -o size=64k tmpfs"


def run_with_mounts(mounts: str, code: str, panel: PanelRef, home: Path) -> list[str]:
    """Run the program where only it sees the mounts; return the lines that it printed."""
    namespace = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    try:
        subprocess.run([*namespace, f"{SMALL} /dev/shm"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not allow mounts of our own")
    program = [sys.executable, "-c", PROGRAM + code, panel.model_dump_json()]
    answer = subprocess.run(
        [*namespace, f'{mounts}\nexec "$0" "$@"', *program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.splitlines()


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("PLOUTOS_HOME", str(folder))
    return folder


def test_block_that_is_too_large_for_shared_memory_becomes_a_file(tmp_path, home):
    features = np.zeros((64 * 1024, 4, 204), np.float32)
    features[:400, 1, 5] = np.arange(400)
    panel = write_panel(tmp_path, features)
    assert panel.n_bytes > 200 * MIB

    mount = "mount -t tmpfs -o size=64m tmpfs /dev/shm"
    warning, folder, total, left = run_with_mounts(mount, PUBLISH, panel, home)

    assert warning.startswith(f"WARNING the block becomes a file in {home}/blocks: not enough")
    assert folder == f"folder {home}/blocks 1"
    assert total == f"sum {399 * 400 / 2}"
    assert left == "left []"


def test_block_becomes_a_file_where_there_is_no_shared_memory(panel, home):
    lines = run_with_mounts("mount -t tmpfs tmpfs /dev", PUBLISH, panel, home)

    assert lines[1] == f"folder {home}/blocks 1"
    assert lines[-1] == "left []"


def test_block_that_fits_nowhere_is_refused_before_anything_is_written(panel, home):
    lines = run_with_mounts(f"{SMALL} /dev/shm; {SMALL} {home}", PUBLISH, panel, home)

    assert [line.split()[0] for line in lines] == ["WARNING", "refused", "left"]
    assert f"free bytes in {home}/blocks, received 65536. Enlarge it" in lines[1]
    assert lines[2] == "left []"


def test_block_becomes_a_file_when_others_take_the_space_while_it_is_copied(panel, home):
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"

    lines = run_with_mounts(mount, RACE + PUBLISH, panel, home)

    assert lines[0].startswith(f"WARNING the block becomes a file in {home}/blocks: not enough")
    assert lines[1:2] == [f"folder {home}/blocks 2"]
    assert lines[-1] == "left ['filler']"


def test_file_that_may_not_become_so_large_is_an_error_and_leaves_nothing(panel, tmp_path):
    code = (
        "import pathlib, resource, sys\n"
        "from ploutos.block import SharedDataManager\n"
        "from ploutos.panel import PanelRef\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "panel, folder = PanelRef.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2])\n"
        "SharedDataManager(panel, folder).publish()\n"
    )
    blocks = tmp_path / "blocks"
    answer = subprocess.run(
        [sys.executable, "-c", code, panel.model_dump_json(), str(blocks)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.stderr.splitlines()[-1] == (
        f"ploutos.errors.BlockError: cannot create a block file in {blocks}: "
        "[Errno 27] File too large"
    )
    assert list(blocks.iterdir()) == []


def test_file_system_that_fills_up_while_a_segment_is_written_is_an_error(panel, home):
    lines = run_with_mounts(f"{SMALL} /dev/shm; {SMALL} {home}", FILL_UP, panel, home)

    assert [line.split(",")[0] for line in lines[:2]] == [
        "refused not enough space for the shared block: expected at least "
        f"{MIB} free bytes in {place}"
        for place in ("/dev/shm", home)
    ]
    assert lines[2] == "left []"
