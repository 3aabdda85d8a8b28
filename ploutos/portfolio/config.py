"""What an account may do and what it pays. In: a form. Out: `Rules`, the kernel's numbers."""

import math
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from ploutos.config import FrozenConfig

MICRO = 1_000_000


class OrderActions(FrozenConfig):
    """One order per symbol: hold, buy or sell."""

    kind: Literal["orders"] = Field(
        default="orders", description="Names this kind of action: orders."
    )
    buy_fraction: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="Value that one buy action adds to a symbol, as a fraction of equity.",
    )


class WeightActions(FrozenConfig):
    """One target weight per symbol, as a fraction of equity; the rest stays in cash."""

    kind: Literal["weights"] = Field(
        default="weights", description="Names this kind of action: target weights."
    )


ActionConfig = Annotated[OrderActions | WeightActions, Field(discriminator="kind")]


class CostConfig(FrozenConfig):
    """What a trade costs."""

    commission_bps: float = Field(
        default=1.0, ge=0, le=1000, description="Commission, in basis points of the traded value."
    )
    commission_per_share_usd: float = Field(
        default=0.0, ge=0, le=10, description="Commission per share, in US dollars."
    )
    commission_per_order_usd: float = Field(
        default=0.0, ge=0, description="Commission of each filled order, in US dollars."
    )
    minimum_commission_usd: float = Field(
        default=0.0, ge=0, description="Least commission of one filled order, in US dollars."
    )
    half_spread_bps: float = Field(
        default=2.0,
        ge=0,
        le=1000,
        description="Half the bid-ask spread plus slippage, in basis points of the price: "
        "a buy fills this much above the open, a sell this much below.",
    )
    impact_bps: float = Field(
        default=100.0,
        ge=0,
        le=5000,
        description="Price impact of an order as large as the trailing median volume of a bar, in "
        "basis points of the price; it grows with the square root of the order's share of it.",
    )
    maximum_participation: float | None = Field(
        default=0.1,
        gt=0,
        le=1,
        description="An order fills up to this fraction of the trailing median volume; the rest "
        "lapses. Without it every order fills in full.",
    )
    us_sell_fees: bool = Field(
        default=True,
        description="Charge the SEC's fee and FINRA's trading activity fee on sells, at the rates "
        "of the date; only on exchanges of the United States.",
    )


class MarginConfig(FrozenConfig):
    """A margin account: it may be short, and its cash may be negative."""

    borrow_fee: float = Field(
        default=0.01,
        ge=0,
        le=5,
        description="Fee for borrowed shares, a fraction of their value per year.",
    )
    loan_rate: float = Field(
        default=0.06,
        ge=0,
        le=5,
        description="Interest on negative cash, a fraction per year.",
    )
    maintenance: float = Field(
        default=0.3,
        gt=0,
        le=1,
        description="If equity at a close is below this fraction of all positions' value, long and "
        "short, everything is closed at the next open. FINRA rule 4210 asks for 0.25 of long and "
        "0.3 of short positions.",
    )


