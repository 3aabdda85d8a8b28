"""One real Prefect server with a worker for all tests of the flows, started as by `make ui`."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """A running Prefect server with its worker, the folder they write to, and their processes."""

    api_url: str
    home: Path
    process: psutil.Process

    def post(self, path: str, **body: object) -> httpx.Response:
        """Call the API."""
        return self._ask("POST", path, body)

    def get(self, path: str) -> httpx.Response:
        """Ask the API."""
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, body: object) -> httpx.Response:
        # SQLite may be busy, which the server says by 503: Prefect's own client repeats it too.
        url = f"{self.api_url}{path}"
        for _ in range(20):
            answer = httpx.request(method, url, json=body, timeout=120, trust_env=False)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)
        return answer

    def family(self) -> list[psutil.Process]:
        """List every process below `make ui`."""
        return self.process.children(recursive=True)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start what `make ui` starts, stop it by Ctrl-C, and see that nothing stays behind."""
    home = tmp_path_factory.mktemp("ui") / "home"
    port = free_port()
    hidden = ("PREFECT_", "PLOUTOS_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    output = home.with_name("output.log")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "deployments" / "local_ui.py"), "--port", str(port)],
            cwd=home.parent,
            env={**clean, "PLOUTOS_HOME": str(home), "PREFECT_WORKER_QUERY_SECONDS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    started = Server(f"http://127.0.0.1:{port}/api", home, psutil.Process(process.pid))
    try:
        wait_for_address(process, output)
        yield started
        family = started.family()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, output.read_text()
        assert [one for one in family if one.is_running()] == []
    finally:
        process.kill()


def wait_for_address(process: subprocess.Popen[bytes], output: Path) -> None:
    """Return when the address is printed; fail with the output otherwise."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if "The Prefect UI:" in output.read_text():
            return
        time.sleep(0.1)
    pytest.fail(f"`make ui` did not start:\n{output.read_text()}")
