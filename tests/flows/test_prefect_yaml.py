"""prefect.yaml, read strictly: Prefect itself ignores what it does not know."""

import importlib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import (  # the only models of this file that Prefect has
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS: list[dict[str, Any]] = DOCUMENT["deployments"]
ENTRYPOINTS = [deployment["entrypoint"] for deployment in DEPLOYMENTS]
ANCHORS = "definitions"


def known_keys(model: type[BaseModel]) -> set[str]:
    """List the keys that a model reads."""
    return {field.alias or name for name, field in model.model_fields.items()}


def unknown_keys(document: dict[str, Any]) -> list[str]:
    """List every key of a prefect.yaml that Prefect would silently ignore."""
    found = set(document) - known_keys(PrefectYamlModel) - {ANCHORS}
    for deployment in document["deployments"]:
        found |= set(deployment) - known_keys(DeploymentConfig)
        found |= set(deployment.get("work_pool", {})) - known_keys(WorkPoolConfig)
        if isinstance(limit := deployment.get("concurrency_limit"), dict):
            found |= set(limit) - known_keys(ConcurrencyLimitSpec)
        for schedule in deployment.get("schedules", []):
            found |= set(schedule) - known_keys(RawScheduleConfig)
    return sorted(found)


def load(entrypoint: str) -> Flow[Any, Any]:
    """Import a dotted entrypoint."""
    module, name = entrypoint.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def test_every_key_is_one_that_prefect_reads():
    assert unknown_keys(DOCUMENT) == []


def test_a_misspelt_key_would_be_found():
    broken = {"deployments": [{"entrypoint": "a.b", "schedulez": [], "work_pool": {"nam": "x"}}]}
    assert unknown_keys(broken) == ["nam", "schedulez"]


def test_the_file_fits_prefects_model():
    PrefectYamlModel.model_validate(DOCUMENT)


def test_no_placeholder_is_left_for_prefect_to_drop():
    assert "{{" not in (ROOT / "prefect.yaml").read_text()


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=ENTRYPOINTS)
def test_entrypoint_imports_and_its_parameters_validate(deployment: dict[str, Any]):
    flow = load(deployment["entrypoint"])
    assert isinstance(flow, Flow)
    assert flow.validate_parameters(deployment.get("parameters", {})) is not None


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=ENTRYPOINTS)
def test_deployment_has_a_name_a_description_tags_and_the_local_pool(deployment: dict[str, Any]):
    assert {"name", "description", "tags"} <= set(deployment)
    assert deployment["work_pool"]["name"] == "local"


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_a_run_needs_no_input_and_every_parameter_is_described(entrypoint: str):
    schema = load(entrypoint).parameters
    assert schema.required == []
    assert all(one.get("description") for one in schema.properties.values())


@pytest.mark.parametrize("entrypoint", ENTRYPOINTS)
def test_every_field_of_the_form_is_described(entrypoint: str):
    definitions = load(entrypoint).parameters.definitions or {}
    silent = [
        f"{name}.{field}"
        for name, definition in definitions.items()
        for field, schema in definition.get("properties", {}).items()
        if not description_of(schema, definitions)
    ]
    assert silent == []


def description_of(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Find the sentence at a field; pydantic leaves it out where the model says the same."""
    model = definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], {})
    return schema.get("description") or model.get("description", "")


def test_entrypoints_are_dotted():
    assert [one for one in ENTRYPOINTS if ":" in one] == []


def test_every_flow_has_a_deployment():
    names = {entrypoint.rsplit(".", 1)[1] for entrypoint in ENTRYPOINTS}
    assert names == {"ingest", "prepare", "train", "validate", "paper", "replay", "pipeline"}


def test_collision_strategies_exist():
    strategies = {member.value for member in ConcurrencyLimitStrategy}
    used = {
        deployment["concurrency_limit"]["collision_strategy"]
        for deployment in DEPLOYMENTS
        if "concurrency_limit" in deployment
    }
    assert used <= strategies


def test_the_paper_flow_runs_on_weekdays_after_the_new_york_close():
    [paper] = [one for one in DEPLOYMENTS if one["entrypoint"] == "flows.paper.paper"]
    [schedule] = paper["schedules"]
    CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    assert schedule["timezone"] == "America/New_York"
    assert ZoneInfo(schedule["timezone"])
    assert schedule["cron"] == "5 19 * * 1-5"