class PortfolioConfig(FrozenConfig):
    """How an account trades: its cash, its actions, its limits, its rules and its costs."""

    initial_cash_usd: float = Field(
        default=100_000.0,
        gt=0,
        le=1e8,
        description="Cash at the start, in US dollars.",
    )
    actions: ActionConfig = Field(
        default=OrderActions(), description="What an action says of each symbol."
    )
    maximum_weight: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest position in one symbol after an order, as a fraction of equity.",
    )
    maximum_gross: float = Field(
        default=1.0,
        gt=0,
        le=2,
        description="Largest value of all positions after the orders, long plus short, as a "
        "fraction of equity; above 1 only with margin (US Regulation T allows 2).",
    )
    minimum_order_usd: float = Field(
        default=50.0,
        ge=0,
        description="An order worth less than this many US dollars is not sent, unless it closes "
        "a position.",
    )
    lot_shares: int | None = Field(
        default=None,
        ge=1,
        description="Orders that open or add are for multiples of this many shares; without it, "
        "for fractions of a share.",
    )
    cash_interest: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Interest on free cash, a fraction per year, paid for every day, weekends too.",
    )
    minimum_holding_bars: int = Field(
        default=0,
        ge=0,
        description="A position is kept for at least this many bars, unless a stop closes it.",
    )
    maximum_orders: int | None = Field(
        default=None,
        ge=1,
        description="Most orders of one decision: those of the stops first, then those that close "
        "or reduce, then the others, each in the order of the symbols. One that turns out too "
        "small to be sent has used its place.",
    )
    stop_loss: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="A position that has lost this fraction of its average entry price at a close "
        "is closed at the next open.",
    )
    take_profit: float | None = Field(
        default=None,
        gt=0,
        description="A position that has gained this fraction of its average entry price at a "
        "close is closed at the next open.",
    )
    drawdown_stop: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="When equity at a close is this fraction below its peak, everything is closed "
        "at the next open, and the account trades no more.",
    )
    margin: MarginConfig | None = Field(
        default=None,
        description="Margin and short selling; without it the account is long only and pays cash.",
    )
    costs: CostConfig = Field(default=CostConfig(), description="What a trade costs.")

    @model_validator(mode="after")
    def _check_gross(self) -> Self:
        if self.margin is None and self.maximum_gross > 1:
            raise ValueError(
                f"expected maximum_gross of at most 1 without margin, received "
                f"{self.maximum_gross}. Configure margin, or lower it."
            )
        return self


class Rules(NamedTuple):
    """A `PortfolioConfig` in the kernel's units: fractions and micro-units; infinity = no limit.

    `by_weight`, `margin` and `us_sell_fees` are 1 for yes and 0 for no.
    """

    by_weight: float
    buy_fraction: float
    maximum_weight: float
    maximum_gross: float
    minimum_order_micro: float
    lot_micro: float
    cash_interest: float
    minimum_holding_bars: float
    maximum_orders: float
    stop_loss: float
    take_profit: float
    drawdown_stop: float
    margin: float
    borrow_fee: float
    loan_rate: float
    maintenance: float
    commission: float
    commission_per_share: float
    commission_per_order_micro: float
    minimum_commission_micro: float
    half_spread: float
    impact: float
    maximum_participation: float
    us_sell_fees: float


def rules_of(config: PortfolioConfig) -> Rules:
    """Convert the form into the kernel's units (bps -> fraction, USD -> micro-USD)."""
    actions, costs = config.actions, config.costs
    margin = config.margin or MarginConfig(borrow_fee=0, loan_rate=0)
    return Rules(
        by_weight=float(isinstance(actions, WeightActions)),
        buy_fraction=actions.buy_fraction if isinstance(actions, OrderActions) else 0.0,
        maximum_weight=config.maximum_weight,
        maximum_gross=config.maximum_gross,
        minimum_order_micro=_micro(config.minimum_order_usd),
        lot_micro=_micro(config.lot_shares) if config.lot_shares is not None else 1.0,
        cash_interest=config.cash_interest,
        minimum_holding_bars=float(config.minimum_holding_bars),
        maximum_orders=_or_infinity(config.maximum_orders),
        stop_loss=_or_infinity(config.stop_loss),
        take_profit=_or_infinity(config.take_profit),
        drawdown_stop=_or_infinity(config.drawdown_stop),
        margin=float(config.margin is not None),
        borrow_fee=margin.borrow_fee,
        loan_rate=margin.loan_rate,
        maintenance=margin.maintenance,
        commission=costs.commission_bps * 1e-4,
        # US dollars per share are micro-dollars per micro-share.
        commission_per_share=costs.commission_per_share_usd,
        commission_per_order_micro=_micro(costs.commission_per_order_usd),
        minimum_commission_micro=_micro(costs.minimum_commission_usd),
        half_spread=costs.half_spread_bps * 1e-4,
        impact=costs.impact_bps * 1e-4,
        maximum_participation=_or_infinity(costs.maximum_participation),
        us_sell_fees=float(costs.us_sell_fees),
    )


def initial_cash_micro(config: PortfolioConfig) -> float:
    """Return the starting cash in micro-USD, an integer in float64."""
    return _micro(config.initial_cash_usd)


def _micro(value: float) -> float:
    return float(round(value * MICRO))


def _or_infinity(limit: float | None) -> float:
    return math.inf if limit is None else float(limit)
