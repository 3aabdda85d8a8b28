"""The decorator of every compiled function. In: a pure function. Out: it, compiled and cached.

Numba notices a change of the file that a cached function stands in, but not of the functions it
calls: after an edit of the costs the cached transition would go on with the old ones. The cache
therefore lies in a folder named by the digest of all our code.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import numba
from numba.core import config

from ploutos.store import code_digest

# Folders of other versions of the code are removed when nobody has used them for a week.
UNUSED_AFTER_S = 7 * 86_400


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


def _use_cache() -> None:
    folder = cache_folder(Path(__file__).parent, code_digest())
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.parent.glob("numba-*"):
            if time.time() - other.stat().st_mtime > UNUSED_AFTER_S:
                shutil.rmtree(other, ignore_errors=True)
    config.CACHE_DIR = str(folder)  # pyright: ignore[reportAttributeAccessIssue] - set at import


# Numba reads the setting when a function is decorated, so it has to stand before the first one.
_use_cache()

compiled = numba.njit(cache=True, nogil=True)
