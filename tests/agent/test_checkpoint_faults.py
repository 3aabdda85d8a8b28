"""Checkpoints that were damaged, swapped or written by somebody hostile: refused, every one."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save as encoded

from ploutos.agent.checkpoint import MANIFEST, STATE, load_checkpoint, read_checkpoint
from ploutos.errors import CheckpointError
from ploutos.store import digest_bytes, digest_json
from tests.agent.learners import LEARNERS, MEMBER, ROLLOUT, fresh, save, trained

FILES = (MANIFEST, STATE)
DAMAGES = 1_000


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two generations of one member, a generation of another one, and a learner to load them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model, batch = trained(LEARNERS[1])
    first = save(folder / "one", model, batch)
    model.learn(ROLLOUT, reset_num_timesteps=False)
    second = save(folder / "one", model, batch)
    stranger = save(folder / "two", *trained(LEARNERS[1], seed=5), member="b" * 64)
    return first, second, stranger, fresh(LEARNERS[1])


@pytest.fixture
def generation(two, tmp_path):
    """Return a whole checkpoint of its own for the test, as generation 2."""
    return shutil.copytree(two[1], tmp_path / "000002")


def is_refused(generation, learner):
    try:
        read_checkpoint(generation, MEMBER, *learner)
    except CheckpointError:
        return True
    return False


def test_undamaged_checkpoint_is_read(two, generation):
    assert not is_refused(generation, two[3])


def test_truncated_and_flipped_checkpoints_are_refused(two, generation):
    rng = np.random.default_rng(0)
    whole = {name: (generation / name).read_bytes() for name in FILES}
    for number in range(DAMAGES):
        name = FILES[number % 2]
        data = bytearray(whole[name])
        if number % 4 < 2:
            del data[rng.integers(len(data)) :]
        else:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (generation / name).write_bytes(data)
        assert is_refused(generation, two[3]), (number, name)
        (generation / name).write_bytes(whole[name])
    assert not is_refused(generation, two[3])


def test_a_bit_flipped_in_any_byte_of_the_json_or_the_header_is_seen(two, generation):
    header_bytes = 8 + int.from_bytes((generation / STATE).read_bytes()[:8], "little")
    places = {MANIFEST: (generation / MANIFEST).stat().st_size, STATE: header_bytes}
    for name, length in places.items():
        whole = (generation / name).read_bytes()
        for at in range(0, length, 1 if name == MANIFEST else 5):
            data = bytearray(whole)
            data[at] ^= 1 << at % 8
            (generation / name).write_bytes(data)
            assert is_refused(generation, two[3]), (name, at)
        (generation / name).write_bytes(whole)


def test_something_appended_is_seen(two, generation):
    for name in FILES:
        whole = (generation / name).read_bytes()
        for more in (b"\n", b" ", b"\0" * 64):
            (generation / name).write_bytes(whole + more)
            assert is_refused(generation, two[3]), (name, more)
        (generation / name).write_bytes(whole)


@pytest.mark.parametrize("names", [(MANIFEST,), (STATE,), FILES], ids=["JSON", "state", "both"])
def test_files_of_another_generation_or_member_are_refused(two, generation, names):
    for source in (two[0], two[2]):
        for name in names:
            shutil.copy(source / name, generation / name)
        assert is_refused(generation, two[3])


def test_missing_files_are_refused(two, generation):
    for names in [(MANIFEST,), (STATE,), FILES]:
        for name in names:
            (generation / name).rename(generation / f"{name}.away")
        assert is_refused(generation, two[3])
        for name in names:
            (generation / f"{name}.away").rename(generation / name)


def reseal(generation, **changes):
    """Write the JSON anew with changes and with the right digest, as only somebody hostile does."""
    content = json.loads((generation / MANIFEST).read_text())["content"]
    content["state_digest"] = digest_bytes((generation / STATE).read_bytes())
    content["numbers"] |= changes
    whole = {"content": content, "sha256": digest_json(content)}
    text = json.dumps(whole, indent=2, sort_keys=True) + "\n"
    (generation / MANIFEST).write_text(text)


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def archive(path, name):
    """Return a torch archive whose pickle makes a folder, under this name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        opened.writestr(name, pickle.dumps(RunsCode(path)))
        opened.writestr("archive/version", b"3\n")
    return stream.getvalue()


def zip_bomb():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("policy.pth", bytes(2**26))
    return stream.getvalue()


def npz(path):
    stream = io.BytesIO()
    array = np.array([RunsCode(path)], dtype=object)
    np.savez(stream, state=array)
    return stream.getvalue()


def torch_file(path):
    stream = io.BytesIO()
    torch.save({"policy.weight": RunsCode(path)}, stream)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["pickle", "torch", "zip", "slip", "bomb", "object array"])
def test_archives_and_pickles_are_refused_and_run_nothing(two, generation, tmp_path, kind):
    ran = tmp_path / "ran"
    data = {
        "pickle": lambda: pickle.dumps(RunsCode(ran)),
        "torch": lambda: torch_file(ran),
        "zip": lambda: archive(ran, "archive/data.pkl"),
        "slip": lambda: archive(ran, "../../../escaped"),
        "bomb": zip_bomb,
        "object array": lambda: npz(ran),
    }[kind]()
    (generation / STATE).write_bytes(data)
    reseal(generation)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        read_checkpoint(generation, MEMBER, *two[3])
    assert not ran.exists()
    assert not list(tmp_path.rglob("escaped"))


