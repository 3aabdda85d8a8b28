import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ploutos.errors import PanelError, StoreError
from ploutos.features import CATALOG, FeatureConfig
from ploutos.panel import (
    build_panel,
    load_panel,
    panel_from_buffer,
    panel_to_buffer,
    save_panel,
)
from tests.panel.markets import ARRAYS, T

CONFIG = FeatureConfig()
pytestmark = pytest.mark.usefixtures("home")


def test_the_file_gives_back_what_was_saved(data, panel, home):
    ref = build_panel(data, CONFIG, snapshot="ab" * 32)
    loaded = load_panel(ref)
    assert Path(ref.path) == home / "panels" / f"{ref.digest}.arrow"
    assert Path(ref.path).stat().st_size == ref.n_bytes
    assert (ref.n_rows, ref.n_symbols, ref.n_features) == (T, 3, len(CATALOG))
    assert loaded.meta == panel.meta.model_copy(update={"snapshot": "ab" * 32})
    assert set(loaded.meta.units) == {*loaded.meta.feature_names, *loaded.meta.macro_names}
    for name in ARRAYS:
        received, expected = getattr(loaded, name), getattr(panel, name)
        np.testing.assert_array_equal(received, expected)
        assert received.dtype == expected.dtype


def test_the_same_inputs_give_the_same_bytes(data):
    first = build_panel(data, CONFIG)
    changed_at = Path(first.path).stat().st_mtime_ns
    second = build_panel(replace(data, bars=data.bars.clone()), CONFIG)
    assert second == first
    assert Path(first.path).stat().st_mtime_ns == changed_at
    assert list(Path(first.path).parent.iterdir()) == [Path(first.path)]


def test_another_config_gives_another_digest(data):
    aged = build_panel(data, FeatureConfig(macro_max_age_days=1))
    assert aged.digest != build_panel(data, CONFIG).digest


def test_a_damaged_file_is_written_again(data):
    ref = build_panel(data, CONFIG)
    Path(ref.path).write_bytes(b"half a file")
    assert load_panel(build_panel(data, CONFIG)).n_rows == T


def test_views_share_the_buffers_memory_and_cannot_be_written(panel):
    data = bytearray(panel_to_buffer(panel))
    viewed = panel_from_buffer(memoryview(data))
    whole = np.frombuffer(data, np.uint8)
    for name in ARRAYS:
        array = getattr(viewed, name)
        assert np.shares_memory(array, whole), name
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_body_starts_on_a_multiple_of_64_bytes(panel):
    data = bytes(panel_to_buffer(panel))
    offset = (
        panel_from_buffer(data).features.ctypes.data - np.frombuffer(data, np.uint8).ctypes.data
    )
    assert offset % 64 == 0


def test_polars_and_pyarrow_read_the_file_as_it_is(panel):
    path = save_panel(panel).path
    frame = pl.read_ipc(path)
    assert frame["closed_at"].to_list() == panel.closed_at.tolist()
    features = frame["features"].to_numpy().reshape(panel.features.shape)
    np.testing.assert_array_equal(features, panel.features)
    table = pa.ipc.open_file(path).read_all()
    assert table.num_rows == T
    assert b"ploutos" in table.schema.metadata


def test_a_panel_may_be_small(small):
    viewed = panel_from_buffer(panel_to_buffer(small))
    assert viewed.features[4, 1].tolist() == [27.0, 28.0, 29.0]
    assert viewed.prices[0, 1].tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]


def test_one_flipped_bit_anywhere_is_refused_when_the_digest_is_known(small):
    ref = save_panel(small)
    data = Path(ref.path).read_bytes()
    for position in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(PanelError, match=f"expected bytes with digest {ref.digest}"):
            panel_from_buffer(bytes(damaged), ref.digest)


def test_a_truncated_file_is_refused_at_any_length(small):
    data = bytes(panel_to_buffer(small))
    for length in range(0, len(data), 61):
        with pytest.raises(PanelError, match="expected the bytes of a panel file"):
            panel_from_buffer(data[:length])


def test_a_damaged_file_on_disk_is_refused_by_name(data):
    ref = build_panel(data, CONFIG)
    with Path(ref.path).open("r+b") as file:
        file.seek(ref.n_bytes // 2)
        file.write(b"\x00\x01\x02\x03")
    with pytest.raises(PanelError, match=ref.path):
        load_panel(ref)


def test_a_missing_file_is_refused_by_name(small):
    ref = save_panel(small)
    shutil.rmtree(Path(ref.path).parent)
    with pytest.raises(StoreError, match=ref.path):
        load_panel(ref)


def write_ipc(batches, schema):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def batch_of(panel):
    return pa.ipc.open_file(panel_to_buffer(panel)).get_batch(0)


def _other_arrow_file(small):
    batch = pa.record_batch({"x": [1, 2, 3]})
    return write_ipc([batch], batch.schema)


def _without_prices(small):
    batch = batch_of(small).drop_columns(["prices"])
    return write_ipc([batch], batch.schema)


def _two_batches(small):
    batch = batch_of(small)
    return write_ipc([batch, batch], batch.schema)


def _narrow_features(small):
    meta = small.meta.model_copy(update={"feature_names": ("x", "y")})
    narrow = batch_of(replace(small, meta=meta, features=small.features[:, :, :2]))
    told_otherwise = narrow.replace_schema_metadata(batch_of(small).schema.metadata)
    return write_ipc([told_otherwise], told_otherwise.schema)


def _not_json(small):
    batch = batch_of(small).replace_schema_metadata({b"ploutos": b"{"})
    return write_ipc([batch], batch.schema)


@pytest.mark.parametrize(
    "make", [_other_arrow_file, _without_prices, _two_batches, _narrow_features, _not_json]
)
def test_an_arrow_file_that_is_no_panel_is_refused(small, make):
    with pytest.raises(PanelError, match="expected the bytes of a panel file"):
        panel_from_buffer(make(small))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("features", np.zeros((5, 2, 2), np.float32)),
        ("features", np.zeros((5, 2, 3))),
        ("valid", np.ones((4, 2), np.uint8)),
    ],
)
def test_an_array_of_another_shape_or_dtype_is_refused(small, name, array):
    with pytest.raises(PanelError, match=f"panel array '{name}'"):
        panel_to_buffer(replace(small, **{name: array}))


def test_reading_a_panels_types_loads_neither_polars_nor_pyarrow():
    code = (
        "import sys, ploutos.panel;"
        "print({'polars', 'pandas', 'pyarrow', 'torch'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    assert printed.strip() == "set()"
