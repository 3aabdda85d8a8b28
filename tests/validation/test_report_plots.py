import json

import numpy as np
import pytest

from ploutos.validation import report_plots
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE
from tests.validation.accounts import account, evidence


@pytest.fixture(scope="module")
def parts():
    return evidence(0, edge_per_year=0.2, n_bars=60, fold=np.repeat([0, 1, 2], 20))


def test_equity_plot_shows_every_rollout_from_the_same_start(parts):
    committee, members, baselines = parts
    figure = json.loads(report_plots.equity_plot(committee, members, baselines))
    assert len(figure["data"]) == 1 + len(members) + len(baselines)
    assert {trace["y"][0] for trace in figure["data"]} == {100_000.0}
    drawn = next(trace for trace in figure["data"] if trace["name"] == COMMITTEE)
    np.testing.assert_allclose(drawn["y"], committee.equity_usd, atol=0.005)


def test_equity_plot_names_each_algorithm_once_and_offers_a_logarithmic_axis(parts):
    figure = json.loads(report_plots.equity_plot(*parts))
    named = [trace["name"] for trace in figure["data"] if trace.get("showlegend", True)]
    assert sorted(named) == sorted(
        ["PPO, each seed", "RecurrentPPO, each seed", COMMITTEE, BUY_AND_HOLD, CASH]
    )
    buttons = figure["layout"]["updatemenus"][0]["buttons"]
    assert [button["args"][0]["yaxis.type"] for button in buttons] == ["linear", "log"]


def test_a_line_marks_each_new_fold(parts):
    committee = parts[0]
    figure = json.loads(report_plots.drawdown_plot(committee, parts[2]))
    marked = [shape["x0"] for shape in figure["layout"]["shapes"]]
    assert marked == report_plots.dates(committee.closed_at[[20, 40]])


def test_drawdowns_are_drawn_downwards(parts):
    figure = json.loads(report_plots.drawdown_plot(parts[0], parts[2]))
    curve = 1.0 + parts[0].returns
    equity = np.concatenate(([1.0], np.cumprod(curve)))
    expected = equity / np.maximum.accumulate(equity) - 1.0
    np.testing.assert_allclose(figure["data"][0]["y"], expected, atol=1e-5)
    assert CASH not in [trace["name"] for trace in figure["data"]]


def test_positions_add_up_to_the_whole_equity_for_many_symbols():
    weights = np.random.default_rng(0).dirichlet(np.ones(13), 41)[:, :12]
    many = account(COMMITTEE, np.zeros(40), n_symbols=12)
    many.weights[:] = weights
    symbols = [f"S{number}" for number in range(12)]
    figure = json.loads(report_plots.positions_plot(many, symbols))
    names = [trace["name"] for trace in figure["data"]]
    assert names[-2:] == ["5 others", "cash"]
    total = np.sum([trace["y"] for trace in figure["data"]], axis=0)
    np.testing.assert_allclose(total, 1.0, atol=1e-3)


def test_short_positions_are_stacked_downwards_and_cash_is_a_line():
    mixed = account(COMMITTEE, np.zeros(3), n_symbols=2)
    mixed.weights[:] = [[0, 0], [0.5, -0.3], [0.5, -0.3], [0.4, 0.2]]
    figure = json.loads(report_plots.positions_plot(mixed, ["AAA", "BBB"]))
    shown = {trace["name"]: trace["y"] for trace in figure["data"]}
    assert shown == {
        "AAA": [0, 0.5, 0.5, 0.4],
        "BBB": [0, 0, 0, 0.2],
        "short BBB": [0, -0.3, -0.3, 0],
        "cash": [1, 0.8, 0.8, 0.4],
    }
    stacks = {trace["name"]: trace.get("stackgroup") for trace in figure["data"]}
    assert stacks["AAA"] == stacks["BBB"] != stacks["short BBB"]
    assert stacks["cash"] is None
    assert "range" not in figure["layout"]["yaxis"]


def test_costs_are_summed_up(parts):
    figure = json.loads(report_plots.costs_plot(parts[0], parts[2][BUY_AND_HOLD]))
    assert figure["data"][0]["y"][-1] == pytest.approx(60 * 1.5)
    assert figure["data"][1]["y"][-1] == pytest.approx(60 * 0.02)


def test_instants_are_shown_in_utc_to_the_minute():
    # 1,325,624,400 s after the epoch is 2012-01-03 21:00 UTC, a close of the New York exchange.
    assert report_plots.dates(np.array([1_325_624_400 * 10**9])) == ["2012-01-03T21:00"]


def test_a_name_cannot_end_the_script_that_holds_the_plot(parts):
    committee, members, _ = parts
    hostile = account("</script><b>", np.zeros(60))
    text = report_plots.equity_plot(committee, members, {"</script><b>": hostile})
    assert "<" not in text
    assert "</script><b>" in [trace["name"] for trace in json.loads(text)["data"]]
