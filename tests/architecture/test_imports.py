"""What an import may bring along, seen from outside in fresh interpreters."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "prefect":
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import ploutos
names = [m.name for m in pkgutil.walk_packages(ploutos.__path__, "ploutos.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""

LOADED = """
import importlib, json, sys
importlib.import_module({name!r})
print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


def run(code: str, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PLOUTOS_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def loaded_by(name: str, home: Path) -> set[str]:
    """List the top-level packages in memory after importing one module."""
    done = run(LOADED.format(name=name), home)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_library_imports_without_prefect(tmp_path: Path):
    done = run(IMPORT_EVERYTHING, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


def test_importing_the_library_prints_and_writes_nothing(tmp_path: Path):
    done = run(IMPORT_EVERYTHING.replace("print(len(names))", ""), tmp_path / "home")
    assert done.stdout == ""
    assert not (tmp_path / "home").exists()


def test_an_environment_worker_loads_no_learning_frame_or_settings_library(tmp_path: Path):
    heavy = {"torch", "stable_baselines3", "sb3_contrib", "pandas", "polars", "prefect", "yfinance"}
    heavy |= {"pyarrow", "pydantic_settings"}
    for name in ("ploutos.env", "ploutos.env.workers.__main__"):
        loaded = loaded_by(name, tmp_path)
        assert loaded.isdisjoint(heavy), sorted(loaded & heavy)


def test_reading_a_block_needs_no_frame_library(tmp_path: Path):
    loaded = loaded_by("ploutos.block", tmp_path)
    assert loaded.isdisjoint({"torch", "pandas", "polars", "prefect", "pyarrow", "numba"})
    assert "pydantic_settings" not in loaded


def test_the_command_starts_before_prefect_is_imported(tmp_path: Path):
    loaded = loaded_by("flows.command", tmp_path)
    assert loaded.isdisjoint({"prefect", "torch", "polars", "pandas"})


def test_the_import_rule_holds(tmp_path: Path):
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(program), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
