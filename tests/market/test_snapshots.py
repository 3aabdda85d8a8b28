import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ploutos.errors import SnapshotError, StoreError
from ploutos.market import MarketData, load_snapshot, save_snapshot
from ploutos.market.data import QUARANTINE_TYPES
from ploutos.market.schema import empty_bars
from tests.market.frames import bars, macro

WRITE_WITH_A_FILE_LIMIT = """
import resource
from ploutos.errors import StoreError
from ploutos.market import IngestConfig, fetch, save_snapshot

data = fetch(IngestConfig())
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_snapshot(data)
except StoreError as error:
    print("refused:", error)
"""


@pytest.fixture
def data() -> MarketData:
    return MarketData(
        name="hand-made",
        bars=bars(),
        macro=macro(),
        reference=empty_bars(),
        missing_series=("DXY", "TNX"),
        provenance={"price_basis": "as traded"},
    )


def saved(home: Path, data: MarketData) -> tuple[str, Path]:
    digest = save_snapshot(data)
    return digest, home / "snapshots" / digest


def test_a_snapshot_gives_back_what_was_saved(home: Path, data: MarketData):
    digest, folder = saved(home, data)
    loaded = load_snapshot(digest)
    assert loaded.bars.equals(data.bars)
    assert loaded.macro.equals(data.macro)
    assert loaded.reference.schema == data.reference.schema
    assert (loaded.name, loaded.exchange) == ("hand-made", "XNYS")
    assert loaded.missing_series == ("DXY", "TNX")
    assert loaded.provenance == data.provenance
    assert {file.name for file in folder.iterdir()} == {
        "bars.parquet",
        "macro.parquet",
        "reference.parquet",
        "quarantine.parquet",
        "manifest.json",
    }


def test_saving_again_returns_the_same_digest_and_leaves_the_files_alone(
    home: Path, data: MarketData
):
    digest, folder = saved(home, data)
    written = (folder / "bars.parquet").stat().st_mtime_ns
    assert save_snapshot(load_snapshot(digest)) == digest
    assert (folder / "bars.parquet").stat().st_mtime_ns == written
    assert [entry.name for entry in (home / "snapshots").iterdir()] == [digest]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"missing_series": ()},
        {"provenance": {}},
        {"exchange": "XNAS"},
        {"bars": bars(volume=[1000.0] * 5 + [1001.0])},
        {"macro": macro(value=[15.5, 15.4, 14.000000000000002])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_other_content_has_another_digest(home: Path, data: MarketData, change: dict):
    assert save_snapshot(replace(data, **change)) != save_snapshot(data)


def test_a_missing_value_and_nan_have_different_digests(home: Path, data: MarketData):
    row = {"symbol": "AAA", "stamp": "x", "reason": "y"}
    asides = [
        pl.DataFrame([row | {"close": close}], schema=QUARANTINE_TYPES)
        for close in (None, float("nan"))
    ]
    digests = [save_snapshot(replace(data, quarantine=aside)) for aside in asides]
    assert digests[0] != digests[1]
    for digest, aside in zip(digests, asides, strict=True):
        assert load_snapshot(digest).quarantine.equals(aside, null_equal=True)


def test_the_digest_is_that_of_the_values_not_of_how_polars_holds_them(
    home: Path, data: MarketData
):
    chunked = pl.concat([data.bars[:2], data.bars[2:]], rechunk=False)
    assert save_snapshot(replace(data, bars=chunked)) == save_snapshot(data)


@pytest.mark.parametrize(
    "name", ["bars.parquet", "macro.parquet", "reference.parquet", "quarantine.parquet"]
)
def test_a_flipped_bit_is_refused_and_the_file_named(home: Path, data: MarketData, name: str):
    digest, folder = saved(home, data)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(SnapshotError, match=name):
        load_snapshot(digest)
    with pytest.raises(SnapshotError, match=name):
        save_snapshot(data)


@pytest.mark.parametrize("name", ["bars.parquet", "manifest.json"])
def test_a_lost_file_is_refused_and_named(home: Path, data: MarketData, name: str):
    digest, folder = saved(home, data)
    (folder / name).unlink()
    with pytest.raises(SnapshotError, match=name):
        load_snapshot(digest)


def test_a_manifest_that_claims_other_content_is_refused(home: Path, data: MarketData):
    digest, folder = saved(home, data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["content"]["missing_series"] = []
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SnapshotError, match=r"manifest\.json"):
        load_snapshot(digest)


def test_a_swapped_file_with_an_adapted_manifest_is_refused(home: Path, data: MarketData):
    digest, folder = saved(home, data)
    _, other = saved(home, replace(data, bars=bars(volume=[7.0] * 6)))
    manifest = json.loads((folder / "manifest.json").read_text())
    foreign = json.loads((other / "manifest.json").read_text())
    manifest["files"]["bars.parquet"] = foreign["files"]["bars.parquet"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "bars.parquet").write_bytes((other / "bars.parquet").read_bytes())
    with pytest.raises(SnapshotError, match=r"bars\.parquet.*not those of the snapshot"):
        load_snapshot(digest)


@pytest.mark.parametrize("digest", ["", "../../etc", "0" * 63, "Z" * 64])
def test_what_is_no_digest_is_refused(home: Path, digest: str):
    with pytest.raises(SnapshotError, match="64 hexadecimal digits"):
        load_snapshot(digest)


def test_an_unknown_digest_is_refused(home: Path):
    with pytest.raises(SnapshotError, match="there is no snapshot"):
        load_snapshot("0" * 64)


def test_a_home_that_cannot_be_written_is_refused(
    tmp_path: Path, data: MarketData, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PLOUTOS_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(StoreError, match="PLOUTOS_HOME"):
        save_snapshot(data)


def test_a_disk_that_fills_up_leaves_no_half_snapshot(tmp_path: Path):
    # A file-size limit makes the kernel refuse the write, as a full disk does.
    done = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_A_FILE_LIMIT],
        env={**os.environ, "PLOUTOS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "refused: cannot write" in done.stdout, done.stderr
    assert list((tmp_path / "snapshots").iterdir()) == []
