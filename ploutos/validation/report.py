"""The report of a run. In: rollouts, verdict, folds, lineage. Out: one HTML file and one JSON file.

Both hold the same figures. The HTML loads nothing from anywhere: Plotly's script is inside it. The
same input gives the same bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from plotly.offline import get_plotlyjs

from ploutos import store
from ploutos.errors import ValidationError
from ploutos.folds import Fold, Rows
from ploutos.validation import metrics, report_plots, report_text, statistics
from ploutos.validation.gate import Verdict
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE, IntArray, Rollout

HTML_NAME = "report.html"
JSON_NAME = "report.json"
TEMPLATE_NAME = "report.html.j2"


@dataclass(frozen=True, slots=True, eq=False)
class ReportInput:
    """Everything that the report shows.

    Attributes
    ----------
    run_id, title : str
    rollouts : Mapping[str, Rollout]
        "committee", the baselines, and one for each member, all over the same rows.
    verdict : Verdict
    folds : Sequence[Fold]
        The folds that were tested, in the rows of the panel.
    closed_at : (T,) int64
        Close of every row of the panel, nanoseconds since the epoch, UTC.
    symbols : Sequence[str]
        Names of the columns of the weights.
    lineage : Mapping[str, Any]
        JSON-able: digests, code version, configs. Shown as it is.
    periods_per_year : float
    risk_free_per_year : float
    training : Sequence[Mapping[str, Any]]
        One row for each trained policy; the keys of the first are the columns.
    scaling : Sequence[Mapping[str, Any]]
        One row for each feature, as `scaling_rows` gives them.
    baselines : Sequence[str]
        Which rollouts are baselines; all others but the committee are members.
    """

    run_id: str
    title: str
    rollouts: Mapping[str, Rollout]
    verdict: Verdict
    folds: Sequence[Fold]
    closed_at: IntArray
    symbols: Sequence[str]
    lineage: Mapping[str, Any]
    periods_per_year: float
    risk_free_per_year: float = 0.0
    training: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    scaling: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    baselines: Sequence[str] = (BUY_AND_HOLD, CASH)

    def __post_init__(self) -> None:
        missing = {COMMITTEE, BUY_AND_HOLD, *self.baselines} - set(self.rollouts)
        if missing:
            raise ValidationError(
                f"report of run {self.run_id}: expected rollouts of {sorted(missing)} too, "
                f"received {sorted(self.rollouts)}."
            )
        columns = self.rollouts[COMMITTEE].weights.shape[1]
        if columns != len(self.symbols):
            raise ValidationError(
                f"report of run {self.run_id}: expected one symbol for each of {columns} weights, "
                f"received {len(self.symbols)}."
            )


def write_report(report: ReportInput, target: Path) -> Path:
    """Write `report.html` and `report.json` into the folder `target`; return the HTML's path.

    Raises
    ------
    StoreError
        If the file system refuses.
    """
    figures = report_json(report)
    store.write_json(target / JSON_NAME, figures)
    path = target / HTML_NAME
    store.write_atomic(path, _render(report, figures).encode())
    return path.resolve()


def report_html(report: ReportInput) -> str:
    """Return the report as one self-contained HTML page."""
    return _render(report, report_json(report))


def report_json(report: ReportInput) -> dict[str, Any]:
    """Return every figure of the report as JSON-able values; what is not defined is null.

    Keys: run_id, title, symbols, periods_per_year, risk_free_per_year, first_at, last_at, verdict,
    figures (by rollout), folds, training, scaling, lineage, definitions, curves (closed_at,
    equity_usd).
    """
    committee = report.rollouts[COMMITTEE]
    days = report_plots.dates(committee.closed_at)
    names = _ordered_names(report)
    return _plain(
        {
            "run_id": report.run_id,
            "title": report.title,
            "symbols": list(report.symbols),
            "periods_per_year": report.periods_per_year,
            "risk_free_per_year": report.risk_free_per_year,
            "first_at": days[0],
            "last_at": days[-1],
            "verdict": report.verdict.model_dump(mode="json"),
            "figures": {name: _figures(report, name) for name in names},
            "folds": [_fold(report, fold) for fold in report.folds],
            "training": [dict(row) for row in report.training],
            "scaling": [dict(row) for row in report.scaling],
            "lineage": dict(report.lineage),
            "definitions": report_text.DEFINITIONS,
            "curves": {
                "closed_at": days,
                "equity_usd": {name: report.rollouts[name].equity_usd for name in names},
            },
        }
    )


def _ordered_names(report: ReportInput) -> list[str]:
    return [COMMITTEE, *report.baselines, *_members(report)]


def _members(report: ReportInput) -> dict[str, Rollout]:
    others = {COMMITTEE, *report.baselines}
    return {name: each for name, each in report.rollouts.items() if name not in others}


def _figures(report: ReportInput, name: str) -> dict[str, Any]:
    rollout = report.rollouts[name]
    risk_free = metrics.risk_free_per_bar(report.risk_free_per_year, report.periods_per_year)
    error = statistics.sharpe_standard_error(rollout.returns, risk_free)
    kind = "baseline" if name in report.baselines else "member"
    return {
        "kind": COMMITTEE if name == COMMITTEE else kind,
        **metrics.summarise(rollout, report.periods_per_year, report.risk_free_per_year),
        "sharpe_error": error * math.sqrt(report.periods_per_year),
    }


def _fold(report: ReportInput, fold: Fold) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in (COMMITTEE, BUY_AND_HOLD):
        part = metrics.fold_part(report.rollouts[name], fold.index)
        summary = metrics.summarise(part, report.periods_per_year, report.risk_free_per_year)
        figures[name] = {
            key: summary[key] for key in ("bars", "total_return", "sharpe", "max_drawdown")
        }
    return {
        "fold": fold.index,
        "train": _span(report, fold.train),
        "validation": _span(report, fold.validation),
        "test": _span(report, fold.test),
        "figures": figures,
    }


def _span(report: ReportInput, rows: Rows) -> dict[str, Any]:
    ends = report_plots.dates(report.closed_at[rows.start : rows.stop])
    return {
        "start": rows.start,
        "stop": rows.stop,
        "first_at": ends[0] if ends else None,
        "last_at": ends[-1] if ends else None,
    }


def _render(report: ReportInput, figures: dict[str, Any]) -> str:
    committee = report.rollouts[COMMITTEE]
    baselines = {name: report.rollouts[name] for name in report.baselines}
    plots = {
        "equity": report_plots.equity_plot(committee, _members(report), baselines),
        "drawdown": report_plots.drawdown_plot(committee, baselines),
        "positions": report_plots.positions_plot(committee, report.symbols),
        "costs": report_plots.costs_plot(committee, report.rollouts[BUY_AND_HOLD]),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(report_text.FILTERS)
    return environment.get_template(TEMPLATE_NAME).render(
        report=figures,
        committee=figures["figures"][COMMITTEE],
        yardstick=figures["figures"][BUY_AND_HOLD],
        yardstick_name=BUY_AND_HOLD,
        lineage=report_text.lineage_rows(figures["lineage"]),
        configs=report_text.lineage_blocks(figures["lineage"]),
        plots=plots,
        plotly_script=get_plotlyjs(),
    )


def _plain(value: Any) -> Any:
    """Return `value` as what JSON knows: NaN and infinity become null, arrays become lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return json.loads(json.dumps(value, default=str))
