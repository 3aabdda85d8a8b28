"""`python -m flows.pipeline` as a person runs it: real processes, real signals, two homes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from ploutos.block import reap_dead_blocks

REPOSITORY = Path(__file__).parents[2]
TINY = {
    "train": {
        "seeds": [0],
        "folds": {"n_folds": 1, "test_bars": 40},
        "ppo": {"total_timesteps": 2048, "n_epochs": 1},
        "recurrent_ppo": {"total_timesteps": 2048, "n_epochs": 1},
        "selection_checks": 1,
    }
}
LONG = {"train": {"ppo": {"total_timesteps": 10_000_000}, "algos": ["PPO"]}}
KEYS = {
    "run_id",
    "dataset",
    "features",
    "block",
    "plan",
    "training",
    "validation",
    "paper",
    "report",
}


def command(home: Path, config: dict[str, Any], *before: str) -> list[str]:
    path = home.parent / f"{home.name}.json"
    path.write_text(json.dumps(config))
    return [*before, sys.executable, "-m", "flows.pipeline", "--config", str(path)]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PLOUTOS_HOME": str(home)}


def run(home: Path, config: dict[str, Any], *before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, config, *before),
        cwd=REPOSITORY,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def summary_of(home: Path) -> dict[str, Any]:
    return json.loads((home / "runs" / "latest" / "summary.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with one finished run, and what the command printed."""
    home = tmp_path_factory.mktemp("finished") / "home"
    result = run(home, TINY)
    assert result.returncode == 0, result.stdout + result.stderr
    return home, result.stdout


def test_summary_holds_every_key_with_real_values(finished):
    home, _ = finished
    summary = summary_of(home)
    assert set(summary) == KEYS
    dataset = summary["dataset"]
    assert (dataset["name"], dataset["rows"]) == ("tech-2004", 2148)
    assert (dataset["first"], dataset["last"]) == ("2004-08-19", "2013-03-01")
    assert dataset["symbols"] == ["AAPL", "GOOG", "IBM", "MSFT"]
    assert summary["features"]["technical"] >= 85
    assert summary["features"]["macro"] == 36
    assert summary["block"]["segment"].startswith("ploutos-")
    assert {member["algo"] for member in summary["training"]} == {"PPO", "RecurrentPPO"}
    assert all(member["steps_per_s"] > 0 for member in summary["training"])
    assert summary["validation"]["verdict"] == "insufficient evidence"
    assert set(summary["validation"]["baselines"]) == {"cash", "equal-weight buy-and-hold"}
    assert summary["paper"]["sessions"] == 20
    assert summary["paper"]["parity"] == "equal"
    assert Path(summary["report"]).is_file()


def test_command_ends_by_saying_what_was_made_and_where_it_lies(finished):
    home, printed = finished
    last = printed.strip().splitlines()[-1]
    assert last == f"Report: {summary_of(home)['report']}"
    for word in ("verdict", "out of sample", "paper", "training"):
        assert word in printed


def test_second_call_trains_nothing_and_says_the_same(finished):
    home, _ = finished
    before = summary_of(home)
    policies = sorted((home / "runs").rglob("policy.safetensors"))
    written = [path.stat().st_mtime_ns for path in policies]
    result = run(home, TINY)
    assert result.returncode == 0
    assert "2 policies, 2 of them found finished" in result.stdout
    assert [path.stat().st_mtime_ns for path in policies] == written
    assert summary_of(home) == before


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)")
def test_second_call_works_with_the_network_cut_off(finished):
    home, _ = finished
    cut_off = ("unshare", "--net", "--map-root-user")
    if subprocess.run([*cut_off, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow network namespaces")
    loopback_up = 'ip link set lo up 2>/dev/null || ifconfig lo up; exec "$@"'
    result = run(home, TINY, *cut_off, "sh", "-c", loopback_up, "sh")
    assert result.returncode == 0, result.stdout + result.stderr


def test_same_seed_in_another_home_gives_the_same_numbers_bit_for_bit(finished, tmp_path):
    home, _ = finished
    other = tmp_path / "home"
    assert run(other, TINY).returncode == 0
    one, two = summary_of(home), summary_of(other)
    assert one["run_id"] == two["run_id"]
    assert one["validation"] == two["validation"]
    for key in ("sessions", "orders", "fills", "equity", "first_session", "last_session"):
        assert one["paper"][key] == two["paper"][key]
    first, second = Path(one["report"]).read_bytes(), Path(two["report"]).read_bytes()
    assert first == second


def wait_for_members(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Wait until a member trains; return all processes below the command."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        for child in children:
            try:
                if "spec.json" in " ".join(child.cmdline()):
                    time.sleep(3.0)
                    return psutil.Process(process.pid).children(recursive=True)
            except psutil.Error:
                continue
        time.sleep(0.2)
    raise AssertionError("no member was started within 120 s")


@pytest.mark.parametrize(
    ("kind", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["Ctrl-C", "SIGTERM", "SIGKILL"],
)
def test_signal_leaves_no_process_and_no_segment(tmp_path, kind, code):
    home = tmp_path / "home"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command(home, LONG),
            cwd=REPOSITORY,
            env=environment(home),
            stdout=log,
            stderr=log,
        )
    children = wait_for_members(process)
    block = json.loads(next(home.glob("runs/*/parts/block.json")).read_text())
    process.send_signal(kind)
    assert process.wait(60) == code
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    if kind == signal.SIGKILL:
        reap_dead_blocks()  # what the next start does first
    assert not (Path("/dev/shm") / block["segment"]).exists()


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        ({"ingest": {"symbols": ["AAPL", "NOPE"]}}, 1, "does not have the symbols ['NOPE']"),
        ({"train": {"folds": {"test_bars": 2000}}}, 1, "the folds do not fit the data"),
        ({"train": {"sedes": [1]}}, 2, "train.sedes: Extra inputs are not permitted"),
    ],
    ids=["unknown symbol", "fold longer than the data", "unknown key"],
)
def test_bad_input_is_answered_by_a_sentence_and_nothing_half_written(
    tmp_path, config, code, message
):
    home = tmp_path / "home"
    result = run(home, config)
    assert result.returncode == code
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not (home / "runs").exists()
    assert list(home.rglob("*.tmp")) == []
