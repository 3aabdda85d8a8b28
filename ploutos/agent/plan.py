"""Sizes of a training job. In: hardware, block size, number of members. Out: a frozen `Plan`.

Every number carries a sentence that says why it is what it is. `PPO_SIZES` and `RECURRENT_SIZES`
are the numbers to tune; everything else follows from the machine.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from ploutos.agent.config import Algo
from ploutos.agent.hardware import GIB, Hardware
from ploutos.config import FrozenConfig

MEMBER_BYTES = GIB
# Handing a slice of a step to another thread takes some 20 microseconds, as long as stepping this
# many environments by reference.
ENVS_PER_THREAD = 64


class AlgoSizes(FrozenConfig):
    """Sizes that belong to an algorithm, not to the machine."""

    algo: Algo = Field(description="Algorithm the sizes are for.")
    n_envs: int = Field(ge=1, description="Environments that one member steps together.")
    n_steps: int = Field(ge=1, description="Steps per environment and rollout, in bars.")
    batch_size: int = Field(ge=1, description="Rows of one minibatch.")

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        rollout = self.n_envs * self.n_steps
        if rollout % self.batch_size:
            raise ValueError(
                f"expected batch_size to divide n_envs * n_steps = {rollout}, "
                f"received {self.batch_size}"
            )
        return self


PPO_SIZES = AlgoSizes(algo="PPO", n_envs=32, n_steps=64, batch_size=512)
RECURRENT_SIZES = AlgoSizes(algo="RecurrentPPO", n_envs=32, n_steps=64, batch_size=512)


class Plan(FrozenConfig):
    """Sizes of a training job on one machine, each with its reason."""

    members_in_parallel: int = Field(ge=1, description="Members that train at the same time.")
    torch_threads: int = Field(ge=1, description="Threads of one member's learner.")
    env_threads: int = Field(ge=1, description="Threads that step a member's environments.")
    n_envs: int = Field(ge=1, description="Environments that one member steps together.")
    n_steps: int = Field(ge=1, description="Steps per environment and rollout, in bars.")
    batch_size: int = Field(ge=1, description="Rows of one minibatch.")
    device: Literal["cpu"] = Field(description="Where the networks are computed.")
    reasons: dict[str, str] = Field(description="For each number, a sentence that says why.")


def plan(hardware: Hardware, block_bytes: int, n_members: int, sizes: AlgoSizes) -> Plan:
    """Choose the sizes of a training job; pure, so any machine can be asked about.

    Parameters
    ----------
    hardware
        What may be used.
    block_bytes
        Size of the panel's shared block, in bytes; it is not published yet.
    n_members
        Members to train (folds x seeds x algorithms), at least 1.
    sizes
        Sizes of the algorithm.

    Returns
    -------
    Plan
        Sizes and reasons.
    """
    cores = hardware.cpu_count
    # Pages of the block are charged to the same memory limit as the processes.
    by_memory = max(1, (hardware.memory_bytes - block_bytes) // MEMBER_BYTES)
    members = max(1, min(n_members, cores, by_memory))
    idle = cores // members
    env_threads = max(1, min(idle, sizes.n_envs // (2 * ENVS_PER_THREAD)))
    return Plan(
        members_in_parallel=members,
        torch_threads=1,
        env_threads=env_threads,
        n_envs=sizes.n_envs,
        n_steps=sizes.n_steps,
        batch_size=sizes.batch_size,
        device="cpu",
        reasons={
            "members_in_parallel": f"The smallest of {n_members} members, {cores} cores "
            f"({hardware.sources.get('cpu_count', 'stated')}) and {by_memory} that fit into "
            "memory at 1 GiB each beside the block.",
            "torch_threads": "Layers this small gain nothing by a second thread, and with one the "
            "numbers do not depend on the machine; cores train members side by side instead.",
            "env_threads": f"The smaller of the {idle} cores that each member has and "
            f"{sizes.n_envs} environments by {2 * ENVS_PER_THREAD}: one compiled call steps "
            f"{ENVS_PER_THREAD} of them in the time that another thread needs to wake up. Threads "
            "share everything, so processes are for a user's own Python reward or wrapper only.",
            "n_envs": f"Enough for {sizes.algo} to see different times in one rollout.",
            "n_steps": f"{sizes.n_envs} x {sizes.n_steps} = {sizes.n_envs * sizes.n_steps} rows "
            "per rollout.",
            "batch_size": f"{sizes.n_envs * sizes.n_steps // sizes.batch_size} minibatches per "
            "epoch; smaller ones cost mostly dispatch.",
            "device": "Minibatches of networks this small cost mostly dispatch; a GPU adds to it.",
        },
    )


def plan_rows(plan: Plan) -> tuple[tuple[str, str, str], ...]:
    """Return the plan as a table to print: one row of name, value, reason per number."""
    return tuple((name, str(getattr(plan, name)), why) for name, why in plan.reasons.items())
