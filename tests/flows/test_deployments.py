"""The flows on a real server: deployed, scheduled, run by a real worker, retried."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.flows.conftest import ROOT, Server

FLOWS = ("ingest", "prepare", "train", "validate", "replay", "paper", "pipeline")
TINY = {
    "features": {"families": ["momentum"]},
    "train": {
        "seeds": [0],
        "folds": {"n_folds": 1},
        "selection_checks": 1,
        "ppo": {"total_timesteps": 512},
        "recurrent_ppo": {"total_timesteps": 512},
    },
}


def until(found: Callable[[], Any], within_s: float, what: str) -> Any:
    """Wait for something to appear."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (value := found()) is not None:
            return value
        time.sleep(0.3)
    pytest.fail(f"{what}: not within {within_s} s")


@pytest.fixture(scope="module")
def deployed(server: Server) -> dict[str, dict[str, Any]]:
    """Give the deployments by their full names."""
    found = server.post("/deployments/filter").json()
    flows = {flow["id"]: flow["name"] for flow in server.post("/flows/filter").json()}
    return {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}


def create_run(server: Server, deployment: dict[str, Any], parameters: dict[str, Any]) -> str:
    """Trigger a run as the UI does."""
    path = f"/deployments/{deployment['id']}/create_flow_run"
    answer = server.post(path, parameters=parameters)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def final_state(server: Server, run: str, within_s: float) -> dict[str, Any]:
    """Wait until a run has ended."""

    def ended() -> dict[str, Any] | None:
        state = server.get(f"/flow_runs/{run}").json()["state"]
        return state if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

    return until(ended, within_s, f"the end of run {run}")


def test_deploy_registers_every_deployment(deployed: dict[str, dict[str, Any]]):
    assert set(deployed) == {f"{name}/{name}" for name in FLOWS}
    assert {one["work_pool_name"] for one in deployed.values()} == {"local"}


def test_a_worker_runs_the_flows_in_the_folder_they_were_deployed_from(
    deployed: dict[str, dict[str, Any]],
):
    steps = {str(one["pull_steps"]) for one in deployed.values()}
    directory = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
    assert steps == {str([directory])}


def test_the_cron_deployment_yields_runs_on_weekday_evenings_in_new_york(
    server: Server, deployed: dict[str, dict[str, Any]]
):
    paper = deployed["paper/paper"]["id"]

    def scheduled() -> list[dict[str, Any]] | None:
        runs = server.post("/flow_runs/filter", deployments={"id": {"any_": [paper]}}).json()
        return runs or None

    runs = until(scheduled, 60, "a scheduled run of the paper flow")
    starts = [
        datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("America/New_York"))
        for run in runs
    ]
    assert {(start.hour, start.minute) for start in starts} == {(19, 5)}
    assert {start.weekday() for start in starts} <= set(range(5))
    assert {run["state"]["type"] for run in runs} == {"SCHEDULED"}


def test_the_paper_flow_completes_and_says_that_nothing_is_promoted(
    server: Server, deployed: dict[str, dict[str, Any]]
):
    state = final_state(server, create_run(server, deployed["paper/paper"], {}), 90)
    assert state["type"] == "COMPLETED"
    assert "Nothing is promoted" in state["message"]


def test_a_run_that_failed_at_one_stage_is_retried_and_continues_from_what_is_done(
    server: Server, deployed: dict[str, dict[str, Any]], tmp_path: Path
):
    ledger = tmp_path / "missing" / "ledger.sqlite"
    paper = {"ledger_url": f"sqlite:///{ledger}", "replay_sessions": 3}
    config = {"config": {**TINY, "paper": paper}}
    run = create_run(server, deployed["pipeline/pipeline"], config)
    failed = final_state(server, run, 240)
    assert failed["type"] == "FAILED", failed
    policies = trained(server.home)
    assert len(policies) == 2

    ledger.parent.mkdir()
    retry(server, run)
    completed = final_state(server, run, 120)
    assert completed["type"] == "COMPLETED", completed
    assert trained(server.home) == policies
    assert (server.home / "runs" / "latest" / "summary.json").is_file()

    artifacts = server.post("/artifacts/latest/filter").json()
    kinds = {artifact["type"] for artifact in artifacts}
    assert {"markdown", "table"} <= kinds
    assert {"summary", "validation", "members", "snapshot", "panel", "report"} <= {
        artifact["key"] for artifact in artifacts
    }
    until(lambda: len(server.family()) == 2 or None, 20, "only the server and the worker")


def test_a_retried_run_continues_with_the_data_it_began_with(
    server: Server, deployed: dict[str, dict[str, Any]], tmp_path: Path
):
    folder = tmp_path / "bars"
    write_bars(folder, last_close=104.0)
    source = {"kind": "files", "folder": str(folder)}
    run = create_run(server, deployed["ingest/ingest"], {"config": {"source": source}})
    assert final_state(server, run, 90)["type"] == "COMPLETED"
    first = newest_snapshot(server)

    write_bars(folder, last_close=105.0)
    retry(server, run)
    assert final_state(server, run, 90)["type"] == "COMPLETED"
    assert newest_snapshot(server) == first

    fresh = create_run(server, deployed["ingest/ingest"], {"config": {"source": source}})
    assert final_state(server, fresh, 90)["type"] == "COMPLETED"
    assert newest_snapshot(server) != first


def test_a_folder_without_bars_fails_at_once_with_a_sentence(
    server: Server, deployed: dict[str, dict[str, Any]], tmp_path: Path
):
    source = {"kind": "files", "folder": str(tmp_path)}
    run = create_run(server, deployed["ingest/ingest"], {"config": {"source": source}})
    state = final_state(server, run, 60)
    assert state["type"] == "FAILED"
    assert str(tmp_path) in state["message"]


def test_what_prefect_stored_is_json_and_nothing_else(server: Server):
    stored = list((server.home / "prefect" / "storage").glob("*"))
    assert stored  # the failed runs of the tests above left their exceptions
    for path in stored:
        json.loads(path.read_bytes())


def write_bars(folder: Path, last_close: float) -> None:
    """Write three real sessions of one symbol."""
    folder.mkdir(exist_ok=True)
    rows = [("2024-01-02", 101.0), ("2024-01-03", 103.0), ("2024-01-04", last_close)]
    lines = [f"{day},100,110,90,{close},1000" for day, close in rows]
    text = "\n".join(["date,open,high,low,close,volume", *lines])
    (folder / "ABC.csv").write_text(text)


def newest_snapshot(server: Server) -> str:
    """Read the digest that the last ingest showed."""
    found = server.post("/artifacts/latest/filter").json()
    [table] = [json.loads(one["data"]) for one in found if one["key"] == "snapshot"]
    return next(row["value"] for row in table if row["what"] == "snapshot")


def trained(home: Path) -> dict[Path, int]:
    """List the policies and when they were written."""
    folders = home.glob("runs/*/policies/*")
    return {one: one.stat().st_mtime_ns for one in folders if "latest" not in one.parts}


def retry(server: Server, run: str) -> None:
    """Retry an ended run as the UI does, and wait until it is no longer ended."""
    began = server.get(f"/flow_runs/{run}").json()["run_count"]
    state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    answer = server.post(f"/flow_runs/{run}/set_state", state=state, force=True)
    assert answer.status_code == 201, answer.text
    until(
        lambda: server.get(f"/flow_runs/{run}").json()["run_count"] > began or None,
        60,
        "the retry",
    )
