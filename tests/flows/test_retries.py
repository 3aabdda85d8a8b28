"""Which failures are worth another try: asked of Prefect itself."""

import pytest
from prefect import task
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed

from flows.ingest import fetch_snapshot
from flows.retries import only_for
from flows.train import train_members
from ploutos.errors import ConfigError, SourceError, TrainingError


@task
def anything() -> None:
    """Stand in for the task that failed."""


def would_retry(condition, error: Exception) -> bool:
    """Ask a condition about an error, in the form in which Prefect asks."""
    return condition(anything, TaskRun.model_construct(), Failed(data=error))


@pytest.mark.parametrize(
    ("error", "worth_it"),
    [(SourceError("no answer"), True), (ConnectionError(), True), (ConfigError("two of"), False)],
    ids=["source", "network", "configuration"],
)
def test_a_fetch_is_tried_again_when_the_source_failed(error: Exception, worth_it: bool):
    assert would_retry(fetch_snapshot.retry_condition_fn, error) is worth_it


def test_training_goes_on_after_a_member_died_and_not_after_a_bad_configuration():
    assert would_retry(train_members.retry_condition_fn, TrainingError("member died"))
    assert not would_retry(train_members.retry_condition_fn, ConfigError("contradiction"))


def test_a_subclass_counts_as_its_base():
    assert would_retry(only_for(OSError), TimeoutError())


def test_waiting_grows_from_try_to_try():
    assert fetch_snapshot.retries == 3
    assert fetch_snapshot.retry_delay_seconds == [10, 20, 40]
