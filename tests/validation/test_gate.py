import numpy as np
import pytest

from ploutos.errors import ValidationError
from ploutos.validation.config import ValidationConfig
from ploutos.validation.gate import judge
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE
from tests.validation.accounts import PERIODS, account, evidence

CONFIG = ValidationConfig(bootstrap_draws=400)


def verdict_of(committee, members, baselines, config=CONFIG, n_trials=4):
    return judge(committee, members, baselines, config, periods_per_year=PERIODS, n_trials=n_trials)


def check_named(verdict, name):
    return next(check for check in verdict.checks if check.name == name)


@pytest.mark.parametrize("seed", range(20))
def test_a_strategy_without_an_edge_is_refused(seed):
    assert verdict_of(*evidence(seed, edge_per_year=0.0)).verdict == "refused"


@pytest.mark.parametrize("seed", range(5))
def test_a_strategy_that_clearly_wins_is_promoted(seed):
    # 60 % a year at 16 % volatility: a Sharpe ratio near 3.8 over five years.
    found = verdict_of(*evidence(seed, edge_per_year=0.6))
    assert found.verdict == "promoted"
    assert all(check.passed for check in found.checks)
    assert found.reasons == tuple(check.sentence for check in found.checks)


def test_a_short_record_is_insufficient_evidence_even_if_it_wins():
    found = verdict_of(*evidence(0, edge_per_year=1.5, n_bars=120))
    assert found.verdict == "insufficient evidence"
    assert found.reasons[0] == (
        "There are 120 out-of-sample bars; too few, as at least 252 are asked for."
    )


def test_a_record_below_the_minimum_track_record_is_insufficient_evidence():
    # One-sided 95 % and a Sharpe ratio of 1: 1.645 ** 2 years, about 682 bars for normal returns.
    found = verdict_of(*evidence(3, edge_per_year=-0.1, n_bars=600))
    assert found.verdict == "insufficient evidence"
    asked = check_named(found, "track record").threshold
    assert asked == pytest.approx(1.6449**2 * PERIODS, rel=0.03)


def test_a_losing_strategy_says_so_in_plain_words():
    committee, members, baselines = evidence(2, edge_per_year=-0.4)
    found = verdict_of(committee, members, baselines)
    assert found.verdict == "refused"
    check = check_named(found, "beats cash")
    measured = np.log1p(committee.returns).mean() * PERIODS
    assert check.measured == pytest.approx(measured)
    assert check.interval[0] < measured < check.interval[1]
    assert f"grew {-measured:.1%} a year less than cash" in check.sentence
    assert check.sentence in found.reasons


def test_an_edge_within_the_noise_is_called_luck():
    # Equal to the market but for 2 % a year with noise of its own: too little to be sure of.
    _, members, baselines = evidence(4, edge_per_year=0.6)
    market = baselines[BUY_AND_HOLD].returns
    noise = np.random.default_rng(1).normal(0, 0.01, market.size)
    returns = market + noise - noise.mean() + 0.02 / PERIODS
    found = verdict_of(account(COMMITTEE, returns), members, baselines)
    check = check_named(found, f"beats {BUY_AND_HOLD}")
    assert not check.passed
    assert check.sentence.endswith(
        "luck is not ruled out, as the lower bound does not lie above zero."
    )


def test_the_excess_that_is_asked_for_moves_the_threshold():
    parts = evidence(0, edge_per_year=0.6)
    demanding = ValidationConfig(bootstrap_draws=400, minimum_excess=0.9)
    found = verdict_of(*parts, config=demanding)
    assert found.verdict == "refused"
    assert not check_named(found, "beats cash").passed


def test_a_deep_drawdown_is_refused_however_large_the_gain():
    committee, members, baselines = evidence(0, edge_per_year=0.9)
    returns = committee.returns.copy()
    returns[600] = -0.4
    found = verdict_of(account(COMMITTEE, returns), members, baselines)
    check = check_named(found, "drawdown")
    assert not check.passed
    assert check.measured >= 0.4
    assert found.verdict == "refused"


def test_one_lucky_member_among_losers_does_not_count_as_agreement():
    committee, _, baselines = evidence(0, edge_per_year=0.6)
    n_bars = committee.returns.size
    losers = {f"PPO/seed{n}": account(f"PPO/seed{n}", np.full(n_bars, -1e-3)) for n in range(3)}
    found = verdict_of(committee, losers | {"PPO/seed3": committee}, baselines)
    check = check_named(found, "members agree")
    assert not check.passed
    assert check.sentence.startswith("1 of 4 members")
    assert found.verdict == "refused"


def test_more_trials_deflate_the_sharpe_ratio():
    parts = evidence(0, edge_per_year=0.15)
    measured = [
        check_named(verdict_of(*parts, n_trials=n), "deflated Sharpe ratio").measured
        for n in (1, 10, 1000)
    ]
    assert measured[0] > measured[1] > measured[2]


def test_a_committee_that_never_invests_is_refused():
    _, members, baselines = evidence(0, edge_per_year=0.0)
    idle = account(COMMITTEE, np.zeros(1260), weight=0.0)
    found = verdict_of(idle, members, baselines)
    assert found.verdict == "refused"
    assert check_named(found, "beats cash").interval == (0.0, 0.0)
    assert check_named(found, "deflated Sharpe ratio").measured is None
    assert "returns never varied" in " ".join(found.reasons)


def test_the_same_evidence_gets_the_same_verdict():
    parts = evidence(6, edge_per_year=0.3)
    assert verdict_of(*parts) == verdict_of(*parts)


def test_the_verdict_survives_json():
    found = verdict_of(*evidence(0, edge_per_year=0.0))
    assert type(found).model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("missing", [CASH, BUY_AND_HOLD])
def test_a_missing_baseline_is_refused(missing):
    committee, members, baselines = evidence(0, edge_per_year=0.0)
    del baselines[missing]
    with pytest.raises(ValidationError, match="expected the baselines 'cash' and"):
        verdict_of(committee, members, baselines)


def test_a_verdict_without_members_is_refused():
    committee, _, baselines = evidence(0, edge_per_year=0.0)
    with pytest.raises(ValidationError, match="at least one member"):
        verdict_of(committee, {}, baselines)


def test_a_baseline_over_other_rows_is_refused():
    committee, members, baselines = evidence(0, edge_per_year=0.0)
    baselines[CASH] = account(CASH, np.zeros(1260), start_ns=5)
    with pytest.raises(ValidationError, match="expected 'cash' over the same 1261 closes"):
        verdict_of(committee, members, baselines)