def header_of(generation):
    state = (generation / STATE).read_bytes()
    length = int.from_bytes(state[:8], "little")
    return json.loads(state[8 : 8 + length]), state[8 + length :]


def write_state(generation, header, values):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (generation / STATE).write_bytes(struct.pack("<Q", len(text)) + text + values)
    reseal(generation)


def test_shapes_that_would_fill_the_memory_are_refused_before_anything_is_read(two, generation):
    header, values = header_of(generation)
    header["policy.action_net.bias"]["shape"] = [2**40, 2**40]
    write_state(generation, header, values)
    with pytest.raises(CheckpointError, match="tensors differ"):
        read_checkpoint(generation, MEMBER, *two[3])


def test_file_that_says_it_is_enormous_is_not_read(two, generation):
    with (generation / STATE).open("r+b") as file:
        file.truncate(2**40)  # a hole: it takes no room on the disk
    with pytest.raises(CheckpointError, match=r"expected \d+ bytes of values"):
        read_checkpoint(generation, MEMBER, *two[3])
    with (generation / MANIFEST).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match="expected at most 1048576 bytes"):
        read_checkpoint(generation, MEMBER, *two[3])


@pytest.mark.parametrize(
    "header",
    [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"null", b'{"a": 1}', b'{"a": NaN}', b" "],
    ids=["lists", "objects", "no text", "null", "number", "NaN", "nothing"],
)
def test_headers_that_are_no_headers_are_refused(two, generation, header):
    _, values = header_of(generation)
    write_state(generation, header, values)
    with pytest.raises(CheckpointError, match="its header cannot be read"):
        read_checkpoint(generation, MEMBER, *two[3])


@pytest.mark.parametrize("length", [0, 2**20 + 1, 2**63, 2**64 - 1])
def test_headers_of_absurd_lengths_are_refused(two, generation, length):
    state = (generation / STATE).read_bytes()
    (generation / STATE).write_bytes(struct.pack("<Q", length) + state[8:])
    reseal(generation)
    with pytest.raises(CheckpointError, match=r"is not a safetensors file|cannot be read"):
        read_checkpoint(generation, MEMBER, *two[3])


def test_overlapping_tensors_are_refused(two, generation):
    header, values = header_of(generation)
    names = [name for name in header if header[name]["shape"] == [6]]
    header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]
    write_state(generation, header, values)
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        read_checkpoint(generation, MEMBER, *two[3])


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"content":' * 40_000,
        b"\xff",
        b"",
        b"[]",
        b'{"content": {}}',
        b'{"content": {"a": Infinity}, "sha256": ""}',
    ],
    ids=["lists", "objects", "no text", "nothing", "list", "no digest", "infinity"],
)
def test_json_that_is_none_is_refused(two, generation, text):
    (generation / MANIFEST).write_bytes(text)
    assert is_refused(generation, two[3])


@pytest.mark.parametrize(
    "change",
    [
        {"numpy_position": 625},
        {"num_timesteps": -1},
        {"adam": [999]},
        {"adam": [0]},
        {"adam": [-1]},
        {"lstm": False},
        {"best": False},
        {"best_score": "NaN"},
        {"generator": {"bit_generator": "PCG64"}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_numbers_that_no_learner_has_are_refused(two, generation, change):
    # Outside their range, numpy's generator would read beyond its words.
    reseal(generation, **change)
    with pytest.raises(CheckpointError):
        read_checkpoint(generation, MEMBER, *two[3])


@pytest.mark.parametrize("name", FILES)
def test_links_that_lead_out_are_refused(two, generation, tmp_path, name):
    outside = (generation / name).rename(tmp_path / "outside")
    (generation / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="expected a regular file"):
        read_checkpoint(generation, MEMBER, *two[3])


def test_generation_that_is_a_link_is_refused_and_what_it_points_to_stays(two, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / two[1].name).symlink_to(two[1])
    with pytest.raises(CheckpointError, match="received a link"):
        load_checkpoint(folder, MEMBER, *two[3])
    assert not list(folder.iterdir())
    assert not is_refused(two[1], two[3])


@pytest.mark.parametrize("name", FILES)
def test_pipe_in_place_of_a_file_is_refused_at_once(two, generation, name):
    (generation / name).unlink()
    os.mkfifo(generation / name)
    with pytest.raises(CheckpointError, match="expected a regular file"):
        read_checkpoint(generation, MEMBER, *two[3])


def test_tensors_that_are_not_finite_are_refused(two, generation, tmp_path):
    snapshot = read_checkpoint(generation, MEMBER, *two[3])
    snapshot.tensors["batch.accounts.cash"][0] = np.inf
    (generation / STATE).write_bytes(encoded(snapshot.tensors))
    reseal(generation)
    with pytest.raises(CheckpointError, match=r"finite numbers in batch\.accounts\.cash"):
        load_checkpoint(tmp_path, MEMBER, *fresh(LEARNERS[1]))
