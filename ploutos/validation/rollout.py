"""What a policy earned. In: equity, weights and costs of every decision. Out: one `Rollout`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ploutos.errors import ValidationError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

COMMITTEE = "committee"
CASH = "cash"
BUY_AND_HOLD = "equal-weight buy-and-hold"


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One account over R decisions; row 0 is the start, before any fill.

    Attributes
    ----------
    name : str
        What was rolled out, e.g. "committee", "PPO/seed0", "cash".
    closed_at : (R+1,) int64
        Close of each row, nanoseconds since the epoch, UTC.
    equity_usd : (R+1,) float64
        Cash plus positions at the close; finite and above zero.
    weights : (R+1, N) float64
        Position value over equity at the close; negative for a short position.
    turnover : (R,) float64
        Traded notional (buys plus sells) over the equity before the fills.
    cost_usd : (R,) float64
        Commission, sell fees, spread and market impact paid; interest is no cost.
    fold : (R,) int64
        Index of the test fold of the decision row.
    """

    name: str
    closed_at: IntArray
    equity_usd: FloatArray
    weights: FloatArray
    turnover: FloatArray
    cost_usd: FloatArray
    fold: IntArray

    def __post_init__(self) -> None:
        n_rows = self.equity_usd.shape[0]
        expected = {
            "closed_at": n_rows,
            "weights": n_rows,
            "turnover": n_rows - 1,
            "cost_usd": n_rows - 1,
            "fold": n_rows - 1,
        }
        for field, length in expected.items():
            received = getattr(self, field).shape[0]
            if received != length:
                raise ValidationError(
                    f"rollout {self.name!r}: expected {length} rows of {field} for {n_rows} rows "
                    f"of equity_usd, received {received}."
                )
        bad = np.flatnonzero(~(np.isfinite(self.equity_usd) & (self.equity_usd > 0)))
        if bad.size:
            raise ValidationError(
                f"rollout {self.name!r}: expected finite equity above zero, received "
                f"{self.equity_usd[bad[0]]} at row {bad[0]}."
            )

    @property
    def returns(self) -> FloatArray:
        """Simple return of each decision's bar, (R,) float64, a fraction."""
        return self.equity_usd[1:] / self.equity_usd[:-1] - 1.0
