"""The command behind `python -m flows.pipeline`. In: options. Out: a run, a table, an exit code."""

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from flows.local_api import LocalApi
from ploutos import __version__
from ploutos.errors import PloutosError
from ploutos.store import home

FAILED = 1
BAD_CONFIG = 2
INTERRUPTED = 130
TERMINATED = 143
PLAIN_COLUMNS = 110


def main() -> NoReturn:
    """Run the command and end the process."""
    # Training starts processes; none of them may run this module again to become one.
    sys.modules["__main__"].__spec__ = None
    signal.signal(signal.SIGTERM, _end)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    app()
    sys.exit(0)


def run(
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file with the parts of the configuration that differ."),
    ] = None,
    *,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the configuration and stop.")
    ] = False,
) -> None:
    """Run the whole pipeline: data, features, training, validation, paper trading."""
    try:
        _run(config.read_text() if config else "{}", show_config=show_config)
    except ValidationError as error:
        _fail(_describe(error), BAD_CONFIG)
    except (PloutosError, OSError) as error:
        _fail(str(error), FAILED)
    except KeyboardInterrupt:
        _fail("stopped; the same command continues from what is done", INTERRUPTED)
    except Exception:  # noqa: BLE001 - the last frame of the program: show it and say so by the code
        traceback.print_exc()
        raise typer.Exit(FAILED) from None


def _run(config_text: str, *, show_config: bool) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_COLUMNS)
    api = None if show_config else _start_api(console)
    # Prefect reads its settings while it is imported, so this waits for the server's address. The
    # imports and the server's start take a few seconds each, side by side.
    from flows.foreground import configure, run_pipeline  # noqa: PLC0415

    config = configure(config_text)
    if show_config:
        print(config.model_dump_json(indent=2))
        return
    if api is not None:
        api.wait()
    run_pipeline(console, config)


def _start_api(console: Console) -> LocalApi | None:
    """Start a server for this command, unless the user names one."""
    console.print(f"Ploutos {__version__}, home {home()}", soft_wrap=True, highlight=False)
    if "PREFECT_API_URL" in os.environ or "PREFECT_PROFILE" in os.environ:
        return None
    console.print("Starting; the first start on a machine also creates Prefect's database.")
    api = LocalApi(Path(os.environ["PREFECT_HOME"]))
    os.environ["PREFECT_API_URL"] = api.url
    return api


def _describe(error: ValidationError) -> str:
    lines = [
        f"  {'.'.join(map(str, part['loc'])) or '(whole file)'}: {part['msg']}, "
        f"received {part['input']!r}"
        for part in error.errors()
    ]
    return "the configuration is refused:\n" + "\n".join(lines)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    print("stopped by SIGTERM; the same command continues from what is done", file=sys.stderr)
    sys.exit(TERMINATED)
