"""Paper trading: a ledger, a simulated broker, one cycle per session, replay.

In: a finished run. Out: decisions, orders, fills and equity in an append-only ledger.
"""

from ploutos.trading.config import PaperConfig
from ploutos.trading.ledger import Ledger
from ploutos.trading.replay import PaperSummary, replay_run
from ploutos.trading.session import SessionSummary, trade_session

__all__ = [
    "Ledger",
    "PaperConfig",
    "PaperSummary",
    "SessionSummary",
    "replay_run",
    "trade_session",
]
