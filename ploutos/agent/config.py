"""What is learned and how. In: a form. Out: frozen hyper-parameters, with SB3's spelling."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ploutos.config import FrozenConfig
from ploutos.env.config import EnvConfig
from ploutos.folds import FoldConfig

Algo = Literal["PPO", "RecurrentPPO"]


class PPOConfig(FrozenConfig):
    """Hyper-parameters of PPO (Schulman et al. 2017) in Stable-Baselines3's words.

    Rollout length, number of environments and batch size come from the hardware plan.
    """

    total_timesteps: int = Field(
        default=100_000, ge=1, description="Environment steps of one member, over all its envs."
    )
    learning_rate: float = Field(default=3e-4, gt=0, le=1, description="Adam step size.")
    n_epochs: int = Field(default=10, ge=1, description="Passes over each rollout.")
    gamma: float = Field(default=0.99, gt=0, le=1, description="Discount per bar.")
    gae_lambda: float = Field(
        default=0.95, ge=0, le=1, description="Trade-off of generalised advantage estimation."
    )
    clip_range: float = Field(default=0.2, gt=0, description="Clip of the probability ratio.")
    ent_coef: float = Field(default=0.01, ge=0, description="Weight of the entropy bonus.")
    vf_coef: float = Field(default=0.5, ge=0, description="Weight of the value loss.")
    max_grad_norm: float = Field(default=0.5, gt=0, description="Gradient norm is clipped here.")
    net_arch: tuple[int, ...] = Field(
        default=(64, 64), description="Widths of the hidden layers of actor and critic."
    )

    market_layer: int | None = Field(
        default=None,
        ge=1,
        description="Width of a first layer that actor and critic share, tanh; without it each has "
        "its own. Needed to observe by reference.",
    )


class RecurrentPPOConfig(PPOConfig):
    """Hyper-parameters of sb3-contrib's RecurrentPPO: an LSTM before actor and critic."""

    total_timesteps: int = Field(
        default=20_000, ge=1, description="Environment steps of one member, over all its envs."
    )
    n_epochs: int = Field(default=5, ge=1, description="Passes over each rollout.")
    lstm_hidden_size: int = Field(default=64, ge=1, description="Width of the LSTM state.")


class TrainConfig(FrozenConfig):
    """Everything that determines a training run, apart from the data."""

    algos: tuple[Algo, ...] = Field(
        default=("PPO", "RecurrentPPO"), min_length=1, description="Algorithms to train."
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(0, 1),
        min_length=1,
        description="Random seeds; every algorithm is trained once per fold and seed.",
    )
    folds: FoldConfig = Field(default=FoldConfig(), description="Walk-forward folds, in bars.")
    env: EnvConfig = Field(default=EnvConfig(), description="The episode: account and reward.")
    ppo: PPOConfig = Field(default=PPOConfig(), description="Hyper-parameters of PPO.")
    recurrent_ppo: RecurrentPPOConfig = Field(
        default=RecurrentPPOConfig(), description="Hyper-parameters of RecurrentPPO."
    )
    selection_checks: int = Field(
        default=5,
        ge=1,
        description="How often during training the policy is scored on the fold's validation "
        "rows; the best-scored parameters are kept.",
    )
    patience_checks: int | None = Field(
        default=None,
        ge=1,
        description="A member stops early when its score on the validation rows has not improved "
        "for this many checks; without it every member trains to the end.",
    )
    warm_up_bars: int = Field(
        default=32,
        ge=0,
        description="Bars that an LSTM sees, without trading, before its first decision.",
    )
    member_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="A member that reports no progress for this many seconds is stopped.",
    )
    member_retries: int = Field(
        default=1, ge=0, description="How often a failed member is started again, alone."
    )

    @field_validator("seeds", "algos")
    @classmethod
    def _check_distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"expected distinct values, received {values}")
        return values

    @model_validator(mode="after")
    def _check_market_layers(self) -> Self:
        for algo in self.algos if self.env.by_reference else ():
            if self.learner(algo).market_layer is None:
                raise ValueError(
                    f"expected market_layer in the hyper-parameters of {algo}, received none: "
                    "observations by reference are read by it. Set it, or env.by_reference to "
                    "false."
                )
        return self

    def learner(self, algo: Algo) -> PPOConfig:
        """Return the hyper-parameters of one algorithm."""
        return self.ppo if algo == "PPO" else self.recurrent_ppo
