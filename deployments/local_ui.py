"""A Prefect server, a worker and every deployment on this machine, until Ctrl-C (`make ui`).

In: the port and `$PLOUTOS_HOME`. Out: the Prefect UI at the printed address. The server and the
worker are child processes that end with this one, whatever ends it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import httpx
import psutil
import typer

from flows.bound_child import bound_command
from ploutos.errors import PloutosError
from ploutos.store import home

REPOSITORY = Path(__file__).parents[1]
POOL = "local"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 8.0


def main(
    port: Annotated[int, typer.Option(help="Port of the server on 127.0.0.1.")] = 4200,
) -> None:
    """Start the server and the worker, deploy every flow, wait for Ctrl-C."""
    signal.signal(signal.SIGTERM, _end)
    api_url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_API_URL": api_url, "PLOUTOS_HOME": str(home())}
    logs = home() / "prefect"
    logs.mkdir(parents=True, exist_ok=True)
    try:
        server = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with _child("server", server, environment, logs) as serving:
            _wait_for(api_url, serving, logs / "server.log")
            _deploy(environment)
            worker = ["worker", "start", "--pool", POOL, "--type", "process"]
            options = ["--name", "local", "--install-policy", "never"]
            with _child("worker", [*worker, *options], environment, logs) as working:
                print(f"\nThe Prefect UI: http://127.0.0.1:{port}\nLogs: {logs}\nCtrl-C stops it.")
                _watch({"server": serving, "worker": working}, logs)
    except KeyboardInterrupt:
        print("\nstopped")
    except (PloutosError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@contextmanager
def _child(
    name: str, arguments: list[str], environment: dict[str, str], logs: Path
) -> Iterator[subprocess.Popen[bytes]]:
    command = bound_command([sys.executable, "-m", "prefect", "--no-prompt", *arguments])
    with (logs / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command line, no shell
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _stop(process.pid)
            process.wait()


def _stop(pid: int) -> None:
    """End a process and everything it started: a stopped worker forgets the runs it began."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        for member in family:
            if member.is_running():
                member.send_signal(signal_number)
        _, family = psutil.wait_procs(family, STOP_TIMEOUT_S)


def _wait_for(api_url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    print("Starting the Prefect server ...")
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if server.poll() is not None or time.monotonic() > deadline:
            raise PloutosError(
                f"the Prefect server did not start at {api_url}. Is the port in use? "
                f'Another one: make ui ARGS="--port 4300". Its log: {log}'
            )
        try:
            if httpx.get(f"{api_url}/health", trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.2)


def _deploy(environment: dict[str, str]) -> None:
    print("Deploying every flow ...")
    for arguments in (
        ["work-pool", "create", POOL, "--type", "process", "--overwrite"],
        ["deploy", "--all"],
    ):
        done = subprocess.run(  # noqa: S603 - our own command line, no shell
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            words = f"{done.stdout}\n{done.stderr}"
            raise PloutosError(f"`prefect {' '.join(arguments)}` failed:\n{words}")


def _watch(processes: dict[str, subprocess.Popen[bytes]], logs: Path) -> NoReturn:
    while True:
        for name, process in processes.items():
            code = process.poll()
            if code is not None:
                raise PloutosError(f"the {name} ended with code {code}; its log: {logs / name}.log")
        time.sleep(0.5)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(main)
