import os
import pickle

import pytest
import torch

from ploutos.agent.tensors import DTYPES, load_tensors, save_tensors, shapes_of
from ploutos.agent.untrusted import plain_name, read_sealed, write_sealed
from ploutos.config import FrozenConfig
from ploutos.errors import PolicyError, StoreError
from ploutos.store import digest_bytes


class Note(FrozenConfig):
    text: str
    numbers: tuple[float, ...] = ()


def tensors():
    found = {name: torch.ones(2, 3).to(dtype) for name, dtype in DTYPES.items()}
    return found | {"one": torch.tensor(3.5), "none": torch.zeros(0, 4)}


def test_tensors_are_read_back_as_they_were(tmp_path):
    digest = save_tensors(tmp_path / "t", tensors())
    for expected in (None, shapes_of(tensors())):
        loaded = load_tensors(tmp_path / "t", digest, expected)
        assert loaded.keys() == tensors().keys()
        for name, value in tensors().items():
            assert loaded[name].dtype == value.dtype
            assert torch.equal(loaded[name], value)


def test_tensors_that_share_memory_are_saved_as_two(tmp_path):
    whole = torch.arange(6.0)
    digest = save_tensors(tmp_path / "t", {"whole": whole, "part": whole[::2]})
    assert load_tensors(tmp_path / "t", digest)["part"].tolist() == [0, 2, 4]


@pytest.mark.parametrize("digest", [None, "", "0" * 64])
def test_file_without_its_digest_is_refused(tmp_path, digest):
    save_tensors(tmp_path / "t", tensors())
    with pytest.raises(PolicyError, match="expected SHA-256"):
        load_tensors(tmp_path / "t", digest)


def test_other_tensors_than_expected_are_refused(tmp_path):
    digest = save_tensors(tmp_path / "t", tensors())
    for name, value in (
        ("one", torch.zeros(2)),
        ("F32", torch.zeros(3, 2)),
        ("more", torch.ones(1)),
    ):
        expected = shapes_of(tensors() | {name: value})
        with pytest.raises(PolicyError, match=f"of '{name}' expected .*1 tensors differ"):
            load_tensors(tmp_path / "t", digest, expected)


def test_pickle_in_place_of_tensors_runs_nothing(tmp_path):
    class RunsCode:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    data = pickle.dumps(RunsCode())
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(PolicyError, match="is not a safetensors file"):
        load_tensors(tmp_path / "t", digest_bytes(data))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe"])
def test_anything_but_a_regular_file_is_refused(tmp_path, kind):
    digest = save_tensors(tmp_path / "whole", tensors())
    path = tmp_path / "t"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "whole")
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(PolicyError, match=r"expected a (regular|tensor) file"):
        load_tensors(path, digest)
    with pytest.raises(StoreError, match="expected a regular file"):
        read_sealed(path, Note)


def test_sealed_model_is_read_back(tmp_path):
    note = Note(text="Ä\n\u2028", numbers=(0.1 + 0.2, 5e-324, 1.7e308, -0.0))
    write_sealed(tmp_path / "note", note)
    received = read_sealed(tmp_path / "note", Note)
    assert received == note
    assert str(received.numbers) == str(note.numbers)


def test_sealed_model_of_another_kind_is_refused(tmp_path):
    class Other(FrozenConfig):
        other: int = 0

    write_sealed(tmp_path / "note", Other())
    with pytest.raises(StoreError, match="expected a sealed Note"):
        read_sealed(tmp_path / "note", Note)


@pytest.mark.parametrize("name", ["PPO-fold0-seed1", "state.safetensors", "a", "A_1.b-c"])
def test_plain_names_pass(name):
    assert plain_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a/b", "a\\b", ".x", "a b", "x\n", "é"]
)
def test_names_that_are_not_plain_are_refused(name):
    with pytest.raises(StoreError, match="plain file name"):
        plain_name(name)
