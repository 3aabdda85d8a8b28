"""What an account may do and what it pays. In: a form. Out: `Rules`, the kernel's numbers."""

from typing import NamedTuple

from pydantic import Field

from ploutos.config import FrozenConfig

MICRO = 1_000_000


class CostConfig(FrozenConfig):
    """What a trade costs."""

    commission_bps: float = Field(
        default=1.0, ge=0, le=1000, description="Commission, in basis points of the traded value."
    )
    half_spread_bps: float = Field(
        default=2.0,
        ge=0,
        le=1000,
        description="Half the bid-ask spread plus slippage, in basis points of the price: "
        "a buy fills this much above the open, a sell this much below.",
    )
    minimum_commission_usd: float = Field(
        default=0.0, ge=0, description="Least commission of one filled order, in US dollars."
    )


class PortfolioConfig(FrozenConfig):
    """How an account trades: its cash, its sizes, its limits and its costs. Long only."""

    initial_cash_usd: float = Field(
        default=100_000.0,
        gt=0,
        le=1e9,
        description="Cash at the start, in US dollars.",
    )
    buy_fraction: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Value that one buy action adds to a symbol, as a fraction of equity.",
    )
    maximum_weight: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest position in one symbol after a buy, as a fraction of equity.",
    )
    minimum_order_usd: float = Field(
        default=50.0,
        ge=0,
        description="A buy worth less than this many US dollars is not sent.",
    )
    costs: CostConfig = Field(default=CostConfig(), description="What a trade costs.")


class Rules(NamedTuple):
    """A `PortfolioConfig` in the kernel's units: fractions and integer micro-units."""

    buy_fraction: float
    maximum_weight: float
    minimum_order_micro: int
    commission: float
    half_spread: float
    minimum_commission_micro: int


def rules_of(config: PortfolioConfig) -> Rules:
    """Convert the form into the kernel's units (bps -> fraction, USD -> micro-USD)."""
    return Rules(
        buy_fraction=config.buy_fraction,
        maximum_weight=config.maximum_weight,
        minimum_order_micro=round(config.minimum_order_usd * MICRO),
        commission=config.costs.commission_bps * 1e-4,
        half_spread=config.costs.half_spread_bps * 1e-4,
        minimum_commission_micro=round(config.costs.minimum_commission_usd * MICRO),
    )


def initial_cash_micro(config: PortfolioConfig) -> int:
    """Return the starting cash in micro-USD."""
    return round(config.initial_cash_usd * MICRO)
