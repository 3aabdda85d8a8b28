"""How far a member is. In: scores of its checks. Out: the best parameters, and when to stop.

`Numbers` is what a checkpoint keeps of it as JSON, beside the learner's own counters.
"""

from dataclasses import dataclass

from pydantic import Field, JsonValue

from ploutos.agent.tensors import Tensors
from ploutos.config import FrozenConfig

MERSENNE_WORDS = 624


@dataclass
class Progress:
    """How far a member is.

    checks_done: scorings so far. checks_since_best: those after the best one. best_score,
    best_parameters: of the best one. trained_s: seconds of training. fallbacks: how often it went
    back to a checkpoint because numbers were not finite.
    """

    checks_done: int = 0
    checks_since_best: int = 0
    best_score: float | None = None
    best_parameters: Tensors | None = None
    trained_s: float = 0.0
    fallbacks: int = 0


class Numbers(FrozenConfig):
    """The part of a snapshot that is no tensor."""

    num_timesteps: int = Field(ge=0, description="Environment steps trained.")
    n_updates: int = Field(ge=0, description="Epochs trained.")
    adam: tuple[int, ...] = Field(description="Numbers of the parameters that Adam has moved.")
    lstm: bool = Field(description="Whether there are LSTM states.")
    best: bool = Field(description="Whether there are best parameters.")
    numpy_position: int = Field(
        ge=0, le=MERSENNE_WORDS, description="Next word of numpy's global generator."
    )
    numpy_has_gauss: int = Field(ge=0, le=1, description="Whether it keeps a normal number.")
    numpy_gauss: float = Field(description="That number.")
    generator: dict[str, JsonValue] | None = Field(
        description="State of the learner's own generator, if it has one."
    )
    checks_done: int = Field(ge=0, description="See `Progress`.")
    checks_since_best: int = Field(ge=0, description="See `Progress`.")
    best_score: float | None = Field(description="See `Progress`.")
    trained_s: float = Field(ge=0, description="See `Progress`.")
    fallbacks: int = Field(ge=0, description="See `Progress`.")


def note_score(progress: Progress, score: float, parameters: Tensors) -> None:
    """Note a check's score; `parameters`, which nobody changes any more, are kept if it is best."""
    progress.checks_done += 1
    progress.checks_since_best += 1
    if progress.best_score is None or score > progress.best_score:
        progress.best_score, progress.best_parameters = score, parameters
        progress.checks_since_best = 0


def is_out_of_patience(progress: Progress, patience_checks: int | None) -> bool:
    """Tell whether the score has not improved for `patience_checks` checks; None: never."""
    return patience_checks is not None and progress.checks_since_best >= patience_checks
