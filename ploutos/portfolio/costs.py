"""What a fill costs. In: an order's size, a price, rates. Out: a price per share, a fee.

| cost | formula | source |
|---|---|---|
| spread | half_spread * price | |
| impact | impact * sqrt(size / median volume) * price | square-root law, e.g. Toth et al. 2011, "Anomalous price impact and the critical nature of liquidity in financial markets" |
| commission | max(rate * value + per_share * size + per_order, minimum) | |
| SEC fee, FINRA TAF | on sells only, at the rates of the date | `ploutos.portfolio.fees` |
"""  # noqa: E501 - a table row cannot be broken

from typing import NamedTuple

import numpy as np

from ploutos.compiled import compiled
from ploutos.portfolio.accounting import round_micro
from ploutos.portfolio.config import MICRO, Rules

# However large an order: a model of impact says nothing beyond this.
LARGEST_SLIPPAGE = 0.5


class SellFees(NamedTuple):
    """A date's fees: fraction of the value sold, US dollars per share, and the latter's maximum."""

    sec: float
    taf: float
    taf_maximum_usd: float


@compiled
def fillable_micro(size_micro: float, volume: float, rules: Rules) -> float:
    """Return how much of an order of `size_micro` a bar fills, micro-shares.

    Parameters
    ----------
    size_micro : float
        Order, micro-shares, unsigned.
    volume : float
        Trailing median volume of a bar, shares; 0 = unknown.
    rules : Rules
        Participation cap.
    """
    if rules.maximum_participation == np.inf:
        return size_micro
    return min(size_micro, np.floor(rules.maximum_participation * volume * MICRO))


@compiled
def fill_price(price: float, size_micro: float, volume: float, side: float, rules: Rules) -> float:
    """Return the price per share of a fill of `size_micro`; side is 1 for a buy, -1 for a sell."""
    known = volume if volume > 0.0 else np.inf
    slippage = rules.half_spread + rules.impact * np.sqrt(size_micro / (known * MICRO))
    return price * (1.0 + side * min(slippage, LARGEST_SLIPPAGE))


@compiled
def fee_micro(
    size_micro: float, value_micro: float, side: float, fees: SellFees, rules: Rules
) -> float:
    """Return commission and sell fees of one filled order, micro-USD; 0 if nothing was filled.

    Parameters
    ----------
    size_micro, value_micro : float
        Micro-shares and micro-USD, unsigned.
    side : float
        1 for a buy, -1 for a sell.
    fees : SellFees
        The date's.
    rules : Rules
        Commission; without margin, a fee on a sell is at most what the sell brings.
    """
    proportional = value_micro * rules.commission + size_micro * rules.commission_per_share
    fee = round_micro(proportional + rules.commission_per_order_micro)
    fee = max(fee, rules.minimum_commission_micro)
    sells = 1.0 if side < 0.0 else 0.0
    if rules.us_sell_fees != 0.0:
        activity = min(size_micro * fees.taf, fees.taf_maximum_usd * MICRO)
        fee += sells * (round_micro(value_micro * fees.sec) + round_micro(activity))
    if rules.margin == 0.0:
        fee = min(fee, value_micro) if side < 0.0 else fee
    return fee * (1.0 if size_micro > 0.0 else 0.0)
