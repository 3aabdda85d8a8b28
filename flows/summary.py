"""A run in a dozen lines. In: its `summary.json`. Out: rows for the terminal and the Prefect UI."""

from typing import Any


def summary_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of a summary that a person wants to read first."""
    dataset, features = summary["dataset"], summary["features"]
    training, judged, paper = summary["training"], summary["validation"], summary["paper"]
    steps = sum(member["timesteps"] for member in training)
    rows = [
        (
            "data",
            f"{dataset['name']}: {', '.join(dataset['symbols'])}; {dataset['rows']:,} bars, "
            f"{dataset['first']} to {dataset['last']}",
        ),
        ("features", f"{features['technical']} technical, {features['macro']} macro"),
        ("block", f"{summary['block']['bytes']:,} bytes of shared memory"),
        ("training", f"{len(training)} policies, {steps:,} steps"),
        ("out of sample", _figures(judged)),
        *((name, _figures(values)) for name, values in judged["baselines"].items()),
        ("verdict", judged["verdict"]),
        *(("", reason) for reason in judged["reasons"]),
        (
            "paper",
            f"{paper['sessions']} sessions, {paper['orders']} orders, {paper['fills']} fills, "
            f"equity {paper['equity']:,.2f} USD",
        ),
        ("parity", f"paper is {paper['parity']} to the environment's rollout, to the micro-unit"),
    ]
    return [(name, str(value)) for name, value in rows]


def _figures(values: dict[str, Any]) -> str:
    total = values["return"] if "return" in values else values["total_return"]
    sharpe = values["sharpe"]
    ratio = "-" if sharpe is None else f"{sharpe:.2f}"
    return f"return {total:+.1%}, Sharpe {ratio}, drawdown {values['max_drawdown']:.1%}"
