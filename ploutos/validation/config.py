"""What the gate asks for. In: the user's thresholds. Out: one frozen `ValidationConfig`."""

from pydantic import Field

from ploutos.config import FrozenConfig


class ValidationConfig(FrozenConfig):
    """Thresholds of the verdict. Fractions are fractions (0.3 is 30 percent)."""

    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1.0,
        description="Confidence of every one-sided bound and of the track record, a probability.",
    )
    bootstrap_draws: int = Field(
        default=2000,
        ge=200,
        le=100_000,
        description="Resampled histories behind each interval, a count.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the resampling, an integer.")
    minimum_excess: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Log growth per year by which every baseline must be beaten, a fraction.",
    )
    minimum_deflated_sharpe: float = Field(
        default=0.95,
        gt=0.0,
        lt=1.0,
        description="Least deflated Sharpe ratio, a probability.",
    )
    max_drawdown: float = Field(
        default=0.35,
        gt=0.0,
        le=1.0,
        description="Largest tolerated loss from a peak, a fraction of the peak.",
    )
    minimum_test_bars: int = Field(
        default=252,
        ge=2,
        description="Least number of out-of-sample bars, a count.",
    )
    worthwhile_sharpe: float = Field(
        default=1.0,
        gt=0.0,
        description=(
            "Sharpe ratio per year that the sample must be long enough to tell from zero; a "
            "higher measured one needs fewer bars."
        ),
    )
    risk_free_per_year: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Risk-free rate in every Sharpe and Sortino ratio, a fraction per year.",
    )
