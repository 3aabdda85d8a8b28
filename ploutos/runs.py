"""What a run leaves. In: parts recorded by the stages. Out: `runs/<run_id>/summary.json`.

A run id is a digest of everything that determines the result, so the same command again finds the
same folder and continues from what is already there.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ploutos.errors import StoreError
from ploutos.store import code_digest, digest_json, folder, read_json, write_json

COMPUTING_LIBRARIES = ("numba", "numpy", "polars", "sb3-contrib", "stable-baselines3", "torch")
SUMMARY_KEYS = ("dataset", "features", "block", "plan", "training", "validation", "paper")


def run_id_of(panel_digest: str, config: dict[str, Any]) -> str:
    """Return the deterministic id of a run, 16 hexadecimal digits.

    It covers the data, the configuration, our code and the releases of the libraries that compute.
    """
    libraries = {name: version(name) for name in COMPUTING_LIBRARIES}
    covered = {
        "panel": panel_digest,
        "config": config,
        "code": code_digest(),
        "libraries": libraries,
    }
    return digest_json(covered)[:16]


@contextmanager
def sole_trainer(run_id: str) -> Iterator[None]:
    """Hold the run for this process; the lock ends with the process, however it ends.

    Raises
    ------
    StoreError
        If another process is training the run.
    """
    with (run_folder(run_id) / "train.lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"run {run_id} is being trained by another process. Wait for it; the same command "
                "then finds its policies finished."
            ) from error
        yield


def run_folder(run_id: str) -> Path:
    """Return the folder of a run, created if missing."""
    return folder("runs", run_id)


def record_part(run_id: str, name: str, value: Any) -> None:
    """Record one stage's JSON-able result; recording it again replaces it atomically."""
    write_json(folder("runs", run_id, "parts") / f"{name}.json", value)


def read_part(run_id: str, name: str) -> Any:
    """Read what a stage recorded.

    Raises
    ------
    StoreError
        If that stage has not recorded anything for this run.
    """
    path = folder("runs", run_id, "parts") / f"{name}.json"
    if not path.is_file():
        raise StoreError(
            f"run {run_id} has no part {name!r} ({path}): that stage has not finished. "
            "Run the pipeline again; it continues from what is done."
        )
    return read_json(path)


def write_summary(run_id: str) -> Path:
    """Merge the recorded parts into `summary.json` and point `runs/latest` at the run.

    Returns
    -------
    Path
        The absolute path of the summary.
    """
    summary: dict[str, Any] = {"run_id": run_id}
    summary.update({key: read_part(run_id, key) for key in SUMMARY_KEYS})
    summary["report"] = str(run_folder(run_id) / "report.html")
    path = run_folder(run_id) / "summary.json"
    write_json(path, summary)
    _point_latest(path.parent)
    return path


def _point_latest(target: Path) -> None:
    link = target.parent / "latest"
    temporary = target.parent / f".latest.{uuid.uuid4().hex}.tmp"
    temporary.symlink_to(target.name, target_is_directory=True)
    os.replace(temporary, link)  # noqa: PTH105 - Path.replace would follow nothing, but reads as a file move
