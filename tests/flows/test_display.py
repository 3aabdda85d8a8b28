"""What a person sees while the pipeline runs, and after."""

import io
from typing import Any

import pytest
from rich.console import Console

from flows.display import show_summary, showing
from flows.progress import Progress
from flows.summary import summary_rows

SUMMARY: dict[str, Any] = {
    "run_id": "0123456789abcdef",
    "dataset": {
        "name": "tech-2004",
        "symbols": ["AAPL", "MSFT"],
        "rows": 2148,
        "first": "2004-08-19",
        "last": "2013-03-01",
        "digest": "00",
    },
    "features": {"technical": 94, "macro": 36, "names_digest": "00"},
    "block": {"bytes": 1_500_000, "segment": "ploutos-1"},
    "plan": {},
    "training": [{"timesteps": 100_000}, {"timesteps": 20_000}],
    "validation": {
        "return": 0.125,
        "sharpe": 0.5,
        "max_drawdown": 0.2,
        "baselines": {"cash": {"return": 0.0, "sharpe": None, "max_drawdown": 0.0}},
        "verdict": "refused",
        "reasons": ["It lost against cash.", "The record is short."],
    },
    "paper": {"sessions": 20, "orders": 12, "fills": 11, "equity": 99_500.5, "parity": "equal"},
    "report": "/somewhere/report.html",
}


def plain(width: int = 200) -> Console:
    """Make a console that is no terminal."""
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def text_of(console: Console) -> str:
    """Read what was printed."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_every_stage_has_a_line_at_its_start_and_at_its_end():
    console = plain()
    with showing(console) as listener:
        listener(Progress("ingest", 0.0, "fetching"))
        listener(Progress("ingest", 1.0, "8,592 bars", finished=True))
        listener(Progress("prepare", 0.0, "computing"))
    lines = [line.split()[2:] for line in text_of(console).splitlines()]
    assert lines == [
        ["ingest", "0%", "fetching"],
        ["ingest", "100%", "8,592", "bars"],
        ["prepare", "0%", "computing"],
    ]


def test_a_flood_of_progress_is_not_a_flood_of_lines():
    console = plain()
    with showing(console) as listener:
        for step in range(1000):
            listener(Progress("train", step / 1000, f"step {step}"))
    assert len(text_of(console).splitlines()) == 1


def test_brackets_in_a_message_are_shown_as_they_are():
    console = plain()
    with showing(console) as listener:
        listener(Progress("ingest", 0.0, "does not have ['NOPE'] [bold]"))
    assert "['NOPE'] [bold]" in text_of(console)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "tech-2004: AAPL, MSFT; 2,148 bars, 2004-08-19 to 2013-03-01"),
        ("features", "94 technical, 36 macro"),
        ("training", "2 policies, 120,000 steps"),
        ("out of sample", "return +12.5%, Sharpe 0.50, drawdown 20.0%"),
        ("cash", "return +0.0%, Sharpe -, drawdown 0.0%"),
        ("verdict", "refused"),
        ("paper", "20 sessions, 12 orders, 11 fills, equity 99,500.50 USD"),
    ],
)
def test_the_summary_says_what_the_file_says(name: str, value: str):
    assert dict(summary_rows(SUMMARY))[name] == value


def test_the_last_line_is_where_the_report_lies():
    console = plain()
    show_summary(console, SUMMARY)
    assert text_of(console).splitlines()[-1] == "Report: /somewhere/report.html"
    for reason in SUMMARY["validation"]["reasons"]:
        assert reason in text_of(console)
