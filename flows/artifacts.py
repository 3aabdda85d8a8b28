"""What a run shows in the Prefect UI. In: small facts. Out: tables, a summary and a link."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact


def show_facts(key: str, facts: Mapping[str, Any], description: str) -> None:
    """Show one fact a line: name, value."""
    rows = [{"what": name, "value": _text(value)} for name, value in facts.items()]
    create_table_artifact(table=rows, key=key, description=description)


def show_table(key: str, rows: Iterable[Mapping[str, Any]], description: str) -> None:
    """Show rows that all have the same columns."""
    table = [{name: _text(value) for name, value in row.items()} for row in rows]
    create_table_artifact(table=table, key=key, description=description)


def show_report(key: str, report: Path) -> None:
    """Link to a file on the machine that ran the flow."""
    description = f"The report lies on the machine that ran the flow: `{report}`"
    create_link_artifact(
        report.as_uri(), link_text="Open the report", key=key, description=description
    )


def show_summary(key: str, rows: Iterable[tuple[str, str]], description: str) -> None:
    """Show a run's summary as a page."""
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    create_markdown_artifact("\n".join(lines), key=key, description=description)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value)
