"""What a member is made of. In: the shape of a block, a learner, sizes. Out: parameters and bytes.

`BlockShape` and `Job` are what a plan is made for. The counts are exact; `member_bytes` is an
estimate from measurements, meant to err towards more.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from ploutos.agent.config import (
    Algo,
    EncoderConfig,
    PPOConfig,
    RecurrentPPOConfig,
    RowEncoder,
    SymbolEncoder,
    TrainConfig,
    WindowEncoder,
)
from ploutos.agent.market_rows import PART_BYTES
from ploutos.config import FrozenConfig
from ploutos.env.observe import (
    ACCOUNT_FIXED,
    ACCOUNT_PER_SYMBOL,
    account_length,
    market_length,
)
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
    macro_values: int = Field(default=0, ge=0, description="Those of them that are macro's, 2M.")
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
        macro_values=2 * panel.n_macro,
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
    total, inputs = _encoder(block, learner.encoder)
    if isinstance(learner, RecurrentPPOConfig):
        width = learner.lstm_hidden_size
        # Four gates, each over the input and over the state, with two biases; actor and critic.
        total += 2 * 4 * width * (inputs + width + 2)
        inputs = width
    orders = 3 if isinstance(learner.encoder, SymbolEncoder) else 3 * block.n_symbols
    for outputs in (orders, 1):
        layers = pairwise((inputs, *learner.net_arch, outputs))
        total += sum((wide + 1) * out for wide, out in layers)
    return total


def _encoder(block: BlockShape, encoder: EncoderConfig | None) -> tuple[int, int]:
    """Return the parameters of a policy's first layers, and how many values they give."""
    account = account_length(block.n_symbols)
    if encoder is None:
        return 0, block.window_values + account
    if isinstance(encoder, RowEncoder):
        return (block.window_values + account + 1) * encoder.width, encoder.width
    if isinstance(encoder, WindowEncoder):
        channels, levels = encoder.channels, (block.window_bars - 1).bit_length()
        convolution = (block.row_values + 1) * channels + levels * (2 * channels + 1) * channels
        return convolution + (channels + account + 1) * encoder.width, encoder.width
    width, of_macro = encoder.width, block.window_bars * block.macro_values
    of_symbol = (block.window_values - of_macro) // block.n_symbols + ACCOUNT_PER_SYMBOL
    inner = (encoder.layers - 1) * (width + 1) * width
    return of_symbol * width + (of_macro + ACCOUNT_FIXED + 1) * width + inner, 2 * width


def multiply_adds(block: BlockShape, job: Job, sizes: AlgoSizes) -> int:
    """Return the multiplications of one forward pass of a minibatch, at most.

    By reference, the market's part of the first layer is multiplied once per distinct row. A
    symbol encoder's layers are taken as multiplied once per symbol, the critic's too.
    """
    encoder, total, repeats = job.learner.encoder, parameter_count(block, job), 1
    shared = of_shared = 0
    if encoder is not None and job.by_reference:
        width = encoder.channels if isinstance(encoder, WindowEncoder) else encoder.width
        shared = of_shared = block.row_values * width
        if not isinstance(encoder, WindowEncoder):
            shared = of_shared = block.window_values * width
    if isinstance(encoder, SymbolEncoder):
        repeats = block.n_symbols
        of_macro = block.window_bars * block.macro_values
        per_symbol = (block.window_values - of_macro) // block.n_symbols
        of_shared = (per_symbol + of_macro) * encoder.width if job.by_reference else 0
    own = (total - of_shared) * repeats
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
