"""The server behind `python -m flows.pipeline`: it answers, and it never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from flows.local_api import LocalApi, LocalApiError

START = """
import sys, time
from pathlib import Path
from flows.local_api import LocalApi
api = LocalApi(Path(sys.argv[1]))
print(api.url, flush=True)
time.sleep(60)
"""


def gone(processes: list[psutil.Process], within_s: float = 10) -> bool:
    """Tell whether all processes end in time."""
    _, alive = psutil.wait_procs(processes, within_s)
    return not alive


@pytest.fixture
def parent(tmp_path: Path):
    """Start a process that starts a server."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path / "prefect")],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("last_signal", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_with_its_parent(
    parent: subprocess.Popen[str], last_signal: signal.Signals
):
    assert parent.stdout is not None
    parent.stdout.readline()
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    os.kill(parent.pid, last_signal)
    assert gone(children)


def test_a_started_server_answers_until_it_is_stopped(tmp_path: Path):
    api = LocalApi(tmp_path / "prefect")
    try:
        api.wait()
        assert httpx.get(f"{api.url}/health", trust_env=False).json() is True
    finally:
        api.stop()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{api.url}/health", trust_env=False)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(tmp_path: Path):
    before = psutil.Process().children()
    api = LocalApi(tmp_path / "prefect")
    try:
        [child] = set(psutil.Process().children()) - set(before)
        assert os.getsid(child.pid) != os.getsid(0)
    finally:
        api.stop()
    assert gone([child])


def test_a_server_that_cannot_start_is_reported_with_its_last_words(tmp_path: Path):
    home = tmp_path / "prefect"
    home.mkdir()
    (home / "prefect.db").write_text("this is not a database " * 100)
    api = LocalApi(home)
    began = time.monotonic()
    with pytest.raises(LocalApiError, match=r"(?s)ended with code .*file is not a database"):
        api.wait()
    assert time.monotonic() - began < 60
