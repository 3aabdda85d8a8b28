"""One real Prefect server for all tests of the flows, started as a user would start it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Server:
    """A running Prefect server and the environment of whoever talks to it."""

    api_url: str
    environment: dict[str, str]
    home: Path

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `prefect` command against this server, in the repository."""
        return subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    def post(self, path: str, **body: object) -> httpx.Response:
        """Call the API."""
        return httpx.post(f"{self.api_url}{path}", json=body, timeout=30, trust_env=False)

    def get(self, path: str) -> httpx.Response:
        """Ask the API."""
        return httpx.get(f"{self.api_url}{path}", timeout=30, trust_env=False)


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start `prefect server start` with a database of its own; stop it at the end."""
    home = tmp_path_factory.mktemp("ui") / "home"
    (home / "prefect").mkdir(parents=True)
    port = free_port()
    environment = {
        **os.environ,
        "PLOUTOS_HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
    }
    log = home / "prefect" / "server.log"
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        started = Server(environment["PREFECT_API_URL"], environment, home)
        wait_until_healthy(started, process, log)
        yield started
    finally:
        process.terminate()
        process.wait(20)


def wait_until_healthy(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers; fail with its log otherwise."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if server.get("/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the Prefect server did not start:\n{log.read_text()}")
