"""How paper trading runs. In: a form. Out: one frozen `PaperConfig`."""

from pydantic import Field

from ploutos.config import FrozenConfig


class PaperConfig(FrozenConfig):
    """Where paper trades are recorded, how much is replayed, what data are refused.

    Cash, order sizes and costs are those that the policy was trained and validated with.
    """

    replay_sessions: int = Field(
        default=20,
        ge=1,
        le=10_000,
        description="Decisions that a replay takes, one per session, ending at the last bar.",
    )
    account: str = Field(
        default="paper",
        min_length=1,
        max_length=60,
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Name of the paper account in the ledger. Replays have accounts of their own.",
    )
    ledger_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the ledger, an SQLite file. "
        "Empty: ledger.sqlite in the Ploutos home folder.",
    )
    largest_price_ratio: float = Field(
        default=4.0,
        gt=1,
        description="A close this many times above or below the close before it, splits accounted "
        "for, is taken for a data error and the session is refused. A ratio, not a percent.",
    )
