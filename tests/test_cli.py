import os
import subprocess
import sys
from pathlib import Path

import pytest

from ploutos.agent import TrainConfig, start_run
from ploutos.agent.plan import Plan
from ploutos.features import CATALOG, MACRO_CATALOG
from ploutos.folds import FoldConfig
from ploutos.panel import save_panel
from tests.machines import graphics_driver
from tests.panels import random_panel

ROOT = Path(__file__).parents[1]
PLOUTOS = str(Path(sys.executable).with_name("ploutos"))


def run(*arguments, home, width="200", **variables):
    environment = {
        "PLOUTOS_HOME": str(home),
        "COLUMNS": width,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        **variables,
    }
    return subprocess.run(
        [PLOUTOS, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_plan_prints_a_reason_beside_every_number(tmp_path):
    result = run("plan", home=tmp_path)
    assert result.returncode == 0
    for name in set(Plan.model_fields) - {"reasons"}:
        (one, other) = [line for line in result.stdout.splitlines() if f" {name} " in line]
        assert one.count("│") == other.count("│") == 4
    assert "Plan for RecurrentPPO" in result.stdout
    assert "note:" not in result.stdout


def test_plan_of_a_run_is_that_of_its_panel_and_its_members(home):
    folds = FoldConfig(n_folds=2, test_bars=30, validation_bars=20, min_train_bars=60)
    config = TrainConfig(algos=("PPO",), seeds=(0, 1, 2), folds=folds)
    panel = save_panel(random_panel(bars=200, symbols=2, features=3, macro=2))
    run_id = start_run(panel, config)
    (home / "runs" / "latest").symlink_to(run_id)
    by_id, latest = (
        run("plan", "--run", run_id, home=home),
        run("plan", "--run", "latest", home=home),
    )
    assert latest.stdout == by_id.stdout
    assert "smallest of 6 members" in latest.stdout
    # 2 x (3 + 1) + 2 x 2 market values and 12 of the account: 2 towers of 25 x 64 + 65 x 64, and
    # 65 x (2 x 3 + 1).
    assert "networks of 11,975 parameters" in latest.stdout
    assert "RecurrentPPO" not in latest.stdout


def test_plan_says_what_a_user_may_want_to_change(tmp_path):
    driver = graphics_driver(tmp_path / "bin", "NVIDIA A100", 81920)
    limits = {"RUNPOD_CPU_COUNT": "0.5", "RUNPOD_MEM_GB": "0.5"}
    result = run("plan", "--block-mib", "1e9", home=tmp_path, **driver, **limits)
    assert result.returncode == 0
    notes = " ".join(result.stdout.split("note:", 1)[1].split())
    assert "becomes a file under the home folder" in notes
    assert "The GPU NVIDIA A100 is not used. PPO: A minibatch takes" in notes
    assert "it may be killed" in notes
    if len(os.sched_getaffinity(0)) > 1:
        assert "may be used at a time (RUNPOD_CPU_COUNT)" in notes


def test_plan_of_another_versions_run_says_so(tmp_path):
    (tmp_path / "runs" / "0123").mkdir(parents=True)
    (tmp_path / "runs" / "0123" / "run.json").write_text("{}")
    result = run("plan", "--run", "0123", home=tmp_path)
    assert result.returncode == 1
    assert "expected a run as this version of Ploutos plans it" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_features_prints_the_whole_catalog(tmp_path):
    result = run("features", home=tmp_path)
    assert result.returncode == 0
    assert all(row.name in result.stdout for row in (*CATALOG, *MACRO_CATALOG))


def test_features_stay_within_the_terminal_and_are_written_plain_when_piped(tmp_path):
    result = run("features", "--family", "trend", home=tmp_path, width="80")
    assert result.stdout.startswith("23 technical and 0 macro features\n")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


def test_features_in_markdown_are_the_page_of_the_docs(tmp_path):
    result = run("features", "--format", "markdown", home=tmp_path)
    assert result.stdout == (ROOT / "docs" / "features.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("features", "--family", "trendy"), "expected one of the families"),
        (("summary",), "Start one with `make run`"),
        (("report", "--run", "0000"), "received '0000'"),
        (("plan", "--run", "0000"), "received '0000'"),
    ],
)
def test_wrong_request_is_answered_by_a_sentence(tmp_path, arguments, message):
    result = run(*arguments, home=tmp_path)
    assert result.returncode == 1
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
