"""The decorators of compiled functions. In: a pure function. Out: it, compiled and cached.

Numba notices a change of the file that a cached function stands in, but not of the functions it
calls: after an edit of the costs the cached transition would go on with the old ones. The cache
therefore lies in a folder named by the digest of all sources of the function's group.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config
from numba.core.compiler import Compiler

from ploutos.store import digest_file, digest_json

# Folders of other versions of the code are removed when nobody has used them for a week.
UNUSED_AFTER_S = 7 * 86_400
# Compiled functions stand in these files and folders, and call none outside of them: an edit of the
# environment must not make the features, which take half a minute, be compiled anew.
SOURCES = {
    "accounts": ("compiled.py", "env", "portfolio"),
    "features": ("compiled.py", "features/kernels"),
    "learner": ("compiled.py", "agent/fused", "agent/recurrent_cell.py"),
}

F = TypeVar("F", bound=Callable[..., Any])


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


def sources_digest(package: Path, group: str) -> str:
    """Return a digest of every source file that holds compiled functions of a group."""
    sources = [
        file
        for name in SOURCES[group]
        for file in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
    ]
    return digest_json({str(file.relative_to(package)): digest_file(file) for file in sources})


def _open_cache(group: str) -> Path:
    package = Path(__file__).parent
    folder = cache_folder(package, sources_digest(package, group))
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.parent.glob("numba-*"):
            if time.time() - other.stat().st_mtime > UNUSED_AFTER_S:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def compiler(group: str, **options: Any) -> Callable[[F], F]:
    """Return the decorator of one group's functions; they release the GIL while they run.

    Parameters
    ----------
    group : str
        A key of `SOURCES`.
    **options
        Further options of `numba.njit`.
    """
    folder = _open_cache(group)

    def compiled(function: F) -> F:
        # Numba asks where its cache is when a function is decorated.
        config.CACHE_DIR = str(folder)  # pyright: ignore[reportAttributeAccessIssue] - set at import
        # A dispatcher is called as the function is; to a type checker it is the function.
        return cast(F, numba.njit(cache=True, nogil=True, **options)(function))

    return compiled


class Apart(Compiler):
    """Numba's compiler, told that no two arrays given to a function share memory."""

    def define_pipelines(self) -> Any:
        """Return the pipelines, after noting it."""
        self.state.flags.noalias = True
        return super().define_pipelines()


# A division by zero gives infinity or NaN, as everywhere in NumPy: the check that Python's own rule
# needs would keep loops from being vectorised. Whoever divides looks at the divisor first. A call
# would cost as much as what these small functions do.
_OPTIONS = {"error_model": "numpy", "forceinline": True}
compiled = compiler("accounts", **_OPTIONS)
# For functions that only call others. Their text becomes a part of whoever calls them before it is
# compiled; else all that they call would be optimised once more at every level of calls.
composed = compiler("accounts", error_model="numpy", inline="always")
# For loops over many arrays, none of which may overlap one that is written: to find out at run time
# costs so much that such loops would not be vectorised at all.
compiled_apart = compiler("accounts", pipeline_class=Apart, **_OPTIONS)
