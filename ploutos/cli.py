"""The console command `ploutos`. In: options. Out: tables on a terminal. Needs no Prefect."""

import json
import sys
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ploutos.errors import ConfigError, PloutosError
from ploutos.store import home, read_json

app = typer.Typer(
    help="Train, judge and paper-trade reinforcement-learning strategies, honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RunOption = Annotated[str, typer.Option(help="Run id; `latest` is the run that finished last.")]


def main() -> None:
    """Run the command; an error made by Ploutos is a sentence, not a traceback."""
    try:
        app()
    except PloutosError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False)
        sys.exit(1)


@app.command()
def plan(
    members: Annotated[int, typer.Option(min=1, help="Members to train.")] = 12,
    block_mib: Annotated[float, typer.Option(min=0, help="Size of the block, in MiB.")] = 8.0,
) -> None:
    """Print what this machine will be asked to do, with the reason beside every number."""
    from ploutos.agent.hardware import detect_hardware  # noqa: PLC0415 - keeps `--help` quick
    from ploutos.agent.plan import (  # noqa: PLC0415
        PPO_SIZES,
        RECURRENT_SIZES,
        plan_rows,
    )
    from ploutos.agent.plan import plan as plan_for  # noqa: PLC0415

    hardware = detect_hardware()
    _show(
        "This machine",
        ("number", "value", "found in"),
        [
            (name, str(getattr(hardware, name)), hardware.sources.get(name, ""))
            for name in type(hardware).model_fields
            if name != "sources"
        ],
    )
    for sizes in (PPO_SIZES, RECURRENT_SIZES):
        planned = plan_for(hardware, int(block_mib * 2**20), members, sizes)
        _show(f"Plan for {sizes.algo}", ("number", "value", "why"), list(plan_rows(planned)))


@app.command()
def features(
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
) -> None:
    """Print the feature catalog: name, family, warm-up, unit, formula, source."""
    from ploutos.features import CATALOG, MACRO_CATALOG  # noqa: PLC0415 - keeps `--help` quick

    rows = [*CATALOG, *MACRO_CATALOG]
    families = sorted({row.family for row in rows})
    if family is not None and family not in families:
        raise ConfigError(f"expected one of the families {families}, received {family!r}.")
    _show(
        f"{len(CATALOG)} technical and {len(MACRO_CATALOG)} macro features",
        ("name", "family", "warm-up, bars", "unit", "formula", "source"),
        [
            (row.name, row.family, str(row.warm_up_bars), row.unit, row.formula, row.source)
            for row in rows
            if family in (None, row.family)
        ],
    )


@app.command()
def leaks(
    reference: Annotated[
        str, typer.Argument(help="`module:attribute` or `file.py:attribute`; FEATURES by default.")
    ] = "ploutos.features.catalog:CATALOG",
    bars: Annotated[int, typer.Option(min=20, help="Bars of each of three symbols.")] = 300,
) -> None:
    """Check features for look-ahead and short warm-ups at every row; name what leaks, and where.

    The bars are synthetic. Exit code 1 where a feature leaks.
    """
    from ploutos.features.leaks import find_leaks, load_features  # noqa: PLC0415 - see `features`
    from ploutos.market.config import SyntheticSource  # noqa: PLC0415
    from ploutos.market.data import FetchTerms  # noqa: PLC0415
    from ploutos.market.synthetic import fetch_synthetic  # noqa: PLC0415

    rows = load_features(reference)
    source = SyntheticSource(symbols=("SYN1", "SYN2", "SYN3"), n_bars=bars)
    market = fetch_synthetic(source, FetchTerms("XNYS", datetime.now(UTC)))
    found = find_leaks(rows, market.bars)
    if not found:
        Console().print(f"{len(rows)} features, {bars} rows each: no value knows what came later.")
        return
    _show(
        "Leaks: the first of each feature and check",
        ("feature", "check", "symbol", "closed at", "bars known", "with all bars", "with these"),
        [
            (
                leak.feature,
                leak.check,
                leak.symbol,
                str(leak.closed_at),
                str(leak.bars_known),
                str(leak.expected),
                str(leak.received),
            )
            for leak in found
        ],
    )
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


def _show(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
