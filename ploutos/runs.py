"""What a run leaves. In: parts recorded by the stages. Out: `runs/<run_id>/summary.json`.

A run id is a digest of everything that determines the result, so the same command again finds the
same folder and continues from what is already there.
"""

import os
import uuid
from pathlib import Path
from typing import Any

from ploutos.errors import StoreError
from ploutos.store import code_digest, digest_json, folder, read_json, write_json

SUMMARY_KEYS = ("dataset", "features", "block", "plan", "training", "validation", "paper")


def run_id_of(panel_digest: str, config: dict[str, Any]) -> str:
    """Return the deterministic id (16 hexadecimal digits) of a run: data, configuration, code."""
    return digest_json({"panel": panel_digest, "config": config, "code": code_digest()})[:16]


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
