import json
import re
from dataclasses import replace

import numpy as np
import pytest

from ploutos.errors import ValidationError
from ploutos.validation.report import report_html, report_json, write_report
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE
from tests.validation.accounts import PERIODS, report_input


@pytest.fixture(scope="module")
def refused():
    return report_input(edge_per_year=0.0)


@pytest.fixture(scope="module")
def page(refused):
    return report_html(refused)


def without_plotly(page):
    return re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_loads_nothing_from_anywhere(page):
    assert "default-src 'none'" in page
    assert not re.search(
        r"<(script|img|iframe|link|source|object|embed)[^>]*\s(src|href|data)=", page
    )
    assert not re.search(r"https?://|@import|url\(", without_plotly(page))


def test_plotly_is_inside_the_page_once(page):
    assert len(re.findall(r"<script>/\*\*\s*\* plotly\.js v", page)) == 1


def test_the_same_input_gives_the_same_bytes(refused, page):
    assert report_html(report_input(edge_per_year=0.0)) == page
    assert report_html(refused) == page


def test_the_verdict_and_its_reasons_come_before_the_figures(refused, page):
    assert refused.verdict.verdict == "refused"
    verdict, first_plot = page.index('id="verdict"'), page.index('id="plot-equity"')
    assert verdict < page.index(refused.verdict.headline) < first_plot
    assert page.count("✗ failed") == len(refused.verdict.reasons)


def test_a_promoted_committee_is_shown_as_promoted():
    promoted = report_input(edge_per_year=0.8)
    assert 'class="verdict promoted"' in report_html(promoted)


def test_the_page_says_that_it_is_no_investment_advice(page):
    assert "not investment advice" in page


def test_every_rollout_and_every_check_is_on_the_page(refused, page):
    plain = page.replace("<wbr>", "")
    for name in refused.rollouts:
        assert f"<th>{name}</th>" in plain
    for check in refused.verdict.checks:
        assert check.name[1:] in plain


def test_json_figures_equal_a_calculation_from_the_equity(refused):
    figures = json.loads(json.dumps(report_json(refused), allow_nan=False))["figures"]
    equity = refused.rollouts[COMMITTEE].equity_usd
    returns = np.diff(equity) / equity[:-1]
    expected = returns.mean() / returns.std(ddof=1) * np.sqrt(PERIODS)
    assert figures[COMMITTEE]["kind"] == "committee"
    assert figures[COMMITTEE]["sharpe"] == pytest.approx(expected)
    assert figures[COMMITTEE]["total_return"] == pytest.approx(equity[-1] / 1e5 - 1.0)
    assert figures[CASH]["kind"] == "baseline"
    assert figures["PPO/seed0"]["kind"] == "member"


def test_what_is_not_defined_is_null(refused):
    figures = report_json(refused)["figures"]
    assert figures[CASH]["sharpe"] is None
    assert figures[CASH]["sharpe_error"] is None


def test_folds_multiply_to_the_whole_and_carry_their_dates(refused):
    written = report_json(refused)
    grown = [1.0 + fold["figures"][COMMITTEE]["total_return"] for fold in written["folds"]]
    total = written["figures"][COMMITTEE]["total_return"]
    assert np.prod(grown) == pytest.approx(1.0 + total)
    assert written["folds"][0]["test"]["first_at"] == written["first_at"]
    assert written["folds"][-1]["test"]["last_at"] == written["last_at"]
    bars = sum(fold["figures"][COMMITTEE]["bars"] for fold in written["folds"])
    assert bars == written["figures"][COMMITTEE]["bars"]


def test_curves_in_the_json_are_the_equity(refused):
    curves = report_json(refused)["curves"]
    assert len(curves["closed_at"]) == len(curves["equity_usd"][BUY_AND_HOLD])
    expected = refused.rollouts[BUY_AND_HOLD].equity_usd
    np.testing.assert_array_equal(curves["equity_usd"][BUY_AND_HOLD], expected)


def test_both_files_are_written_and_nothing_else(refused, page, tmp_path):
    path = write_report(refused, tmp_path)
    assert path.is_absolute()
    assert path.read_text(encoding="utf-8") == page
    assert json.loads((tmp_path / "report.json").read_text()) == report_json(refused)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_names_from_outside_are_escaped(refused):
    hostile = replace(refused, title="<script>alert(1)</script>", lineage={"a": "<img src=x>"})
    page = report_html(hostile)
    assert "<script>alert(1)" not in page
    assert "<img src=x>" not in page


def test_a_report_without_training_rows_has_no_training_table(refused):
    assert "<h2>Training</h2>" in report_html(refused)
    assert "<h2>Training</h2>" not in report_html(replace(refused, training=()))


def test_the_most_clipped_features_stand_on_the_page_and_the_others_behind_a_fold(refused, page):
    table = page[page.index("<h2>Scaled features at the clip</h2>") :]
    assert "<th>f1</th><td>0.40\u202f%</td><td>\u2013</td>" in table
    assert table.index("<th>f8</th>") < table.index("The other 3 features")
    assert table.index("The other 3 features") < table.index("<th>f9</th>")
    assert report_json(refused)["scaling"][0] == {"feature": "f1", "train": 0.004, "test": None}
    assert "Scaled features" not in report_html(replace(refused, scaling=()))


def test_a_missing_rollout_is_refused(refused):
    rollouts = {name: each for name, each in refused.rollouts.items() if name != CASH}
    with pytest.raises(ValidationError, match=r"expected rollouts of \['cash'\] too"):
        replace(refused, rollouts=rollouts)


def test_symbols_that_do_not_fit_the_weights_are_refused(refused):
    with pytest.raises(ValidationError, match="one symbol for each of 2 weights, received 1"):
        replace(refused, symbols=("AAA",))
