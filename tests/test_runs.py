import pytest

from ploutos import runs
from ploutos.errors import StoreError
from ploutos.store import read_json


def test_run_id_depends_on_data_and_config_and_nothing_else():
    base = runs.run_id_of("a" * 64, {"seed": 1})
    assert base == runs.run_id_of("a" * 64, {"seed": 1})
    assert base != runs.run_id_of("b" * 64, {"seed": 1})
    assert base != runs.run_id_of("a" * 64, {"seed": 2})
    assert len(base) == 16


def test_second_trainer_of_a_run_is_refused_while_the_first_one_works(home):
    refused = pytest.raises(StoreError, match="being trained by another process")
    with runs.sole_trainer("run"), refused, runs.sole_trainer("run"):
        pass
    with runs.sole_trainer("run"):
        pass


def test_summary_merges_the_parts_and_becomes_the_latest(home):
    for run_id in ("first", "second"):
        for part in runs.SUMMARY_KEYS:
            runs.record_part(run_id, part, {"of": run_id})
        path = runs.write_summary(run_id)
        summary = read_json(path)
        assert set(summary) == {"run_id", "report", *runs.SUMMARY_KEYS}
        assert summary["paper"] == {"of": run_id}
        assert (home / "runs" / "latest").resolve().name == run_id


def test_stage_that_has_not_finished_is_named(home):
    runs.record_part("run", "dataset", {})
    with pytest.raises(StoreError, match="no part 'features'"):
        runs.write_summary("run")
