import subprocess
import sys
from pathlib import Path

import pytest

from ploutos.features import CATALOG, MACRO_CATALOG

ROOT = Path(__file__).parents[1]
PLOUTOS = str(Path(sys.executable).with_name("ploutos"))


def run(*arguments, home, width="200"):
    environment = {
        "PLOUTOS_HOME": str(home),
        "COLUMNS": width,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [PLOUTOS, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_plan_prints_a_reason_beside_every_number(tmp_path):
    result = run("plan", home=tmp_path)
    assert result.returncode == 0
    for name in ("members_in_parallel", "n_envs", "n_steps", "batch_size", "torch_threads"):
        assert name in result.stdout
    assert "Plan for RecurrentPPO" in result.stdout


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
    ],
)
def test_wrong_request_is_answered_by_a_sentence(tmp_path, arguments, message):
    result = run(*arguments, home=tmp_path)
    assert result.returncode == 1
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
