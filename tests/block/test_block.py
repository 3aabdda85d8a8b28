"""Publishing, attaching, and everything that is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ploutos.block import (
    BlockRef,
    SharedDataManager,
    attach,
    free_bytes,
    reap_dead_blocks,
)
from ploutos.block.segment import check_space, segment_path
from ploutos.errors import BlockError, PloutosError, SpaceError
from tests.block.panels import write_panel
from tests.block.processes import file_of


def own_prefix() -> str:
    return f"ploutos-{os.getpid()}-"


def test_readers_see_what_was_written_and_the_segment_holds_the_files_bytes(panel, arrays, folder):
    with SharedDataManager(panel, folder) as manager, attach(manager.ref) as block:
        for name, expected in arrays.items():
            np.testing.assert_array_equal(getattr(block.panel, name), expected)
        assert block.panel.meta.symbols == ("S000", "S001", "S002")
        segment = file_of(manager.ref).read_bytes()
        file = Path(panel.path).read_bytes()
        assert segment[-len(file) :] == file
        assert (len(segment) - len(file)) % 4096 == 0


@pytest.mark.parametrize(
    ("shape", "n_macro"), [((1, 1, 1), 0), ((300, 1, 3), 0), ((1, 1, 1), 1), ((3, 2, 100_000), 0)]
)
def test_panel_of_the_least_and_of_a_great_width_is_shared(tmp_path, folder, shape, n_macro):
    features = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    panel = write_panel(tmp_path, features, macro=np.ones((shape[0], n_macro), np.float32))
    with SharedDataManager(panel, folder) as manager, attach(manager.ref) as block:
        block.touch()
        np.testing.assert_array_equal(block.panel.features, features)
        assert block.panel.macro.shape == block.panel.macro_valid.shape == (shape[0], n_macro)
        assert block.panel.reference.shape == (shape[0], 0)


def test_two_owners_of_one_panel_have_a_block_each(panel, arrays, folder):
    with SharedDataManager(panel, folder) as one:
        with SharedDataManager(panel, folder) as other:
            assert one.ref.digest == other.ref.digest
            assert one.ref.segment != other.ref.segment
        with attach(one.ref) as block:
            np.testing.assert_array_equal(block.panel.features, arrays["features"])


def test_arrays_of_a_reader_cannot_be_made_writable(panel, arrays, folder):
    with SharedDataManager(panel, folder) as manager, attach(manager.ref) as block:
        for name in arrays:
            with pytest.raises(ValueError, match="WRITEABLE"):
                getattr(block.panel, name).flags.writeable = True


def overwrite(ref: BlockRef, offset: int | bytes, data: bytes) -> None:
    with file_of(ref).open("r+b") as file:
        file.seek(offset if isinstance(offset, int) else file.read().index(offset))
        file.write(data)


@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (0, b"NOTOURS\n", "wrong magic"),
        (8, b"\x63", "wrong version, expected 1, received 99"),
        (12, b"\x00", "wrong state .1 = completely written., expected 1, received 0"),
        (16, b"\x01", "wrong segment size"),
        (24, b"\x01\x02", "wrong payload size"),
        (32, b"\xff\xff", "wrong layout size"),
        (32, b"\x07\x00", "wrong layout"),
        (40, b"\x00\x00\x00\x00", "wrong digest"),
        (72, b"\x00\x00\x00\x00", "wrong layout"),
        (110, b"?", "wrong layout"),
        (b"cccc", b"dddd", "wrong layout"),
    ],
)
def test_header_that_was_changed_is_refused_by_name(panel, offset, data, message, folder):
    with SharedDataManager(panel, folder) as manager:
        overwrite(manager.ref, offset, data)
        with pytest.raises(BlockError, match=message):
            attach(manager.ref)


@pytest.mark.parametrize(
    ("size", "message"), [(0, "cannot map"), (50, "wrong size"), (9000, "wrong segment size")]
)
def test_truncated_segment_is_refused(panel, size, message, folder):
    with SharedDataManager(panel, folder) as manager:
        os.truncate(file_of(manager.ref), size)
        with pytest.raises(BlockError, match=message):
            attach(manager.ref)


def test_ref_to_other_data_is_refused(panel):
    with SharedDataManager(panel) as manager:
        with pytest.raises(BlockError, match="wrong digest"):
            attach(manager.ref.model_copy(update={"digest": "0" * 64}))
        with pytest.raises(BlockError, match="wrong payload size"):
            attach(manager.ref.model_copy(update={"size": 17}))
    with pytest.raises(ValidationError):
        BlockRef(segment="../etc/passwd", size=1, digest="0" * 64)


def test_corrupt_panel_file_is_refused_and_nothing_is_left(panel, tmp_path, folder):
    data = bytearray(Path(panel.path).read_bytes())
    data[len(data) // 2] ^= 1
    corrupt = tmp_path / "corrupt.arrow"
    corrupt.write_bytes(data)

    with pytest.raises(BlockError, match=f"expected digest {panel.digest}"):
        SharedDataManager(panel.model_copy(update={"path": str(corrupt)}), folder).publish()


def test_panel_of_another_catalog_than_its_ref_says_is_refused(panel):
    with pytest.raises(BlockError, match=r"features of another catalog: expected d+, received c+"):
        SharedDataManager(panel.model_copy(update={"catalog_digest": "d" * 64})).publish()


@pytest.mark.parametrize("content", [None, b"", b"not a panel" * 1000])
def test_file_that_is_no_panel_is_refused(panel, tmp_path, content):
    path = tmp_path / "panel.arrow"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(PloutosError):
        SharedDataManager(panel.model_copy(update={"path": str(path)})).publish()


def fail_inside(manager: SharedDataManager) -> None:
    with manager:
        assert file_of(manager.ref).exists()
        raise RuntimeError("the work failed")


def test_block_is_removed_when_the_work_inside_fails(panel, folder):
    manager = SharedDataManager(panel, folder)
    with pytest.raises(RuntimeError, match="the work failed"):
        fail_inside(manager)
    with pytest.raises(BlockError, match="not published"):
        _ = manager.ref


def test_publishing_twice_gives_one_block_and_releasing_twice_is_harmless(panel):
    manager = SharedDataManager(panel)
    with pytest.raises(BlockError, match="not published"):
        _ = manager.ref
    assert manager.publish() == manager.publish()
    ref = manager.ref
    block = attach(ref)
    manager.release()
    manager.release()
    with pytest.raises(BlockError, match=f"cannot open segment {ref.segment}: .*Its owner has"):
        attach(ref)
    assert block.panel.n_rows == panel.n_rows
    block.close()
    with pytest.raises(BlockError, match="closed"):
        _ = block.panel


def test_block_is_put_where_its_owner_wants_it(panel, tmp_path):
    with SharedDataManager(panel, tmp_path / "deep" / "blocks") as manager:
        assert file_of(manager.ref).parent == tmp_path / "deep" / "blocks"
        assert file_of(manager.ref).stat().st_mode & 0o777 == 0o600
    with SharedDataManager(panel) as manager:
        assert file_of(manager.ref).parent == Path("/dev/shm")


def test_folder_that_cannot_be_created_is_an_error(panel, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BlockError, match="cannot create the folder of the block"):
        SharedDataManager(panel, tmp_path / "file" / "blocks").publish()


def test_space_is_checked_with_both_numbers_in_the_message(tmp_path):
    free = free_bytes(tmp_path)
    check_space(free // 2, tmp_path)
    with pytest.raises(SpaceError, match=rf"expected at least {2**62} .* received \d+"):
        check_space(2**62, tmp_path)


def test_folder_without_a_file_system_has_no_free_space(tmp_path):
    assert free_bytes(tmp_path / "missing") == 0
    assert free_bytes() > 0


def test_files_that_are_not_segments_are_not_reaped(tmp_path):
    target = tmp_path / "kept"
    target.write_text("kept")
    link = segment_path(f"{own_prefix()}link")
    pipe = segment_path(f"{own_prefix()}pipe")
    link.symlink_to(target)
    os.mkfifo(pipe)
    try:
        assert {link.name, pipe.name}.isdisjoint(reap_dead_blocks())
        assert target.read_text() == "kept"
    finally:
        link.unlink()
        pipe.unlink()
