"""The defaults of a local run: what Prefect really reads, in fresh interpreters."""

import json
import os
import subprocess
import sys
from pathlib import Path

from flows.environment import default_environment, prepare_environment

READ_SETTINGS = """
import json
import flows
from prefect.settings import get_current_settings
from prefect._internal.analytics import is_telemetry_enabled
settings = get_current_settings()
print(json.dumps({
    "home": str(settings.home),
    "database": settings.server.database.connection_url.get_secret_value(),
    "analytics": settings.server.analytics_enabled,
    "telemetry": is_telemetry_enabled(),
    "serializer": settings.results.default_serializer,
    "persists": settings.results.persist_by_default,
}))
"""


def read_settings(folder: Path, **variables: str) -> dict[str, object]:
    """Ask a fresh interpreter, outside the repository, what Prefect's settings are."""
    hidden = ("PREFECT_", "PLOUTOS_", "DO_NOT_TRACK", "CI")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-c", READ_SETTINGS],
        cwd=folder,
        env={**clean, "HOME": str(folder / "user"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_prefect_is_silent_stays_at_home_and_keeps_no_pickles(tmp_path: Path):
    settings = read_settings(tmp_path)
    assert settings["home"] == str(tmp_path / ".ploutos" / "prefect")
    assert str(tmp_path / ".ploutos" / "prefect") in str(settings["database"])
    assert settings["analytics"] is False
    assert settings["telemetry"] is False
    assert not (tmp_path / "user" / ".prefect").exists()
    assert settings["serializer"] == "json"
    assert settings["persists"] is False


def test_prefect_home_follows_ploutos_home(tmp_path: Path):
    settings = read_settings(tmp_path, PLOUTOS_HOME=str(tmp_path / "elsewhere"))
    assert settings["home"] == str(tmp_path / "elsewhere" / "prefect")


def test_what_the_user_has_set_wins(tmp_path: Path):
    settings = read_settings(
        tmp_path, PREFECT_HOME=str(tmp_path / "mine"), PREFECT_SERVER_ANALYTICS_ENABLED="true"
    )
    assert settings["home"] == str(tmp_path / "mine")
    assert settings["analytics"] is True


def test_whoever_names_a_profile_keeps_the_home_it_lies_in():
    assert "PREFECT_HOME" not in default_environment({"PREFECT_PROFILE": "production"})


def test_an_unwritable_home_is_left_for_the_first_write_to_report(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    environment = {"PREFECT_HOME": str(file / "prefect")}
    prepare_environment(environment)
    assert environment["PREFECT_HOME"] == str(file / "prefect")
