"""What a flow without an id takes."""

from pathlib import Path

import pytest

from flows.recent import newest, recall, remember
from ploutos.errors import ConfigError


def test_the_newest_value_is_what_was_remembered_last(home: Path):
    remember("snapshot", "first")
    remember("snapshot", "second")
    assert recall("snapshot", "ingest") == "second"


def test_before_the_first_run_there_is_nothing(home: Path):
    assert newest("snapshot") is None


def test_a_flow_without_input_says_which_flow_makes_it(home: Path):
    with pytest.raises(ConfigError, match=r"there is no panel yet .* run the flow 'prepare' first"):
        recall("panel", "prepare")


def test_kinds_do_not_mix(home: Path):
    remember("run", "abc")
    assert newest("promoted-run") is None
