"""The plan on simulated machines; expected numbers are counted by hand."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ploutos.agent.config import PPOConfig, RecurrentPPOConfig, RowEncoder
from ploutos.agent.hardware import Gpu, Hardware, detect_hardware
from ploutos.agent.plan import (
    BESIDE_MEMBERS_BYTES,
    PPO_SIZES,
    RECURRENT_SIZES,
    WIDE_PPO_SIZES,
    Plan,
    plan,
    plan_rows,
    warnings_of,
)
from ploutos.agent.workload import AlgoSizes, BlockShape, Job, member_bytes
from tests.machines import (
    GIB,
    NO_PROGRAMS,
    bare_machine,
    container_v1,
    container_v2,
    graphics_driver,
)

# A slow machine is no counterexample, and a failure must come back at the next run.
reproducible = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
MIB = 1024**2
# 15 symbols x (85 features + 1 flag) + 2 x 36 macro values = 1,362, and 64 of the account.
BLOCK = BlockShape(n_bytes=200 * MIB, n_rows=2500, n_symbols=15, row_values=1362)
# Interpreter and compiling 650 MiB; six copies of a rollout of 2,048 samples with 1,426 values of 4
# bytes, 15 actions of 8 and 6 numbers of 4; eight copies of 2 x (1,427 x 64 + 65 x 64) + 65 x 46
# parameters of 4 bytes.
PPO_BYTES = 650 * MIB + 6 * 2048 * (1426 * 4 + 15 * 8 + 24) + 8 * 4 * 193_966

PPO = Job(algo="PPO", learner=PPOConfig(), n_members=12)
RECURRENT = Job(algo="RecurrentPPO", learner=RecurrentPPOConfig(), n_members=12)
WIDE = Job(
    algo="PPO",
    learner=PPOConfig(encoder=RowEncoder(width=64), total_timesteps=2_000_000),
    by_reference=True,
    n_members=12,
)
LARGE = RecurrentPPOConfig(lstm_hidden_size=1024, net_arch=(1024, 1024))


def machine(cores: int, memory_gib: float, shm_mib: int = 8192, gpu: Gpu | None = None):
    return Hardware(
        cpu_count=cores,
        affinity_cpus=cores,
        memory_bytes=int(memory_gib * GIB),
        shm_free_bytes=shm_mib * MIB,
        gpu=gpu,
        sources={"cpu_count": "test", "memory_bytes": "test", "gpu": "test"},
    )


def sizes_of(planned: Plan) -> AlgoSizes:
    return AlgoSizes(n_envs=planned.n_envs, n_steps=planned.n_steps, batch_size=planned.batch_size)


def with_shm(hardware: Hardware, mib: int) -> Hardware:
    """Give a machine the free shared memory that a folder under `tmp_path` cannot have."""
    return hardware.model_copy(update={"shm_free_bytes": mib * MIB})


def test_two_cores_train_two_members_with_one_thread_each(tmp_path):
    hardware = detect_hardware(bare_machine(tmp_path, 24), NO_PROGRAMS, affinity=2)
    for job, sizes in ((PPO, PPO_SIZES), (RECURRENT, RECURRENT_SIZES)):
        planned = plan(with_shm(hardware, 12 * 1024), BLOCK, job)

        assert planned.members_in_parallel == 2
        assert (planned.torch_threads, planned.learner_threads, planned.env_threads) == (1, 1, 1)
        assert sizes_of(planned) == sizes
        assert (planned.device, planned.block_place) == ("cpu", "shared memory")


def test_sixteen_cores_and_a_gpu_train_small_networks_on_the_cores(tmp_path):
    environ = graphics_driver(tmp_path / "bin", "NVIDIA A100", 80 * 1024)
    hardware = with_shm(detect_hardware(bare_machine(tmp_path, 128), environ, 16), 64 * 1024)
    planned = plan(hardware, BLOCK, PPO)

    assert hardware.gpu == Gpu(name="NVIDIA A100", memory_bytes=80 * GIB)
    assert (planned.members_in_parallel, planned.device) == (12, "cpu")
    # 193,966 parameters x 512 samples.
    assert "99 million multiplications" in planned.reasons["device"]
    (warning,) = warnings_of(hardware, BLOCK, {"PPO": planned})
    assert warning.startswith("The GPU NVIDIA A100 is not used. PPO: A minibatch takes 99 million")


def test_sixteen_cores_and_a_gpu_train_large_networks_one_at_a_time_on_the_gpu(tmp_path):
    environ = graphics_driver(tmp_path / "bin", "NVIDIA A100", 80 * 1024)
    hardware = with_shm(detect_hardware(bare_machine(tmp_path, 128), environ, 16), 64 * 1024)
    planned = plan(hardware, BLOCK, RECURRENT.model_copy(update={"learner": LARGE}))

    assert (planned.members_in_parallel, planned.device) == (1, "cuda")
    assert planned.learner_threads == 1
    assert sizes_of(planned) == RECURRENT_SIZES
    assert warnings_of(hardware, BLOCK, {"RecurrentPPO": planned}) == ()


def test_sixty_four_cores_give_what_members_leave_to_their_threads(tmp_path):
    hardware = detect_hardware(bare_machine(tmp_path, 256), NO_PROGRAMS, affinity=64)
    small, recurrent, wide = (plan(hardware, BLOCK, job) for job in (PPO, RECURRENT, WIDE))

    assert {p.members_in_parallel for p in (small, recurrent, wide)} == {12}
    # 64 // 12 = 5 cores each: a minibatch of 512 fills no second thread, 8,192 would fill 8; two
    # LSTMs take two; 32 environments take one, 1,024 would take 8.
    assert (small.learner_threads, small.env_threads) == (1, 1)
    assert (recurrent.learner_threads, recurrent.env_threads) == (2, 1)
    assert (wide.learner_threads, wide.env_threads) == (5, 5)


@pytest.mark.parametrize("container", [container_v1, container_v2])
def test_128_host_cores_under_a_quota_of_twelve_are_planned_as_twelve(tmp_path, container):
    hardware = with_shm(detect_hardware(container(tmp_path, 12, 64), NO_PROGRAMS, 128), 1024)
    planned = plan(hardware, BLOCK, PPO.model_copy(update={"n_members": 100}))

    assert planned.members_in_parallel == 12
    assert "12 cores (cgroup v" in planned.reasons["members_in_parallel"]
    (warning,) = warnings_of(hardware, BLOCK, {"PPO": planned})
    assert warning.startswith("Only 12 of the 128 CPUs that programs see")


def test_64_mebibytes_of_shared_memory_put_the_block_into_a_file(tmp_path):
    hardware = with_shm(detect_hardware(bare_machine(tmp_path, 64), NO_PROGRAMS, 12), 64)
    planned = plan(hardware, BLOCK, PPO)

    assert planned.block_place == "file"
    assert planned.members_in_parallel == 12
    (warning,) = warnings_of(hardware, BLOCK, {"PPO": planned})
    assert warning.startswith("Shared memory has 64 MiB free and the block takes 200 MiB")


def test_memory_limits_the_members_before_it_limits_the_rollout():
    # 4,096 MiB less 640 beside and 200 for the block leave 3,256 MiB, 4.49 times 724.4.
    planned = plan(machine(8, 4), BLOCK, PPO)

    assert planned.member_bytes == PPO_BYTES
    assert planned.members_in_parallel == 4
    assert sizes_of(planned) == PPO_SIZES
    assert "4 that fit into memory" in planned.reasons["members_in_parallel"]


def test_rollout_is_halved_only_where_one_member_would_not_fit():
    # 1,536 MiB leave 696: too little for 724.4, enough for 690.2 with half the rollout.
    planned = plan(machine(8, 1.5), BLOCK, PPO)

    assert sizes_of(planned) == AlgoSizes(n_envs=16, n_steps=64, batch_size=512)
    assert planned.member_bytes == PPO_BYTES - 6 * 1024 * (1426 * 4 + 15 * 8 + 24)
    assert planned.members_in_parallel == 1
    assert planned.reasons["n_envs"].startswith("Halved from 32 until one member fits")


def test_machine_that_is_too_small_for_any_member_is_planned_and_warned_of():
    planned = plan(machine(8, 1), BLOCK, PPO)

    assert planned.members_in_parallel == 1
    assert sizes_of(planned) == PPO_SIZES
    (warning,) = warnings_of(machine(8, 1), BLOCK, {"PPO": planned})
    assert "it may be killed" in warning


@pytest.mark.parametrize(
    ("block", "job", "reason"),
    [
        ({}, {"by_reference": False}, "stretches"),
        ({"row_values": 511}, {}, "stretches"),
        ({"n_rows": 8193}, {}, "Of 8193 rows"),
        # 31 rollouts of 32,768 steps.
        (
            {},
            {"learner": WIDE.learner.model_copy(update={"total_timesteps": 31 * 32768})},
            "budget",
        ),
    ],
)
def test_rollouts_are_wide_only_where_samples_share_rows_and_the_budget_allows(block, job, reason):
    assert sizes_of(plan(machine(2, 24), BLOCK, WIDE)) == WIDE_PPO_SIZES
    planned = plan(machine(2, 24), BLOCK.model_copy(update=block), WIDE.model_copy(update=job))

    assert sizes_of(planned) == PPO_SIZES
    assert reason in planned.reasons["n_envs"]


@pytest.mark.parametrize(
    ("gpu_gib", "block_gib", "device"), [(4, 1, "cuda"), (2, 1, "cpu"), (80, 79, "cpu")]
)
def test_gpu_is_used_only_if_the_block_and_torch_fit_onto_it(gpu_gib, block_gib, device):
    gpu = Gpu(name="test", memory_bytes=gpu_gib * GIB)
    block = BLOCK.model_copy(update={"n_bytes": block_gib * GIB})
    job = RECURRENT.model_copy(update={"learner": LARGE})

    assert plan(machine(16, 128, gpu=gpu), block, job).device == device


def test_users_own_python_is_stepped_by_processes():
    job = PPO.model_copy(update={"has_python_env": True, "n_members": 2})
    planned = plan(machine(16, 64), BLOCK, job)

    assert (planned.env_workers, planned.env_threads) == (8, 1)
    assert plan(machine(16, 64), BLOCK, PPO).env_workers == 0


def test_plan_without_a_reason_for_a_number_is_refused():
    planned = plan(machine(2, 24), BLOCK, PPO).model_dump()
    del planned["reasons"]["device"]

    with pytest.raises(ValidationError, match="expected a reason for each"):
        Plan.model_validate(planned)


def test_plan_survives_a_round_trip_through_json():
    planned = plan(machine(16, 128), BLOCK, RECURRENT)

    assert Plan.model_validate_json(planned.model_dump_json()) == planned


machines = st.builds(
    machine,
    cores=st.integers(1, 256),
    memory_gib=st.floats(0.25, 1024),
    shm_mib=st.integers(0, 2**20),
    gpu=st.none() | st.builds(Gpu, name=st.just("test"), memory_bytes=st.integers(0, 80 * GIB)),
)
blocks = st.builds(
    BlockShape,
    n_bytes=st.integers(0, 64 * GIB),
    n_rows=st.integers(1, 100_000),
    n_symbols=st.integers(1, 500),
    row_values=st.integers(1, 50_000),
    window_bars=st.sampled_from([1, 2, 60]),
)
layers = {
    "net_arch": st.lists(st.sampled_from([8, 64, 2048]), max_size=3).map(tuple),
    "encoder": st.builds(RowEncoder, width=st.integers(1, 512)),
    "total_timesteps": st.integers(1, 10**8),
}
jobs = st.one_of(
    st.builds(
        Job,
        algo=st.just(algo),
        learner=st.builds(learner, **layers),
        by_reference=st.booleans(),
        has_python_env=st.booleans(),
        n_members=st.integers(1, 500),
    )
    for algo, learner in (("PPO", PPOConfig), ("RecurrentPPO", RecurrentPPOConfig))
)


@reproducible
@given(machines, blocks, jobs)
def test_no_machine_is_asked_for_more_than_it_has(hardware, block, job):
    planned = plan(hardware, block, job)
    members = planned.members_in_parallel

    assert members <= job.n_members
    for threads in (planned.learner_threads, planned.env_threads, planned.env_workers):
        assert members * max(threads, 1) * planned.torch_threads <= hardware.cpu_count
    needed = members * planned.member_bytes + block.n_bytes + BESIDE_MEMBERS_BYTES
    if needed > hardware.memory_bytes:
        assert members == 1
        assert any("it may be killed" in w for w in warnings_of(hardware, block, {"": planned}))
    assert planned.member_bytes == member_bytes(block, job, sizes_of(planned))


@reproducible
@given(machines, blocks, jobs)
def test_every_number_has_its_reason_and_batches_divide_the_rollout(hardware, block, job):
    planned = plan(hardware, block, job)

    assert planned.n_envs * planned.n_steps % planned.batch_size == 0
    rows = plan_rows(planned)
    assert [name for name, _, _ in rows] == [
        name for name in Plan.model_fields if name != "reasons"
    ]
    assert all(why[0].isupper() and why.endswith(".") for _, _, why in rows)


@reproducible
@given(machines, blocks, jobs, st.integers(1, 256), st.integers(0, 2**20))
def test_what_is_learned_does_not_depend_on_cores_or_shared_memory(
    hardware, block, job, cores, shm_mib
):
    other = hardware.model_copy(
        update={"cpu_count": cores, "affinity_cpus": 256, "shm_free_bytes": shm_mib * MIB}
    )
    names = ("n_envs", "n_steps", "batch_size", "torch_threads", "device")
    one, two = plan(hardware, block, job), plan(other, block, job)

    assert [getattr(one, name) for name in names] == [getattr(two, name) for name in names]


@reproducible
@given(blocks, jobs, st.floats(0.25, 1024), st.floats(0, 1024))
def test_more_memory_never_shortens_a_rollout_that_fitted(block, job, memory_gib, more_gib):
    """Unless nothing fitted: then it is the table's, for what it is worth."""
    one = plan(machine(8, memory_gib), block, job)
    two = plan(machine(8, memory_gib + more_gib), block, job)
    fitted = one.member_bytes + block.n_bytes + BESIDE_MEMBERS_BYTES <= int(memory_gib * GIB)

    if fitted:
        assert two.n_envs >= one.n_envs
