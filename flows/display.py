"""The pipeline on a terminal. In: progress of the stages. Out: bars; plain lines without a tty."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from flows.progress import Listener, Progress
from flows.summary import summary_rows

LINE_INTERVAL_S = 5.0


@contextmanager
def showing(console: Console) -> Iterator[Listener]:
    """Give a listener that shows the progress on `console` until the block ends."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    columns = (
        TextColumn("{task.fields[stage]:<9}"),
        BarColumn(20),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Bars(*columns, console=console, refresh_per_second=4) as bars:
        yield _Bars(bars).show


class _Bars:
    """One bar for each stage."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, now: Progress) -> None:
        if now.stage not in self._tasks:
            self._tasks[now.stage] = self._bars.add_task(now.message, total=1.0, stage=now.stage)
        self._bars.update(self._tasks[now.stage], completed=now.fraction, description=now.message)


class _Lines:
    """A line at the start and the end of a stage, and one every few seconds between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._stage: str | None = None
        self._shown_at = 0.0

    def show(self, now: Progress) -> None:
        clock = time.monotonic()
        is_news = now.stage != self._stage or now.finished
        if not is_news and clock - self._shown_at < LINE_INTERVAL_S:
            return
        self._stage, self._shown_at = now.stage, clock
        line = f"{clock - self._began:6.0f} s  {now.stage:<9}{now.fraction:5.0%}  {now.message}"
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def show_summary(console: Console, summary: dict[str, Any]) -> None:
    """Print what a run left, as a small table, and where its report lies."""
    table = Table(title=f"Run {summary['run_id']}", show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in summary_rows(summary):
        table.add_row(name, value)
    console.print(table)
    console.print(f"Report: {summary['report']}", soft_wrap=True, markup=False, highlight=False)
