"""Orders, fills, costs and the books: pure compiled functions over whole micro-units.

In: a market row, an account, an action. Out: the account after it. Training, validation and paper
trading call these same functions; there is no second implementation.
"""

from ploutos.portfolio.config import (
    CostConfig,
    MarginConfig,
    OrderActions,
    PortfolioConfig,
    Rules,
    WeightActions,
    rules_of,
)
from ploutos.portfolio.fills import Trades, fill_orders
from ploutos.portfolio.orders import BUY, HOLD, SELL, Account, plan_orders

__all__ = [
    "BUY",
    "HOLD",
    "SELL",
    "Account",
    "CostConfig",
    "MarginConfig",
    "OrderActions",
    "PortfolioConfig",
    "Rules",
    "Trades",
    "WeightActions",
    "fill_orders",
    "plan_orders",
    "rules_of",
]
