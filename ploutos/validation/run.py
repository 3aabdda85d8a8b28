"""The validation of a run. In: a run id. Out: report, verdict, and the part of the summary."""

import math
from collections.abc import Callable
from typing import Any

from pydantic import Field

from ploutos.agent.train import RunSpec, load_run
from ploutos.calendar import sessions_per_year
from ploutos.config import FrozenConfig
from ploutos.env.market import market_of
from ploutos.panel import Panel, load_panel
from ploutos.runs import read_part, record_part, run_folder
from ploutos.store import code_digest
from ploutos.validation.config import ValidationConfig
from ploutos.validation.gate import Verdict, judge
from ploutos.validation.metrics import summarise
from ploutos.validation.report import ReportInput, write_report
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE, Rollout
from ploutos.validation.scaling import most_clipped, scaling_rows
from ploutos.validation.stitch import load_policies, roll_out_all, scalers_of

OnProgress = Callable[[float, str], None]
BASELINES = (BUY_AND_HOLD, CASH)


class Figures(FrozenConfig):
    """The three figures that are named first. Undefined (no volatility) is empty."""

    total_return: float = Field(description="Return over all test bars, a fraction.")
    sharpe: float | None = Field(description="Sharpe ratio per year.")
    max_drawdown: float = Field(description="Largest loss from a peak, a fraction.")


class Clipped(FrozenConfig):
    """The feature that the clip cuts most."""

    feature: str = Field(description="Its name; empty where no value is known.")
    share: float = Field(description="Share of its values at the clip in the worst fold.")


class ValidationSummary(Figures):
    """What a validation found."""

    run_id: str = Field(description="Run that was judged.")
    verdict: str = Field(description="promoted, refused or insufficient evidence.")
    reasons: tuple[str, ...] = Field(description="Why, in sentences.")
    baselines: dict[str, Figures] = Field(description="The same figures of each baseline.")
    most_clipped: dict[str, Clipped] = Field(
        description="The most clipped feature on the training rows (`train`) and on the test rows."
    )
    folds: int = Field(description="Number of walk-forward folds.")
    seeds: int = Field(description="Number of seeds.")
    report: str = Field(description="Absolute path of the HTML report.")


def validate_run(
    run_id: str, config: ValidationConfig, on_progress: OnProgress | None = None
) -> ValidationSummary:
    """Roll out a run's committee, members and baselines over all test rows, judge, and report.

    Nothing random but the bootstrap, whose seed is in the config: the same run gives the same
    report, byte for byte.

    Raises
    ------
    PolicyError
        If a policy is missing or damaged.
    """
    report = on_progress or (lambda _fraction, _message: None)
    run = load_run(run_id)
    panel = load_panel(run.panel)
    policies = load_policies(run, panel)
    steps = 1 + len(run.config.algos) * len(run.config.seeds)
    done: list[str] = []

    def count(message: str) -> None:
        done.append(message)
        report(len(done) / (steps + 1), message)

    rollouts = roll_out_all(run, panel, market_of(panel), policies, count)
    members = {
        name: rollout for name, rollout in rollouts.items() if name not in {COMMITTEE, *BASELINES}
    }
    verdict = judge(
        rollouts[COMMITTEE],
        members,
        {name: rollouts[name] for name in BASELINES},
        config,
        periods_per_year=sessions_per_year(panel.meta.exchange),
        n_trials=len(members),
    )
    scaling = scaling_rows(panel, run.folds, scalers_of(policies))
    shown = _report_input(run, panel, (rollouts, scaling), verdict, config)
    path = write_report(shown, run_folder(run_id))
    summary = _summary(run, shown, str(path))
    _record(summary)
    return summary


def _report_input(
    run: RunSpec,
    panel: Panel,
    found: tuple[dict[str, Rollout], list[dict[str, Any]]],
    verdict: Verdict,
    config: ValidationConfig,
) -> ReportInput:
    meta = panel.meta
    rollouts, scaling = found
    lineage: dict[str, Any] = {
        "run": run.run_id,
        "market snapshot": meta.snapshot,
        "panel": run.panel.digest,
        "feature catalog": meta.catalog_digest,
        "code": code_digest(),
        "missing series": list(meta.missing_series),
        "survivorship": meta.survivor_bias,
        "training config": run.config.model_dump(mode="json"),
        "validation config": config.model_dump(mode="json"),
    }
    return ReportInput(
        run_id=run.run_id,
        title=f"{meta.name}: {', '.join(meta.symbols)}",
        rollouts=rollouts,
        verdict=verdict,
        folds=run.folds,
        closed_at=panel.closed_at,
        symbols=meta.symbols,
        lineage=lineage,
        periods_per_year=sessions_per_year(meta.exchange),
        risk_free_per_year=config.risk_free_per_year,
        training=_training_rows(run.run_id),
        scaling=scaling,
        baselines=BASELINES,
    )


def _training_rows(run_id: str) -> list[dict[str, Any]]:
    """Return what was trained, without the speed: a report does not depend on the machine's."""
    rows = read_part(run_id, "training")
    return [{key: row[key] for key in ("algo", "fold", "seed", "timesteps")} for row in rows]


def _figures_of(shown: ReportInput, name: str) -> dict[str, float | None]:
    found = summarise(shown.rollouts[name], shown.periods_per_year, shown.risk_free_per_year)
    return {key: found[key] if math.isfinite(found[key]) else None for key in Figures.model_fields}


def _summary(run: RunSpec, shown: ReportInput, path: str) -> ValidationSummary:
    return ValidationSummary.model_validate(
        {
            **_figures_of(shown, COMMITTEE),
            "run_id": run.run_id,
            "verdict": shown.verdict.verdict,
            "reasons": shown.verdict.reasons,
            "baselines": {name: _figures_of(shown, name) for name in BASELINES},
            "most_clipped": {part: most_clipped(shown.scaling, part) for part in ("train", "test")},
            "folds": len(run.folds),
            "seeds": len(run.config.seeds),
            "report": path,
        }
    )


def _record(summary: ValidationSummary) -> None:
    """Record the part of the run's summary; `return` is its key there."""
    part = summary.model_dump(mode="json", exclude={"run_id", "report"})
    for figures in (part, *part["baselines"].values()):
        figures["return"] = figures.pop("total_return")
    record_part(summary.run_id, "validation", part)
