"""Which session may be traded now. In: an instant. Out: the session, and whether it is too late.

A session may be decided on from 19:05 New York time of its day until the next open, when its
orders are filled. Orders that are decided later would be filled at prices that are known.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from ploutos.calendar import NEW_YORK, closes, decision_times, next_session, open_of

SECOND_NS = 1_000_000_000
# Longer than any closure of an exchange since the second world war.
HORIZON = timedelta(days=30)


@dataclass(frozen=True)
class Timing:
    """The newest session that can be decided on, and until when; instants are int64 ns UTC."""

    session: str
    decided_at: int
    next_open_at: int

    def is_late(self, now: int) -> bool:
        """Whether the open that would fill the orders has passed."""
        return now >= self.next_open_at


def sessions_of(closed_at: np.ndarray) -> tuple[str, ...]:
    """Return the exchange day (ISO date, New York) of every close (T,) int64 ns UTC."""
    zone = ZoneInfo(NEW_YORK)
    days = (datetime.fromtimestamp(int(ns) // SECOND_NS, zone).date() for ns in closed_at)
    return tuple(day.isoformat() for day in days)


def timing_of(exchange: str, now: int) -> Timing:
    """Return the newest session whose decision time is not after `now` (int64 ns UTC)."""
    today = datetime.fromtimestamp(now // SECOND_NS, UTC).date()
    table = closes(exchange, today - HORIZON, today)
    decided = decision_times(table["closed_at"].dt.epoch("ns").to_numpy())
    newest = int(np.searchsorted(decided, now, side="right")) - 1
    session = table["session"][newest]
    following = next_session(exchange, session)
    opened_at = int(open_of(exchange, following).timestamp()) * SECOND_NS
    return Timing(session.isoformat(), int(decided[newest]), opened_at)
