"""Sizes of a training job. In: hardware, the shape of the block, a job. Out: a frozen `Plan`.

Every number carries a sentence that says why it is what it is. What decides about learning
(`n_envs`, `n_steps`, `batch_size`) comes from the tables below and is the same on every machine
that has the memory for it: throughput that is bought with a plan that learns less does not count.
Cores decide only about who computes at the same time as whom.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from ploutos.agent.config import Algo, Device
from ploutos.agent.hardware import Hardware, readable_bytes
from ploutos.agent.workload import (
    MIB,
    AlgoSizes,
    BlockShape,
    Job,
    member_bytes,
    multiply_adds,
    parameter_count,
)
from ploutos.config import FrozenConfig

# The numbers to tune, by `learn.time_to_score` of the benchmarks. The compiled update takes nearly
# the same time per sample whatever the minibatch, and small ones learn from fewer samples.
PPO_SIZES = AlgoSizes(n_envs=32, n_steps=64, batch_size=512)
RECURRENT_SIZES = AlgoSizes(n_envs=32, n_steps=64, batch_size=512)
# By reference, samples that stand on the same row share the market's part of the first layer.
WIDE_PPO_SIZES = AlgoSizes(n_envs=1024, n_steps=32, batch_size=8192)
# Below this many values of the market behind one row number, there is little to share.
WIDE_VALUES = 512
# A budget of fewer rollouts than this gives too few updates to learn from.
LEAST_ROLLOUTS = 32

# Handing a slice of a step to another thread takes some 20 microseconds, as long as stepping this
# many environments by reference.
ENVS_PER_THREAD = 64
# The compiled update cuts a minibatch into parts of this many samples; one fills a thread.
SAMPLES_PER_THREAD = 1024
# Private memory of what runs beside the members, measured: a run's own process 360 MiB, Prefect's
# server 200 MiB.
BESIDE_MEMBERS_BYTES = 640 * MIB
# Multiplications of a minibatch. So many take one core about 0.25 s (three passes, 50 GFLOP/s
# measured). Torch's calls alone take 3 ms (measured on a CPU, no GPU was at hand): a GPU that needs
# a few times that is ahead of a dozen cores.
CUDA_MULTIPLY_ADDS = 2 * 10**9
# Room on the GPU beside the block: torch's context, networks, a minibatch.
CUDA_ROOM_BYTES = 2048 * MIB


class Plan(FrozenConfig):
    """Sizes of a training job on one machine, each with its reason."""

    members_in_parallel: int = Field(ge=1, description="Members that train at the same time.")
    torch_threads: int = Field(ge=1, description="Threads inside one call of torch, BLAS, Polars.")
    learner_threads: int = Field(
        ge=1, description="Threads that share a member's updates; the numbers do not depend on it."
    )
    env_threads: int = Field(
        ge=1, description="Threads that step its environments; the numbers do not depend on it."
    )
    env_workers: int = Field(ge=0, description="Processes that step its environments; 0: none.")
    n_envs: int = Field(ge=1, description="Environments that one member steps together.")
    n_steps: int = Field(ge=1, description="Steps per environment and rollout, in bars.")
    batch_size: int = Field(ge=1, description="Samples of one minibatch.")
    device: Device = Field(description="Where the networks are computed.")
    block_place: Literal["shared memory", "file"] = Field(description="What the block lies in.")
    member_bytes: int = Field(ge=0, description="Estimate of a member's own memory, in bytes.")
    reasons: dict[str, str] = Field(description="For each number, a sentence that says why.")

    @model_validator(mode="after")
    def _check_reasons(self) -> Self:
        numbers = set(type(self).model_fields) - {"reasons"}
        if numbers != set(self.reasons):
            raise ValueError(
                f"expected a reason for each of {sorted(numbers)}, received {sorted(self.reasons)}"
            )
        return self


class _Choice(NamedTuple):
    """A value of the plan, and why it is that."""

    value: Any
    why: str


def plan(hardware: Hardware, block: BlockShape, job: Job) -> Plan:
    """Choose the sizes of a training job; pure, so any machine can be asked about.

    Parameters
    ----------
    hardware
        What may be used.
    block
        What the members learn from; it is not published yet.
    job
        What is trained.
    """
    table, why_table = _table(block, job)
    room = max(0, hardware.memory_bytes - block.n_bytes - BESIDE_MEMBERS_BYTES)
    sizes = _fitting(table, block, job, room)
    if sizes != table:
        why_table = (
            f"Halved from {table.n_envs} until one member fits into the {readable_bytes(room)} "
            "of memory that are left for it."
        )
    own = member_bytes(block, job, sizes)
    device = _device(hardware, block, job, sizes)
    members = _members(hardware, job, room // own, device.value)
    idle = hardware.cpu_count // members.value
    choices = {
        "members_in_parallel": members,
        "torch_threads": _Choice(
            1,
            "Calls this small gain nothing by a second thread, and with one their sums do not "
            "depend on the machine.",
        ),
        "learner_threads": _learner_threads(job.algo, idle, sizes, device.value),
        **_env_threads(job, idle, sizes),
        "n_envs": _Choice(sizes.n_envs, why_table),
        "n_steps": _Choice(
            sizes.n_steps,
            f"A rollout is {sizes.n_envs} x {sizes.n_steps} = {sizes.rollout} samples; the budget "
            f"of {job.learner.total_timesteps} steps is {_rollouts(job, sizes)} of them.",
        ),
        "batch_size": _Choice(
            sizes.batch_size,
            f"This makes {sizes.rollout // sizes.batch_size} updates in each of "
            f"{job.learner.n_epochs} epochs: {_why_batch(sizes)}.",
        ),
        "device": device,
        "block_place": _place(hardware, block),
        "member_bytes": _Choice(
            own,
            "Interpreter, torch and compiled code, a rollout, networks of "
            f"{parameter_count(block, job):,} parameters with what Adam keeps; measured, rounded "
            "up, and without the block, which is there once for all.",
        ),
    }
    values = {name: choice.value for name, choice in choices.items()}
    reasons = {name: choice.why for name, choice in choices.items()}
    return Plan(**values, reasons=reasons)


def plan_rows(plan: Plan) -> tuple[tuple[str, str, str], ...]:
    """Return the plan as a table to print: one row of name, value, reason per number."""
    values = {name: str(getattr(plan, name)) for name in plan.reasons}
    values["member_bytes"] = readable_bytes(plan.member_bytes)
    return tuple((name, values[name], why) for name, why in plan.reasons.items())


def warnings_of(
    hardware: Hardware, block: BlockShape, plans: Mapping[str, Plan]
) -> tuple[str, ...]:
    """Return a sentence for each thing about this machine that its user may want to change."""
    found = []
    if hardware.cpu_count < hardware.affinity_cpus:
        found.append(
            f"Only {hardware.cpu_count} of the {hardware.affinity_cpus} CPUs that programs see may "
            f"be used at a time ({hardware.sources.get('cpu_count', 'stated')}). Ploutos limits "
            "its libraries' threads to that; set OMP_NUM_THREADS for others."
        )
    if block.n_bytes > hardware.shm_free_bytes:
        found.append(
            f"Shared memory has {readable_bytes(hardware.shm_free_bytes)} free and the block takes "
            f"{readable_bytes(block.n_bytes)}, so it becomes a file under the home folder. In "
            "Docker, --shm-size enlarges /dev/shm."
        )
    unused = {algo: plan.reasons["device"] for algo, plan in plans.items() if plan.device == "cpu"}
    if hardware.gpu is not None and unused:
        why = " ".join(f"{algo}: {reason}" for algo, reason in unused.items())
        found.append(f"The GPU {hardware.gpu.name} is not used. {why}")
    needed = max((plan.member_bytes for plan in plans.values()), default=0)
    needed += block.n_bytes + BESIDE_MEMBERS_BYTES
    if needed > hardware.memory_bytes:
        found.append(
            f"One member may need {readable_bytes(needed)} with the block and what runs beside it, "
            f"and there are {readable_bytes(hardware.memory_bytes)} of memory "
            f"({hardware.sources.get('memory_bytes', 'stated')}): it may be killed. Use fewer "
            "symbols or features, or observe by reference."
        )
    return tuple(found)


def _table(block: BlockShape, job: Job) -> tuple[AlgoSizes, str]:
    """Return the sizes that are best for learning, and why."""
    if job.algo == "RecurrentPPO":
        return RECURRENT_SIZES, _stretches(RECURRENT_SIZES)
    if not job.by_reference or block.window_values < WIDE_VALUES:
        return PPO_SIZES, _stretches(PPO_SIZES)
    if block.n_rows > WIDE_PPO_SIZES.batch_size:
        return (
            PPO_SIZES,
            f"Of {block.n_rows} rows, few would be shared by samples of one minibatch.",
        )
    if _rollouts(job, WIDE_PPO_SIZES) < LEAST_ROLLOUTS:
        return PPO_SIZES, (
            f"A budget of {job.learner.total_timesteps} steps is too small for the rollouts of "
            f"{WIDE_PPO_SIZES.n_envs} environments, which would share rows."
        )
    return WIDE_PPO_SIZES, (
        f"Samples on one of {block.n_rows} rows share the first layer over its "
        f"{block.window_values} values, and the budget is large enough for long rollouts."
    )


def _rollouts(job: Job, sizes: AlgoSizes) -> int:
    """Return how many rollouts a member collects; the last one is always a whole one."""
    return -(-job.learner.total_timesteps // sizes.rollout)


def _stretches(sizes: AlgoSizes) -> str:
    return (
        f"One rollout sees {sizes.n_envs} stretches of the market; with more of them it takes more "
        "steps to learn the same."
    )


def _why_batch(sizes: AlgoSizes) -> str:
    if sizes.batch_size < SAMPLES_PER_THREAD:
        return "small minibatches learn from fewer samples"
    return "in large ones many samples stand on the same row"


def _fitting(table: AlgoSizes, block: BlockShape, job: Job, room: int) -> AlgoSizes:
    """Return the table's sizes, with fewer environments where one member would not fit.

    Where none would fit either, the table's: it is not the rollout that takes the memory.
    """
    sizes = table
    while member_bytes(block, job, sizes) > room:
        if sizes.n_envs == 1:
            return table
        n_envs = sizes.n_envs // 2
        rollout = n_envs * table.n_steps
        batch_size = next(n for n in range(table.batch_size, 0, -1) if rollout % n == 0)
        sizes = AlgoSizes(n_envs=n_envs, n_steps=table.n_steps, batch_size=batch_size)
    return sizes


def _device(hardware: Hardware, block: BlockShape, job: Job, sizes: AlgoSizes) -> _Choice:
    """Choose by the work of a minibatch, never by the number of cores: it changes the numbers."""
    gpu, work = hardware.gpu, multiply_adds(block, job, sizes)
    if gpu is None:
        return _Choice("cpu", f"There is no GPU ({hardware.sources.get('gpu', 'stated')}).")
    if work < CUDA_MULTIPLY_ADDS:
        return _Choice(
            "cpu",
            f"A minibatch takes {work / 1e6:,.0f} million multiplications; below "
            f"{CUDA_MULTIPLY_ADDS / 1e6:,.0f} million a GPU waits for its calls.",
        )
    needed = block.n_bytes + CUDA_ROOM_BYTES
    if gpu.memory_bytes < needed:
        return _Choice(
            "cpu",
            f"The block and torch need {readable_bytes(needed)} of GPU memory, {gpu.name} has "
            f"{readable_bytes(gpu.memory_bytes)}.",
        )
    return _Choice(
        "cuda",
        f"A minibatch takes {work / 1e6:,.0f} million multiplications, enough to keep {gpu.name} "
        "busy.",
    )


def _members(hardware: Hardware, job: Job, by_memory: int, device: str) -> _Choice:
    if device == "cuda":
        return _Choice(1, "One GPU computes the networks of one member after another's.")
    cores, source = hardware.cpu_count, hardware.sources.get("cpu_count", "stated")
    return _Choice(
        max(1, min(job.n_members, cores, by_memory)),
        f"The smallest of {job.n_members} members, {cores} cores ({source}) and {by_memory} that "
        "fit into memory. Side by side, members share nothing that they would wait for.",
    )


def _learner_threads(algo: Algo, idle: int, sizes: AlgoSizes, device: str) -> _Choice:
    if device == "cuda":
        return _Choice(1, "The GPU computes the updates.")
    if algo == "RecurrentPPO":
        return _Choice(
            min(idle, 2),
            "One for the actor's LSTM and one for the critic's, as far as the cores per member "
            f"({idle}) go.",
        )
    return _Choice(
        max(1, min(idle, sizes.batch_size // SAMPLES_PER_THREAD)),
        f"The smaller of the cores per member ({idle}) and the {sizes.batch_size} samples of a "
        f"minibatch by {SAMPLES_PER_THREAD}: fewer are not worth waking a thread.",
    )


def _env_threads(job: Job, idle: int, sizes: AlgoSizes) -> dict[str, _Choice]:
    if job.has_python_env:
        return {
            "env_threads": _Choice(1, "A user's Python holds the lock that threads would share."),
            "env_workers": _Choice(
                min(idle, sizes.n_envs),
                "A user's Python is stepped by processes, as many as the cores per member "
                f"({idle}).",
            ),
        }
    return {
        "env_threads": _Choice(
            max(1, min(idle, sizes.n_envs // (2 * ENVS_PER_THREAD))),
            f"The smaller of the cores per member ({idle}) and the {sizes.n_envs} environments by "
            f"{2 * ENVS_PER_THREAD}: one compiled call steps {ENVS_PER_THREAD} of them in the time "
            "that another thread needs to wake up.",
        ),
        "env_workers": _Choice(
            0, "Threads share everything; processes are for a user's own Python only."
        ),
    }


def _place(hardware: Hardware, block: BlockShape) -> _Choice:
    free, size = readable_bytes(hardware.shm_free_bytes), readable_bytes(block.n_bytes)
    if block.n_bytes <= hardware.shm_free_bytes:
        return _Choice("shared memory", f"It has {free} free, the block takes {size}.")
    return _Choice(
        "file",
        f"Shared memory has {free} free, too little for {size}; a file is mapped just the same.",
    )
