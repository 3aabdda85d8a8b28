"""The console command `ploutos`. In: options. Out: tables on a terminal. Needs no Prefect."""

import json
import shutil
import sys
import webbrowser
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ploutos.errors import ConfigError, FeatureError, PloutosError
from ploutos.quota import usable_cores
from ploutos.store import home, read_json
from ploutos.threads import limit_threads

app = typer.Typer(
    help="Train, judge and paper-trade reinforcement-learning strategies, honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RunOption = Annotated[str, typer.Option(help="Run id; `latest` is the run that finished last.")]


def main() -> None:
    """Run the command; an error made by Ploutos is a sentence, not a traceback."""
    # Before a command imports a numeric library: it reads its number of threads then.
    limit_threads(usable_cores().amount)
    try:
        app()
    except PloutosError as error:
        _complain(error)
        sys.exit(1)


def _complain(error: PloutosError) -> None:
    console = Console(stderr=True)
    console.print("[bold red]error:[/]", escape(str(error)), highlight=False, soft_wrap=True)


def _width() -> int:
    """Return the columns of the terminal, within what is readable; 80 where there is none."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, 60), 100)


@app.command()
def plan(
    run: Annotated[
        str | None,
        typer.Option(help="Plan the members of this run for this machine: its id, or `latest`."),
    ] = None,
    members: Annotated[int, typer.Option(min=1, help="Without a run: members to train.")] = 12,
    block_mib: Annotated[
        float, typer.Option(min=0, help="Without a run: size of the block, in MiB.")
    ] = 8.0,
    rows: Annotated[int, typer.Option(min=1, help="Without a run: bars to train on.")] = 1500,
    symbols: Annotated[int, typer.Option(min=1, help="Without a run: symbols.")] = 10,
    row_values: Annotated[
        int, typer.Option(min=1, help="Without a run: values of one market row.")
    ] = 1000,
) -> None:
    """Print what this machine will be asked to do, with the reason beside every number."""
    from ploutos.agent.config import TrainConfig  # noqa: PLC0415 - keeps `--help` quick
    from ploutos.agent.hardware import detect_hardware, hardware_rows  # noqa: PLC0415
    from ploutos.agent.plan import plan as plan_for  # noqa: PLC0415
    from ploutos.agent.plan import plan_rows, warnings_of  # noqa: PLC0415
    from ploutos.agent.train import load_run  # noqa: PLC0415
    from ploutos.agent.workload import BlockShape, block_shape, jobs_of  # noqa: PLC0415
    from ploutos.panel import load_panel  # noqa: PLC0415

    if run is not None:
        spec = load_run(_run_folder(run).resolve().name)
        window_bars = spec.config.env.window_bars
        block = block_shape(load_panel(spec.panel), spec.panel.n_bytes, spec.folds, window_bars)
        jobs = jobs_of(spec.config, len(spec.folds))
    else:
        block = BlockShape(
            n_bytes=int(block_mib * 2**20), n_rows=rows, n_symbols=symbols, row_values=row_values
        )
        one_fold = jobs_of(TrainConfig(), 1)
        jobs = {
            algo: job.model_copy(update={"n_members": members}) for algo, job in one_fold.items()
        }
    hardware = detect_hardware()
    plans = {algo: plan_for(hardware, block, job) for algo, job in jobs.items()}
    _show("This machine", ("number", "value", "found in"), hardware_rows(hardware))
    for algo, planned in plans.items():
        _show(f"Plan for {algo}", ("number", "value", "why"), plan_rows(planned))
    for warning in warnings_of(hardware, block, plans):
        Console().print("[yellow]note:[/]", escape(warning), highlight=False)


class Layout(StrEnum):
    """How the catalog is printed."""

    TEXT = "text"
    MARKDOWN = "markdown"


@app.command()
def features(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    layout: Annotated[
        Layout, typer.Option("--format", help="`markdown` gives the page docs/features.md.")
    ] = Layout.TEXT,
) -> None:
    """Print the feature catalog: name, family, warm-up, unit, formula, source."""
    from ploutos.features import CATALOG, MACRO_CATALOG  # noqa: PLC0415 - keeps `--help` quick
    from ploutos.features.describe import catalog_page, catalog_text  # noqa: PLC0415

    families = list(dict.fromkeys(row.family for row in (*CATALOG, *MACRO_CATALOG)))
    if family is not None and family not in families:
        raise ConfigError(f"expected one of the families {families}, received {family!r}.")
    technical, macro = (
        [row for row in rows if family in (None, row.family)] for rows in (CATALOG, MACRO_CATALOG)
    )
    if layout is Layout.MARKDOWN:
        print(catalog_page(technical, macro), end="")
        return
    print(f"{len(technical)} technical and {len(macro)} macro features\n")
    print(catalog_text([*technical, *macro], _width()))


@app.command()
def leaks(
    reference: Annotated[
        str, typer.Argument(help="`module:attribute` or `file.py:attribute`; FEATURES by default.")
    ] = "ploutos.features.catalog:CATALOG",
    bars: Annotated[int, typer.Option(min=20, help="Bars of each of three symbols.")] = 300,
) -> None:
    """Check features for look-ahead and short warm-ups at every row; name what leaks, and where.

    The bars are synthetic. Exit code 0 where nothing leaks, 1 where a feature does, 2 where the
    features cannot be checked.
    """
    from ploutos.features.describe import leaks_text  # noqa: PLC0415 - see `features`
    from ploutos.features.leaks import find_leaks  # noqa: PLC0415
    from ploutos.features.own import load_features  # noqa: PLC0415
    from ploutos.features.trial_bars import trial_bars  # noqa: PLC0415

    console = Console(stderr=True)
    try:
        rows = load_features(reference)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"{len(rows)} features, {bars} bars", total=1.0)
            found = find_leaks(
                rows, trial_bars(bars), lambda done: progress.update(task, completed=done)
            )
    except FeatureError as error:
        _complain(error)
        sys.exit(2)
    leaking = len({leak.feature for leak in found})
    where = f"of {len(rows)} features at every one of {bars} bars of 3 symbols."
    if not found:
        print(f"Clean: {len(rows)} {where}")
        return
    print(f"Leaking: {leaking} {where}\n")
    print(leaks_text(found, _width()))
    sys.exit(1)


@app.command()
def summary(run: RunOption = "latest") -> None:
    """Print a run's `summary.json`."""
    print(json.dumps(read_json(_run_folder(run) / "summary.json"), indent=2, sort_keys=True))


@app.command()
def report(
    run: RunOption = "latest",
    *,
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Print where a run's HTML report lies, and its verdict."""
    folder = _run_folder(run)
    judged = read_json(folder / "report.json")["verdict"]
    console = Console()
    console.print(judged["headline"], highlight=False)
    for reason in judged["reasons"]:
        console.print(f"  - {reason}", highlight=False)
    path = (folder / "report.html").resolve()
    console.print(str(path), soft_wrap=True, highlight=False)
    if show:
        webbrowser.open(path.as_uri())


def _run_folder(run: str) -> Path:
    folder = home() / "runs" / run
    if not folder.is_dir():
        known = sorted(p.name for p in folder.parent.glob("*") if p.is_dir() and p.name != "latest")
        raise ConfigError(
            f"expected the id of a run under {folder.parent}, received {run!r}. "
            + (f"There are: {', '.join(known)}." if known else "Start one with `make run`.")
        )
    return folder


def _show(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
