"""Threads of the numeric libraries, set in one place. In: a number. Out: environment variables.

Each library starts as many threads as it counts CPUs, most of them without a look at a container's
quota, and reads its variable once, while it is imported. So a child gets its variables from whoever
starts it, and a program calls `limit_threads` before it imports any of the libraries.
"""

import logging
import os
import sys
from collections.abc import MutableMapping

from ploutos.quota import affinity_cpus

logger = logging.getLogger(__name__)

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",  # torch; pyarrow; NumExpr
    "MKL_NUM_THREADS",  # torch, where it is built with MKL; NumPy and SciPy from conda
    "OPENBLAS_NUM_THREADS",  # NumPy and SciPy from PyPI
    "NUMEXPR_MAX_THREADS",  # pandas, where NumExpr is installed; it refuses more by OMP_NUM_THREADS
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
LIBRARIES = ("numpy", "numba", "polars", "pyarrow", "torch")


def thread_variables(n_threads: int) -> dict[str, str]:
    """Return the environment variables with which every library starts at most `n_threads`."""
    return dict.fromkeys(THREAD_VARIABLES, str(n_threads))


def limit_threads(
    n_threads: int, environ: MutableMapping[str, str] | None = None
) -> tuple[str, ...]:
    """Let the libraries that this process imports from now on start at most `n_threads`.

    Children inherit it. What the user has set wins.

    Parameters
    ----------
    n_threads
        Cores that this process may use.
    environ
        Environment variables to set; default: those of this process.

    Returns
    -------
    tuple of str
        Libraries that are imported already, and keep the threads they have. If there are more CPUs
        than cores to use, a warning names them.
    """
    environ = os.environ if environ is None else environ
    late = tuple(name for name in LIBRARIES if name in sys.modules)
    new = {name: n for name, n in thread_variables(n_threads).items() if name not in environ}
    if "numba" in late:
        # It looks again whenever it compiles, and raises once its threads have started.
        new.pop("NUMBA_NUM_THREADS", None)
    environ.update(new)
    if late and new and n_threads < affinity_cpus():
        logger.warning(
            "expected to limit threads to %d before the import of %s, which may now start one for "
            "each of %d CPUs. Import them later, or set %s.",
            n_threads,
            ", ".join(late),
            affinity_cpus(),
            ", ".join(new),
        )
    return late
