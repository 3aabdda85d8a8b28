"""The plan on simulated machines; expected numbers are counted by hand."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ploutos.agent.hardware import GIB, Gpu, Hardware, detect_hardware
from ploutos.agent.plan import PPO_SIZES, RECURRENT_SIZES, AlgoSizes, Plan, plan, plan_rows

# A slow machine is no counterexample, and a failure must come back at the next run.
reproducible = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
MIB = 1024**2
BLOCK = 200 * MIB


def machine(cores: int, memory_gib: float, shm_mib: int = 8192, gpu: Gpu | None = None):
    return Hardware(
        cpu_count=cores,
        memory_bytes=int(memory_gib * GIB),
        shm_free_bytes=shm_mib * MIB,
        gpu=gpu,
        sources={"cpu_count": "test", "gpu": "test"},
    )


@pytest.mark.parametrize(
    ("cores", "memory_gib", "members"),
    [
        (2, 24, 2),
        (16, 128, 12),
        (64, 256, 12),
        # 1.5 GiB less a block of 200 MiB leave room for one member of 1 GiB.
        (8, 1.5, 1),
        (1, 0.5, 1),
    ],
)
def test_twelve_members_are_spread_over_the_machine(cores, memory_gib, members):
    planned = plan(machine(cores, memory_gib), BLOCK, 12, PPO_SIZES)

    assert planned.members_in_parallel == members


def test_large_host_under_a_quota_of_twelve_cores_is_planned_as_twelve(tmp_path):
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("1200000 100000\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{64 * GIB}\n")
    (tmp_path / "dev/shm").mkdir(parents=True)
    hardware = detect_hardware(tmp_path, {"PATH": ""}, affinity_cpus=128)
    planned = plan(hardware, 4096, 100, PPO_SIZES)

    assert planned.members_in_parallel == 12
    assert planned.torch_threads == 1


def test_block_larger_than_shared_memory_is_planned_all_the_same():
    """It becomes a file, and its pages count against the same memory."""
    small, large = (plan(machine(12, 64, shm_mib=mib), BLOCK, 12, PPO_SIZES) for mib in (64, 8192))

    assert small == large


def test_what_is_learned_does_not_depend_on_the_machine():
    learning = ("n_envs", "n_steps", "batch_size", "torch_threads", "device")
    gpu = Gpu(name="NVIDIA RTX A5000", memory_bytes=24 * GIB)
    small = plan(machine(2, 24), BLOCK, 12, PPO_SIZES)
    large = plan(machine(64, 256, gpu=gpu), BLOCK, 12, PPO_SIZES)

    assert [getattr(small, name) for name in learning] == [
        getattr(large, name) for name in learning
    ]


def test_every_number_of_the_table_has_its_reason():
    planned = plan(machine(2, 24), BLOCK, 12, RECURRENT_SIZES)
    rows = plan_rows(planned)

    assert {name for name, _, _ in rows} == set(Plan.model_fields) - {"reasons"}
    assert ("members_in_parallel", "2") in {(name, value) for name, value, _ in rows}
    assert all(why.endswith(".") for _, _, why in rows)


def test_plan_survives_a_round_trip_through_json():
    planned = plan(machine(16, 128), BLOCK, 12, PPO_SIZES)

    assert Plan.model_validate_json(planned.model_dump_json()) == planned


@reproducible
@given(st.integers(1, 256), st.floats(0.25, 1024), st.integers(1, 500))
def test_no_machine_is_asked_for_more_than_it_has(cores, memory_gib, n_members):
    planned = plan(machine(cores, memory_gib), BLOCK, n_members, PPO_SIZES)

    assert planned.members_in_parallel * planned.torch_threads <= cores
    assert planned.members_in_parallel * planned.env_threads <= cores
    assert planned.members_in_parallel <= n_members
    assert planned.members_in_parallel <= max(1, memory_gib)


def test_environments_are_stepped_by_more_threads_only_where_that_pays():
    many = PPO_SIZES.model_copy(update={"n_envs": 1024})

    assert plan(machine(16, 64), BLOCK, 2, PPO_SIZES).env_threads == 1  # too few environments
    assert plan(machine(16, 64), BLOCK, 2, many).env_threads == 8
    assert plan(machine(16, 64), BLOCK, 16, many).env_threads == 1  # members take the cores


def test_minibatches_that_do_not_divide_the_rollout_are_refused():
    with pytest.raises(ValidationError, match="divide n_envs"):
        AlgoSizes(algo="PPO", n_envs=16, n_steps=128, batch_size=300)
