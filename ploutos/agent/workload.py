"""What a member is made of. In: the shape of a block, a learner, sizes. Out: parameters and bytes.

`BlockShape` and `Job` are what a plan is made for. The counts are exact; `member_bytes` is an
estimate from measurements, meant to err towards more.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from ploutos.agent.config import Algo, PPOConfig, RecurrentPPOConfig, TrainConfig
from ploutos.agent.market_rows import PART_BYTES
from ploutos.config import FrozenConfig
from ploutos.env.observe import account_length, market_length
from ploutos.folds import Fold
from ploutos.panel import Panel

MIB = 2**20
FLOAT_BYTES = 4
# Private memory of member processes at their peak, measured on Linux with torch 2.13 for the CPU:
# 310 MiB with tiny networks and rollouts, 630 MiB where the compiled code is not cached yet.
INTERPRETER_BYTES = 350 * MIB
COMPILING_BYTES = 300 * MIB
# How often the observations of a rollout are there at the peak: in the buffer, put in order for the
# update, picked into minibatches, padded to sequences, and as holes that the allocator keeps.
# Measured with 2,048 samples of 226, 1,426 and 5,476 values: at most 5.3 and 12.7.
ROLLOUT_COPIES: dict[Algo, int] = {"PPO": 6, "RecurrentPPO": 13}
# Parameters, gradients, Adam's two moments, the best so far, those that are scored, a checkpoint.
PARAMETER_COPIES = 8


class BlockShape(FrozenConfig):
    """The data of a training job, by their sizes."""

    n_bytes: int = Field(ge=0, description="Size of the shared block, in bytes.")
    n_rows: int = Field(ge=1, description="Bars of the longest training range.")
    n_symbols: int = Field(ge=1, description="Symbols N.")
    row_values: int = Field(ge=1, description="Values K that one row of the market has.")
    window_bars: int = Field(default=1, ge=1, description="Rows W that an observation holds.")

    @property
    def window_values(self) -> int:
        """Return W*K, the market's part of an observation by value."""
        return self.window_bars * self.row_values


class Job(FrozenConfig):
    """The members of one algorithm: what a plan is made for."""

    algo: Algo = Field(description="Algorithm.")
    learner: PPOConfig | RecurrentPPOConfig = Field(description="Its hyper-parameters.")
    by_reference: bool = Field(default=False, description="Whether a row is observed by number.")
    has_python_env: bool = Field(
        default=False, description="Whether each environment has a user's own Python around it."
    )
    n_members: int = Field(ge=1, description="Members to train, of all algorithms.")


class AlgoSizes(FrozenConfig):
    """Sizes that decide what is learned from a number of steps."""

    n_envs: int = Field(ge=1, description="Environments that one member steps together.")
    n_steps: int = Field(ge=1, description="Steps per environment and rollout, in bars.")
    batch_size: int = Field(ge=1, description="Samples of one minibatch.")

    @property
    def rollout(self) -> int:
        """Return the samples of one rollout."""
        return self.n_envs * self.n_steps

    @model_validator(mode="after")
    def _check_batches(self) -> Self:
        if self.rollout % self.batch_size:
            raise ValueError(
                f"expected batch_size to divide n_envs * n_steps = {self.rollout}, "
                f"received {self.batch_size}"
            )
        return self


def block_shape(
    panel: Panel, n_bytes: int, folds: Sequence[Fold], window_bars: int = 1
) -> BlockShape:
    """Return the shape of the block that a panel file of `n_bytes` becomes."""
    return BlockShape(
        n_bytes=n_bytes,
        n_rows=max(len(fold.train) for fold in folds),
        n_symbols=panel.n_symbols,
        row_values=market_length(panel),
        window_bars=window_bars,
    )


def jobs_of(config: TrainConfig, n_folds: int) -> dict[Algo, Job]:
    """Return the job of each algorithm of a run."""
    n_members = n_folds * len(config.seeds) * len(config.algos)
    return {
        algo: Job(
            algo=algo,
            learner=config.learner(algo),
            by_reference=config.env.by_reference,
            n_members=n_members,
        )
        for algo in config.algos
    }


def parameter_count(block: BlockShape, job: Job) -> int:
    """Return the parameters of a member's network; of one that sets weights, a few too many.

    Of every layer the weights and the biases; the actor answers with 3 numbers per symbol, the
    critic with one.
    """
    learner = job.learner
    inputs = block.window_values + account_length(block.n_symbols)
    total = 0
    if learner.market_layer is not None:
        total, inputs = (inputs + 1) * learner.market_layer, learner.market_layer
    if isinstance(learner, RecurrentPPOConfig):
        width = learner.lstm_hidden_size
        # Four gates, each over the input and over the state, with two biases; actor and critic.
        total += 2 * 4 * width * (inputs + width + 2)
        inputs = width
    for outputs in (3 * block.n_symbols, 1):
        layers = pairwise((inputs, *learner.net_arch, outputs))
        total += sum((wide + 1) * out for wide, out in layers)
    return total


def multiply_adds(block: BlockShape, job: Job, sizes: AlgoSizes) -> int:
    """Return the multiplications of one forward pass of a minibatch.

    By reference, the market's part of the first layer is multiplied once per distinct row.
    """
    shared = 0
    if job.by_reference and job.learner.market_layer is not None:
        shared = block.window_values * job.learner.market_layer
    own = parameter_count(block, job) - shared
    return own * sizes.batch_size + shared * min(sizes.batch_size, block.n_rows)


def rollout_bytes(block: BlockShape, job: Job, sizes: AlgoSizes) -> tuple[int, int]:
    """Return the bytes of a rollout buffer: those of the observations, and those of all else.

    All else are an action per symbol of 8 bytes, six numbers per sample (reward, value, return,
    advantage, log probability, episode start) and the two states of two LSTMs.
    """
    market = 1 if job.by_reference else block.window_values
    observations = sizes.rollout * (market + account_length(block.n_symbols)) * FLOAT_BYTES
    rest = 8 * block.n_symbols + 6 * FLOAT_BYTES
    if isinstance(job.learner, RecurrentPPOConfig):
        rest += 4 * job.learner.lstm_hidden_size * FLOAT_BYTES
    return observations, sizes.rollout * rest


def member_bytes(block: BlockShape, job: Job, sizes: AlgoSizes) -> int:
    """Estimate the memory that a member's process has to itself, in bytes; the block is not in it.

    See the constants of this module for what was measured.
    """
    gathered = PART_BYTES if job.by_reference else 0
    return (
        INTERPRETER_BYTES
        + COMPILING_BYTES
        + ROLLOUT_COPIES[job.algo] * sum(rollout_bytes(block, job, sizes))
        + PARAMETER_COPIES * FLOAT_BYTES * parameter_count(block, job)
        + min(gathered, block.n_rows * block.row_values * FLOAT_BYTES)
    )
