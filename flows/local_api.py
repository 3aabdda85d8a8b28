"""A Prefect API for one command. In: the Prefect home. Out: the address of a server process.

Prefect's own temporary server shares the terminal's process group, so Ctrl-C stops it before the
run could report its end, and it outlives a killed parent. This one stands in a session of its
own and is ended by the kernel together with the process that started it.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from flows.bound_child import bound_command
from ploutos.errors import PloutosError

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0


class LocalApiError(PloutosError):
    """The local Prefect server did not start."""


class LocalApi:
    """A server process that lives at most as long as this one."""

    def __init__(self, prefect_home: Path) -> None:
        prefect_home.mkdir(parents=True, exist_ok=True)
        self.log = prefect_home / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as listener, self.log.open("wb") as log:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            self._process = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                _command(listener.fileno()),
                env=_server_environment(prefect_home),
                pass_fds=(listener.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Registered before Prefect is imported, so run after Prefect has sent its last logs.
        atexit.register(self.stop)

    def wait(self) -> None:
        """Return when the server answers.

        Raises
        ------
        LocalApiError
            If it ends or does not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                state = "did not answer" if code is None else f"ended with code {code}"
                raise LocalApiError(
                    f"the local Prefect server {state}. Its last words are in {self.log}:\n"
                    f"{_last_lines(self.log)}"
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the server; harmless when it has ended already."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _answers(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/health", timeout=5.0, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK


def _command(descriptor: int) -> list[str]:
    server = "prefect.server.api.server:create_app"
    uvicorn = ["-m", "uvicorn", "--factory", server, "--fd", str(descriptor)]
    options = ["--log-level", "error", "--lifespan", "on", "--timeout-graceful-shutdown", "2"]
    return bound_command([sys.executable, *uvicorn, *options])


def _server_environment(prefect_home: Path) -> dict[str, str]:
    environment = {
        **os.environ,
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    environment.pop("PREFECT_API_URL", None)
    return environment


def _last_lines(log: Path, count: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
