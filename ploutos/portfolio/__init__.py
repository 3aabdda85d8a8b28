"""Orders, fills, costs and the books: pure compiled functions over integer micro-units.

In: a market row, an account, an action. Out: the account after it. Training, validation and paper
trading call these same functions; there is no second implementation.
"""

from ploutos.portfolio.accounting import apply_corporate_actions, equity_micro, fill_orders
from ploutos.portfolio.config import CostConfig, PortfolioConfig, Rules, rules_of
from ploutos.portfolio.orders import BUY, HOLD, SELL, plan_orders

__all__ = [
    "BUY",
    "HOLD",
    "SELL",
    "CostConfig",
    "PortfolioConfig",
    "Rules",
    "apply_corporate_actions",
    "equity_micro",
    "fill_orders",
    "plan_orders",
    "rules_of",
]
