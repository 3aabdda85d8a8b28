"""Run the benchmarks. In: a prefix of figures' names, or nothing. Out: one JSON line per figure.

A benchmark is a module `bench_<name>.py` beside this file with a function `run()` that yields
one flat mapping per figure; the runner adds the benchmark's name and the machine.
"""

import importlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil


def main(prefix: str) -> int:
    """Run every benchmark with figures that begin with `prefix`; return the exit code."""
    names = [
        name for name in _names() if f"{name}.".startswith(prefix) or prefix.startswith(f"{name}.")
    ]
    if not names:
        known = ", ".join(_names()) or "there are none yet"
        print(f"no benchmark begins with {prefix!r}; known: {known}", file=sys.stderr)
        return int(bool(prefix))
    for name in names:
        for figure in _figures(name):
            if figure["name"].startswith(prefix):
                print(json.dumps(figure), flush=True)
    return 0


def _names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in _here().glob("bench_*.py"))


def _figures(name: str) -> Iterator[Mapping[str, Any]]:
    module = importlib.import_module(f"tests.benchmarks.bench_{name}")
    machine = {"cpus": psutil.cpu_count(), "machine": platform.machine()}
    began = time.monotonic()
    for figure in module.run():
        yield {"benchmark": name, **figure, **machine, "at_s": round(time.monotonic() - began, 3)}


def _here() -> Path:
    return Path(__file__).parent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
