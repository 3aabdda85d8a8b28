"""The decorator of every compiled function. In: a pure function. Out: it, compiled and cached.

Numba notices a change of the file that a cached function stands in, but not of the functions it
calls: after an edit of the costs the cached transition would go on with the old ones. The cache
therefore lies in a folder named by the digest of all sources that hold compiled functions.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numba
from numba.core import config

from ploutos.store import digest_file, digest_json

# Folders of other versions of the code are removed when nobody has used them for a week.
UNUSED_AFTER_S = 7 * 86_400
# Compiled functions stand in these files and folders, and call none that stand elsewhere.
COMPILED_SOURCES = ("compiled.py", "env", "features/kernels", "portfolio")


def cache_folder(package: Path, digest: str) -> Path:
    """Return the folder of compiled code: beside the package, or the user's if that is read-only.

    `NUMBA_CACHE_DIR` overrides both, as with Numba itself.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        root = Path(chosen)
    elif os.access(package, os.W_OK):
        root = package / "__pycache__"
    else:
        user = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
        writable = os.access(Path(user).parent, os.W_OK)
        root = Path(user if writable else tempfile.gettempdir()) / "ploutos"
    return root / f"numba-{digest[:16]}"


def compiled_digest(package: Path) -> str:
    """Return a digest of every source file that holds compiled functions."""
    sources = [
        file
        for name in COMPILED_SOURCES
        for file in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
    ]
    return digest_json({str(file.relative_to(package)): digest_file(file) for file in sources})


def _use_cache() -> None:
    package = Path(__file__).parent
    folder = cache_folder(package, compiled_digest(package))
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.parent.glob("numba-*"):
            if time.time() - other.stat().st_mtime > UNUSED_AFTER_S:
                shutil.rmtree(other, ignore_errors=True)
    config.CACHE_DIR = str(folder)  # pyright: ignore[reportAttributeAccessIssue] - set at import


# Numba reads the setting when a function is decorated, so it has to stand before the first one.
_use_cache()

CACHED: Final[dict[str, Any]] = {"cache": True, "nogil": True}

compiled = numba.njit(**CACHED)
