"""The newest result of each stage. In: an id. Out: the id, for a flow that is run without one."""

from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from ploutos.config import FrozenConfig
from ploutos.errors import ConfigError
from ploutos.store import digest_json, folder, read_json, write_json


def remember(kind: str, value: Any) -> None:
    """Record `value` (JSON) as the newest of its kind."""
    write_json(_path_of(kind), value)


def newest(kind: str) -> Any | None:
    """Return the newest value of its kind, or None if there is none yet."""
    path = _path_of(kind)
    return read_json(path) if path.is_file() else None


def recall(kind: str, flow_name: str) -> Any:
    """Return the newest value of its kind.

    Raises
    ------
    ConfigError
        If there is none: `flow_name` is the flow that makes one.
    """
    value = newest(kind)
    if value is None:
        raise ConfigError(
            f"there is no {kind} yet ({_path_of(kind)} does not exist): run the flow "
            f"{flow_name!r} first, or name the {kind} in the parameters"
        )
    return value


def remember_in_run(config: FrozenConfig, value: str) -> None:
    """Record what this configuration gave inside the present top-level flow run."""
    write_json(folder("recent", "runs") / f"{_run_key(config)}.json", value)


def recall_in_run(config: FrozenConfig) -> str | None:
    """Return what this configuration gave in an earlier attempt of the same top-level flow run.

    A retried run continues with the data it began with, though the source may have moved on.
    """
    path = folder("recent", "runs") / f"{_run_key(config)}.json"
    return read_json(path) if path.is_file() else None


def _path_of(kind: str) -> Path:
    return folder("recent") / f"{kind}.json"


def _run_key(config: FrozenConfig) -> str:
    run = flow_run.get_root_flow_run_id()
    return digest_json({"run": str(run), "config": config.model_dump(mode="json")})
