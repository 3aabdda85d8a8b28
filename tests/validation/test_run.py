import json
from pathlib import Path

import numpy as np
import pytest

from ploutos.agent import PPOConfig, RecurrentPPOConfig, TrainConfig
from ploutos.agent.train import load_run, start_run, train_run
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.errors import PolicyError
from ploutos.folds import FoldConfig
from ploutos.panel import load_panel, save_panel
from ploutos.runs import read_part, run_folder
from ploutos.validation import ValidationConfig, validate_run
from ploutos.validation.rollout import BUY_AND_HOLD, CASH, COMMITTEE
from ploutos.validation.stitch import load_policies, roll_out_all
from tests.panels import random_panel

CONFIG = TrainConfig(
    seeds=(0, 1),
    folds=FoldConfig(n_folds=2, test_bars=30, validation_bars=20, min_train_bars=60),
    env=EnvConfig(episode_bars=20),
    ppo=PPOConfig(total_timesteps=2048, n_epochs=1, net_arch=(8,)),
    recurrent_ppo=RecurrentPPOConfig(
        total_timesteps=2048, n_epochs=1, net_arch=(8,), lstm_hidden_size=4
    ),
    selection_checks=1,
    warm_up_bars=4,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("PLOUTOS_HOME", str(tmp_path_factory.mktemp("home")))
    run_id = start_run(save_panel(random_panel()), CONFIG)
    train_run(run_id)
    yield run_id
    patch.undo()


def test_every_test_bar_is_used_once_by_every_procedure(trained):
    run = load_run(trained)
    panel = load_panel(run.panel)
    policies = load_policies(run, panel)
    rollouts = roll_out_all(run, panel, market_of(panel), policies, lambda _message: None)
    assert set(rollouts) == {
        COMMITTEE,
        CASH,
        BUY_AND_HOLD,
        "PPO/seed0",
        "PPO/seed1",
        "RecurrentPPO/seed0",
        "RecurrentPPO/seed1",
    }
    for rollout in rollouts.values():
        assert len(rollout.returns) == 60
        np.testing.assert_array_equal(rollout.closed_at, panel.closed_at[139:])
        assert rollout.fold.tolist() == [0] * 30 + [1] * 30


def test_account_is_carried_across_the_border_of_two_folds(trained):
    run = load_run(trained)
    panel = load_panel(run.panel)
    policies = load_policies(run, panel)
    rollout = roll_out_all(run, panel, market_of(panel), policies, lambda _message: None)[COMMITTEE]
    border = 30
    # No jump of equity, and what was held before the border is held after it unless it was traded.
    assert abs(rollout.returns[border]) < 0.2
    if rollout.turnover[border] == 0:
        assert (rollout.weights[border] > 0).tolist() == (rollout.weights[border + 1] > 0).tolist()


def test_same_run_gives_the_same_report_byte_for_byte(trained):
    first = validate_run(trained, ValidationConfig())
    html = Path(first.report).read_bytes()
    second = validate_run(trained, ValidationConfig())
    assert first == second
    assert Path(second.report).read_bytes() == html


def test_summary_part_holds_the_figures_of_the_report(trained):
    messages = []
    summary = validate_run(trained, ValidationConfig(), lambda *now: messages.append(now))
    part = read_part(trained, "validation")
    report = json.loads((run_folder(trained) / "report.json").read_text())
    curve = report["curves"]["equity_usd"][COMMITTEE]
    assert part["return"] == pytest.approx(curve[-1] / curve[0] - 1, rel=1e-9)
    assert part["verdict"] == summary.verdict == report["verdict"]["verdict"]
    assert part["verdict"] != "promoted"  # 60 bars of noise
    assert (part["folds"], part["seeds"]) == (2, 2)
    assert part["baselines"][CASH]["return"] == 0.0
    worst = max(report["scaling"], key=lambda row: row["test"])
    assert part["most_clipped"]["test"] == {"feature": worst["feature"], "share": worst["test"]}
    assert [fraction for fraction, _ in messages] == sorted(fraction for fraction, _ in messages)


def test_damaged_policy_is_refused_by_name(trained):
    victim = run_folder(trained) / "policies" / "PPO-fold1-seed0" / "policy.safetensors"
    kept = victim.read_bytes()
    victim.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(PolicyError, match=r"PPO-fold1-seed0.*expected SHA-256"):
            validate_run(trained, ValidationConfig())
    finally:
        victim.write_bytes(kept)
