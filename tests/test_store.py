import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ploutos import store
from ploutos.errors import StoreError

WRITER = """
import sys
from pathlib import Path
from ploutos.store import write_atomic
print("ready", flush=True)
number = 0
while True:
    number += 1
    write_atomic(Path(sys.argv[1]), bytes([number % 251]) * 300_000)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.02, 0.05])
def test_kill_during_a_write_leaves_a_whole_file(tmp_path, delay_s):
    target = tmp_path / "file"
    target.write_bytes(b"\x00" * 300_000)
    command = [sys.executable, "-c", WRITER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdout.readline()
        time.sleep(delay_s)
        os.kill(writer.pid, signal.SIGKILL)
    data = target.read_bytes()
    assert len(data) == 300_000
    assert len(set(data)) == 1


WRITER_OF_A_FOLDER = """
import sys, time
from pathlib import Path
from ploutos.store import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(b"x" * 1000)
    print("ready", flush=True)
    time.sleep(60)
"""


def killed_while_writing(program, target):
    command = [sys.executable, "-c", program, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdout.readline()
        deadline = time.monotonic() + 30
        while not (left := list(target.parent.glob(".*.tmp"))) and time.monotonic() < deadline:
            pass
        os.kill(writer.pid, signal.SIGKILL)
    return left


@pytest.mark.parametrize("program", [WRITER, WRITER_OF_A_FOLDER], ids=["file", "folder"])
def test_what_a_killed_writer_leaves_is_removed_by_a_later_write(tmp_path, program):
    for _ in range(20):  # a file may have been renamed between the look and the kill
        killed_while_writing(program, tmp_path / "killed")
        left = list(tmp_path.glob(".*.tmp"))
        if left:
            break
    assert left
    store.write_json(tmp_path / "next.json", 1)
    assert list(tmp_path.glob(".*.tmp")) == left, "it may still be written"
    hours_ago = time.time() - 2 * 3600
    for path in left:
        os.utime(path, (hours_ago, hours_ago))
    (tmp_path / ".mine.tmp").write_text("of somebody else")
    os.utime(tmp_path / ".mine.tmp", (hours_ago, hours_ago))
    with store.new_folder(tmp_path / "final"):
        pass
    assert [path.name for path in tmp_path.glob(".*.tmp")] == [".mine.tmp"]
    assert (tmp_path / "final").is_dir()


def test_folder_appears_whole_or_not_at_all(tmp_path):
    def fail_half_way():
        with store.new_folder(tmp_path / "final") as folder:
            (folder / "half").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with store.new_folder(tmp_path / "final") as folder:
        (folder / "whole").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_existing_folder_is_kept(tmp_path):
    for text in ("first", "second"):
        with store.new_folder(tmp_path / "final") as folder:
            (folder / "file").write_text(text)
    assert (tmp_path / "final" / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


def test_digest_of_a_file_is_its_sha256(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # Published test vector, FIPS 180-2.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.digest_file(path) == store.digest_bytes(b"abc") == expected


def test_digest_of_json_does_not_depend_on_the_order_of_keys():
    one, two = store.digest_json({"a": 1, "b": [2]}), store.digest_json({"b": [2], "a": 1})
    assert one == two == hashlib.sha256(b'{"a":1,"b":[2]}').hexdigest()


def test_nan_in_json_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.canonical_json({"x": float("nan")})


def test_missing_json_file_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere\.json"):
        store.read_json(tmp_path / "nowhere.json")


def test_home_that_is_a_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLOUTOS_HOME", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="PLOUTOS_HOME"):
        store.folder("runs")


def test_written_json_reads_back(tmp_path):
    value = {"a": [1, 2.5, None], "b": "é"}
    store.write_json(tmp_path / "x.json", value)
    assert store.read_json(tmp_path / "x.json") == value
    assert json.loads((tmp_path / "x.json").read_text()) == value
