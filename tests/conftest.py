"""What every test may rely on: a home folder of its own, and no Prefect settings of the user."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

_OWN_HOME = "PLOUTOS_TESTS_HOME"


def pytest_configure():
    """Point Ploutos and Prefect at a throw-away folder before anything is imported."""
    home = tempfile.mkdtemp(prefix="ploutos-tests-")
    os.environ[_OWN_HOME] = home
    os.environ["PLOUTOS_HOME"] = home
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"


def pytest_unconfigure():
    """Remove the throw-away folder."""
    shutil.rmtree(os.environ.pop(_OWN_HOME, ""), ignore_errors=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty home folder of its own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PLOUTOS_HOME", str(folder))
    return folder
