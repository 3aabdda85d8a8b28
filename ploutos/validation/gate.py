"""The verdict. In: rollouts of a committee, its members and the baselines. Out: one `Verdict`.

Every check names what was measured, how sure that is and what was asked for, and says it in a
sentence. A committee is promoted only if all checks pass; a sample that is too short to judge even
a good strategy is insufficient evidence; everything else is refused.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ploutos.config import FrozenConfig
from ploutos.errors import ValidationError
from ploutos.validation import metrics, statistics
from ploutos.validation.config import ValidationConfig
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, Rollout

Unit = Literal["bars", "log growth per year", "probability", "fraction"]
LONG_ENOUGH = ("test bars", "track record")


class Check(FrozenConfig):
    """One question that the gate asks."""

    name: str = Field(description="Short name of the check.")
    measured: float | None = Field(description="Measured value in `unit`; none if not defined.")
    interval: tuple[float, float] | None = Field(
        description="One-sided lower and upper confidence bounds in `unit`, if there are any."
    )
    threshold: float | None = Field(description="What was asked for, in `unit`.")
    unit: Unit = Field(description="Unit of measured, interval and threshold.")
    passed: bool = Field(description="Whether the check is satisfied.")
    sentence: str = Field(description="The result in plain words.")


class Verdict(FrozenConfig):
    """The answer of the gate."""

    verdict: Literal["promoted", "refused", "insufficient evidence"] = Field(
        description="The answer; only `promoted` may trade."
    )
    headline: str = Field(description="The verdict in one plain sentence.")
    reasons: tuple[str, ...] = Field(
        description="Sentences of the checks that failed; of all of them if none failed."
    )
    checks: tuple[Check, ...] = Field(description="All checks, in the order of asking.")
    n_trials: int = Field(description="Trials that the deflation counted.")


def judge(
    committee: Rollout,
    members: Mapping[str, Rollout],
    baselines: Mapping[str, Rollout],
    config: ValidationConfig,
    *,
    periods_per_year: float,
    n_trials: int,
) -> Verdict:
    """Judge a training procedure by what its committee earned out of sample.

    Parameters
    ----------
    committee : Rollout
        All policies acting as one, over the stitched test folds.
    members : Mapping[str, Rollout]
        One rollout for each algorithm and seed over the same rows.
    baselines : Mapping[str, Rollout]
        Holds at least "cash" and "equal-weight buy-and-hold", over the same rows and costs.
    config : ValidationConfig
    periods_per_year : float
        Bars per year, for everything annual.
    n_trials : int
        Trials that the deflation counts, >= 1.

    Raises
    ------
    ValidationError
        If a needed baseline or all members are missing, or rollouts do not cover the same rows.
    """
    _check_evidence(committee, members, baselines)
    risk_free = metrics.risk_free_per_bar(config.risk_free_per_year, periods_per_year)
    sample = statistics.shape_of(committee.returns, risk_free)
    ratios = [metrics.sharpe_per_period(each.returns, risk_free) for each in members.values()]
    checks = (
        _check_test_bars(committee, config),
        _check_track_record(sample, config, periods_per_year),
        _check_beats(committee, baselines[CASH], config, periods_per_year),
        _check_beats(committee, baselines[BUY_AND_HOLD], config, periods_per_year),
        _check_deflated_sharpe(sample, ratios, config, n_trials),
        _check_drawdown(committee, config),
        _check_members_agree(members, baselines[BUY_AND_HOLD], periods_per_year),
    )
    return _verdict(checks, n_trials)


def _verdict(checks: tuple[Check, ...], n_trials: int) -> Verdict:
    failed = tuple(check.sentence for check in checks if not check.passed)
    too_short = any(check.name in LONG_ENOUGH and not check.passed for check in checks)
    if too_short:
        return Verdict(
            verdict="insufficient evidence",
            headline="Insufficient evidence: the out-of-sample record is too short to judge.",
            reasons=failed,
            checks=checks,
            n_trials=n_trials,
        )
    if failed:
        return Verdict(
            verdict="refused",
            headline=f"Refused: {len(failed)} of {len(checks)} checks failed.",
            reasons=failed,
            checks=checks,
            n_trials=n_trials,
        )
    return Verdict(
        verdict="promoted",
        headline=f"Promoted: all {len(checks)} checks passed.",
        reasons=tuple(check.sentence for check in checks),
        checks=checks,
        n_trials=n_trials,
    )


def _check_test_bars(committee: Rollout, config: ValidationConfig) -> Check:
    n_bars, asked = committee.returns.size, config.minimum_test_bars
    passed = n_bars >= asked
    return Check(
        name="test bars",
        measured=n_bars,
        interval=None,
        threshold=asked,
        unit="bars",
        passed=passed,
        sentence=(
            f"There are {n_bars} out-of-sample bars; "
            f"{'enough' if passed else 'too few'}, as at least {asked} are asked for."
        ),
    )


def _check_track_record(
    sample: statistics.Shape, config: ValidationConfig, periods_per_year: float
) -> Check:
    root = math.sqrt(periods_per_year)
    # A ratio above the worthwhile one shows itself sooner; a lower one must not lengthen the wait.
    sharpe = max(config.worthwhile_sharpe / root, np.nan_to_num(sample.sharpe))
    asked = math.ceil(
        statistics.minimum_track_record_bars(sample, float(sharpe), config.confidence)
    )
    passed = sample.n_bars >= asked
    return Check(
        name="track record",
        measured=sample.n_bars,
        interval=None,
        threshold=asked,
        unit="bars",
        passed=passed,
        sentence=(
            f"The record of {sample.n_bars} bars is {'long enough' if passed else 'too short'} to "
            f"tell a yearly Sharpe ratio of {sharpe * root:.2f} from zero with "
            f"{config.confidence:.0%} confidence: that takes {asked} bars."
        ),
    )


def _check_beats(
    committee: Rollout, baseline: Rollout, config: ValidationConfig, periods_per_year: float
) -> Check:
    differences = statistics.excess_growth(committee.returns, baseline.returns) * periods_per_year
    interval = statistics.bootstrap_mean(
        differences, config.confidence, config.bootstrap_draws, np.random.default_rng(config.seed)
    )
    passed = interval.lower > config.minimum_excess
    defined = math.isfinite(interval.estimate)
    return Check(
        name=f"beats {baseline.name}",
        measured=interval.estimate if defined else None,
        interval=(interval.lower, interval.upper) if defined else None,
        threshold=config.minimum_excess,
        unit="log growth per year",
        passed=passed,
        sentence=_beats_sentence(baseline.name, interval, config, passed=passed),
    )


def _beats_sentence(
    baseline: str, interval: statistics.Interval, config: ValidationConfig, *, passed: bool
) -> str:
    if math.isnan(interval.estimate):
        return f"There are too few bars to compare the committee with {baseline}."
    word = "more" if interval.estimate >= 0 else "less"
    measured = (
        f"The committee grew {abs(interval.estimate):.1%} a year {word} than {baseline} "
        f"(between {interval.lower:+.1%} and {interval.upper:+.1%}"
        f" at {config.confidence:.0%} confidence for each bound)"
    )
    asked = "zero" if config.minimum_excess == 0 else f"{config.minimum_excess:+.1%}"
    if passed:
        return f"{measured}: the lower bound lies above {asked}."
    if interval.estimate <= config.minimum_excess:
        return f"{measured}: it did not beat {baseline} by what is asked for."
    return f"{measured}: luck is not ruled out, as the lower bound does not lie above {asked}."


def _check_deflated_sharpe(
    sample: statistics.Shape, ratios: Sequence[float], config: ValidationConfig, n_trials: int
) -> Check:
    defined = [ratio for ratio in ratios if math.isfinite(ratio)]
    spread = float(np.var(defined, ddof=1)) if len(defined) >= 2 else 0.0
    # Members trained on the same data resemble each other and understate how far the best of
    # n_trials independent ones would get by luck: 1 / R is the variance of a ratio without skill.
    variance = max(spread, 1.0 / max(sample.n_bars, 1))
    probability = statistics.deflated_sharpe(sample, variance, n_trials)
    asked = config.minimum_deflated_sharpe
    passed = probability >= asked
    if math.isnan(probability):
        sentence = "The Sharpe ratio is not defined: the committee's returns never varied."
    else:
        sentence = (
            f"The probability that the Sharpe ratio is more than the luckiest of this run's "
            f"{n_trials} trials without skill is {probability:.1%}; at least {asked:.1%} is asked "
            "for."
        )
    return Check(
        name="deflated Sharpe ratio",
        measured=None if math.isnan(probability) else probability,
        interval=None,
        threshold=asked,
        unit="probability",
        passed=passed,
        sentence=sentence,
    )


def _check_drawdown(committee: Rollout, config: ValidationConfig) -> Check:
    deepest = metrics.max_drawdown(committee.equity_usd)
    passed = deepest <= config.max_drawdown
    return Check(
        name="drawdown",
        measured=deepest if math.isfinite(deepest) else None,
        interval=None,
        threshold=config.max_drawdown,
        unit="fraction",
        passed=passed,
        sentence=(
            f"The deepest loss from a peak was {deepest:.1%}; "
            f"{'within' if passed else 'beyond'} the limit of {config.max_drawdown:.1%}."
        ),
    )


def _check_members_agree(
    members: Mapping[str, Rollout], baseline: Rollout, periods_per_year: float
) -> Check:
    growth = np.array(
        [
            statistics.excess_growth(member.returns, baseline.returns).mean() * periods_per_year
            for member in members.values()
        ]
    )
    middle = statistics.interquartile_mean(growth)
    ahead = int(np.count_nonzero(growth > 0))
    passed = middle > 0
    return Check(
        name="members agree",
        measured=middle,
        interval=None,
        threshold=0.0,
        unit="log growth per year",
        passed=passed,
        sentence=(
            f"{ahead} of {growth.size} members (each one algorithm with one seed) grew faster than "
            f"{baseline.name}; the middle half of them grew {abs(middle):.1%} a year "
            f"{'faster' if passed else 'slower'} on average."
        ),
    )


def _check_evidence(
    committee: Rollout, members: Mapping[str, Rollout], baselines: Mapping[str, Rollout]
) -> None:
    missing = {CASH, BUY_AND_HOLD} - set(baselines)
    if missing:
        raise ValidationError(
            f"expected the baselines {CASH!r} and {BUY_AND_HOLD!r}, received "
            f"{sorted(baselines)}; roll the missing ones out over the same rows."
        )
    if not members:
        raise ValidationError("expected at least one member, received none.")
    if committee.returns.size < 2:
        raise ValidationError(
            f"expected at least 2 out-of-sample bars, received {committee.returns.size}."
        )
    for name, rollout in (*members.items(), *baselines.items()):
        if not np.array_equal(rollout.closed_at, committee.closed_at):
            raise ValidationError(
                f"expected {name!r} over the same {committee.closed_at.size} closes as the "
                f"committee, received {rollout.closed_at.size} others; roll all out over the same "
                "rows."
            )
