"""What an episode is. In: a form. Out: frozen numbers for the kernel."""

from pydantic import Field

from ploutos.config import FrozenConfig
from ploutos.portfolio.config import PortfolioConfig


class RewardConfig(FrozenConfig):
    """The reward of a step: `scale` times the weighted sum of the terms (`ploutos.env.reward`)."""

    scale: float = Field(
        default=100.0,
        gt=0,
        description="Factor on the whole reward; 100 makes log returns read like percent.",
    )
    log_return: float = Field(
        default=1.0, ge=0, description="Weight of the log return of equity over the step."
    )
    benchmark_return: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the log return of equity minus that of the equal-weight benchmark.",
    )
    differential_sharpe: float = Field(
        default=0.0, ge=0, description="Weight of the differential Sharpe ratio."
    )
    sharpe_decay: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Weight of the newest return in the moving moments of the differential Sharpe "
        "ratio; 0.01 remembers about 100 bars.",
    )
    drawdown: float = Field(
        default=0.0, ge=0, description="Weight of the penalty: by how much the drawdown grew."
    )
    turnover: float = Field(
        default=0.0,
        ge=0,
        description="Weight of the penalty: value traded as a fraction of equity before the step.",
    )


class EnvConfig(FrozenConfig):
    """One trading episode: the account, its length, its reward, what is observed."""

    portfolio: PortfolioConfig = Field(
        default=PortfolioConfig(), description="Cash, actions, limits and costs."
    )
    reward: RewardConfig = Field(default=RewardConfig(), description="Terms of the reward.")
    episode_bars: int | None = Field(
        default=126,
        ge=2,
        description="Length of a training episode, in bars (decisions); without it every episode "
        "is all rows from the first to the last.",
    )
    ruin_fraction: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="The episode terminates when equity falls to this fraction of initial cash.",
    )
    window_bars: int = Field(
        default=1,
        ge=1,
        description="Rows of the market that an observation holds: the decision's and those just "
        "before it.",
    )
    by_reference: bool = Field(
        default=False,
        description="Observe the row's number in place of the market's values, for a policy that "
        "holds the market itself.",
    )
    clip: float = Field(
        default=5.0, gt=0, description="Scaled features are clipped to plus or minus this value."
    )
