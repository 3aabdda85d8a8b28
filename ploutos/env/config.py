"""What an episode is. In: a form. Out: frozen numbers for the kernel."""

from pydantic import Field

from ploutos.config import FrozenConfig
from ploutos.portfolio.config import PortfolioConfig


class EnvConfig(FrozenConfig):
    """One trading episode: the account, its length, its reward."""

    portfolio: PortfolioConfig = Field(
        default=PortfolioConfig(), description="Cash, order sizes, limits and costs."
    )
    episode_bars: int = Field(
        default=126, ge=2, description="Length of a training episode, in bars (decisions)."
    )
    reward_scale: float = Field(
        default=100.0,
        gt=0,
        description="The reward is this number times the log return of equity over the step; "
        "100 makes it read like percent.",
    )
    ruin_fraction: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="The episode terminates when equity falls to this fraction of initial cash.",
    )
    clip: float = Field(
        default=5.0, gt=0, description="Scaled features are clipped to plus or minus this value."
    )
