"""What is learned and how. In: a form. Out: frozen hyper-parameters, with SB3's spelling."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ploutos.config import FrozenConfig
from ploutos.env.config import EnvConfig
from ploutos.folds import FoldConfig

Algo = Literal["PPO", "RecurrentPPO"]
Device = Literal["cpu", "cuda"]


class RowEncoder(FrozenConfig):
    """One layer over the whole observation; the MLPs of actor and critic (`net_arch`) go on."""

    kind: Literal["row"] = Field(
        default="row", description="Names this kind of encoder: one layer over the row."
    )
    width: int = Field(default=64, ge=1, description="Width of the layer, tanh.")


class SymbolEncoder(FrozenConfig):
    """One small MLP that is applied to every symbol; the policy is as large for 5000 as for 5.

    The hidden layers of the actor (`net_arch`) are shared by the symbols, too.
    """

    kind: Literal["symbol"] = Field(
        default="symbol", description="Names this kind of encoder: one MLP for all symbols."
    )
    width: int = Field(default=32, ge=1, description="Width of each layer, tanh.")
    layers: int = Field(default=2, ge=1, description="Number of layers.")


class WindowEncoder(FrozenConfig):
    """A causal convolution over the rows of the window (`env.window_bars`)."""

    kind: Literal["window"] = Field(
        default="window", description="Names this kind of encoder: a convolution over the window."
    )
    channels: int = Field(
        default=16, ge=1, description="Numbers that each row is projected to before rows combine."
    )
    width: int = Field(
        default=64,
        ge=1,
        description="Width of the layer that joins the window with the account, tanh.",
    )


EncoderConfig = Annotated[RowEncoder | SymbolEncoder | WindowEncoder, Field(discriminator="kind")]


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

    encoder: EncoderConfig | None = Field(
        default=None,
        description="First layers, which actor and critic share; without them each has its own "
        "over the whole observation. Needed to observe by reference.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_market_layer(cls, given: Any) -> Any:
        if isinstance(given, dict) and "market_layer" in given:
            width = given["market_layer"]
            instead = None if width is None else {"kind": "row", "width": width}
            raise ValueError(
                f"expected encoder in place of market_layer, received market_layer={width!r}. "
                f"Write encoder={instead!r} for the same network."
            )
        return given


class RecurrentPPOConfig(PPOConfig):
    """Hyper-parameters of sb3-contrib's RecurrentPPO: an LSTM before actor and critic."""

    total_timesteps: int = Field(
        default=20_000, ge=1, description="Environment steps of one member, over all its envs."
    )
    n_epochs: int = Field(default=5, ge=1, description="Passes over each rollout.")
    lstm_hidden_size: int = Field(default=64, ge=1, description="Width of the LSTM state.")

    @model_validator(mode="after")
    def _check_encoder(self) -> Self:
        if self.encoder is not None and self.encoder.kind == "symbol":
            raise ValueError(
                "expected a row or window encoder for RecurrentPPO, received a symbol encoder: an "
                "LSTM remembers one vector, not one for each symbol. Use PPO, or another encoder."
            )
        return self


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
    def _check_encoders(self) -> Self:
        for algo in self.algos if self.env.by_reference else ():
            if self.learner(algo).encoder is None:
                raise ValueError(
                    f"expected an encoder in the hyper-parameters of {algo}, received none: "
                    "observations by reference are read by it. Set it, or env.by_reference to "
                    "false."
                )
        return self

    def learner(self, algo: Algo) -> PPOConfig:
        """Return the hyper-parameters of one algorithm."""
        return self.ppo if algo == "PPO" else self.recurrent_ppo
