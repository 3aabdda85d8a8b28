"""What the libraries really do with the limit, asked in fresh interpreters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ploutos.threads import THREAD_VARIABLES, limit_threads, thread_variables

ROOT = Path(__file__).parents[1]
ASK_EVERYONE = """
import json
import numpy, polars, numba, pyarrow, torch
from threadpoolctl import threadpool_info
pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
print(json.dumps({
    "openblas": pools["openblas"],
    "openmp": pools["openmp"],
    "numba": numba.config.NUMBA_NUM_THREADS,
    "polars": polars.thread_pool_size(),
    "pyarrow": pyarrow.cpu_count(),
    "torch": torch.get_num_threads(),
}))
"""


def run(code, tmp_path, **variables):
    clean = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**clean, "PLOUTOS_HOME": str(tmp_path / "home"), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def answers(code, tmp_path, **variables):
    done = run(code, tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_library_starts_as_many_threads_as_its_parent_says(tmp_path):
    asked = answers(ASK_EVERYONE, tmp_path, **thread_variables(1))
    assert asked == dict.fromkeys(asked, 1)


def test_every_library_that_is_imported_later_keeps_to_the_limit(tmp_path):
    limit = "from ploutos.threads import limit_threads\nassert limit_threads(1) == ()\n"
    asked = answers(limit + ASK_EVERYONE, tmp_path)
    assert asked == dict.fromkeys(asked, 1)


def test_what_the_user_has_set_wins(tmp_path):
    limit = "from ploutos.threads import limit_threads\nlimit_threads(1)\n"
    asked = answers(limit + ASK_EVERYONE, tmp_path, POLARS_MAX_THREADS="3")
    assert asked == {**dict.fromkeys(asked, 1), "polars": 3}


def test_libraries_that_came_first_are_named(tmp_path):
    code = "import numba; from ploutos.threads import limit_threads; print(limit_threads(1))"
    done = run(code, tmp_path)
    assert done.stdout == "('numpy', 'numba')\n"
    several = len(os.sched_getaffinity(0)) > 1
    assert ("before the import of numpy, numba" in done.stderr) == several


def test_numba_that_has_started_its_threads_goes_on_compiling(tmp_path):
    """It looks at its variable again, and would raise if that had changed meanwhile."""
    code = """
import numba
from ploutos.threads import limit_threads
@numba.njit(parallel=True)
def total(n):
    found = 0
    for i in numba.prange(n):
        found += i
    return found
assert total(10) == 45
limit_threads(numba.config.NUMBA_NUM_THREADS + 1)
@numba.njit
def other(n):
    return n + 1
print(other(1))
"""
    assert answers(code, tmp_path) == 2


def test_limit_where_nothing_is_limited_says_nothing(tmp_path):
    code = (
        f"import numpy; from ploutos.threads import limit_threads; limit_threads({os.cpu_count()})"
    )
    assert run(code, tmp_path).stderr == ""


def test_limit_itself_imports_no_numeric_library(tmp_path):
    code = """
import json, sys
import ploutos.threads, ploutos.quota, ploutos.cli
heavy = {"numpy", "numba", "polars", "pyarrow", "torch", "pandas", "scipy", "ploutos.agent"}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    assert answers(code, tmp_path) == []


@pytest.mark.parametrize(
    "program",
    [
        "import flows",
        "import sys; sys.argv[1:] = ['features', '--family', 'trend']\n"
        "from ploutos.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass",
    ],
)
def test_programs_limit_themselves_to_the_cores_they_may_use(tmp_path, program):
    code = f"{program}\nimport json, os; print(json.dumps(os.environ['POLARS_MAX_THREADS']))"
    cores = len(os.sched_getaffinity(0))
    # As a container is told: half the cores that the kernel would schedule on.
    half = max(1, cores // 2)
    assert answers(code, tmp_path, RUNPOD_CPU_COUNT=str(half)) == str(half)
    assert answers(code, tmp_path, POLARS_MAX_THREADS="7") == "7"


def test_children_inherit_the_limit_and_the_callers_environment_is_left_alone():
    environ = {"OMP_NUM_THREADS": "2"}
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    limit_threads(5, environ)
    assert environ["OMP_NUM_THREADS"] == "2"
    assert environ["OPENBLAS_NUM_THREADS"] == environ["POLARS_MAX_THREADS"] == "5"
    assert {name: os.environ.get(name) for name in THREAD_VARIABLES} == before
