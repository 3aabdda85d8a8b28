"""What a panel is. In: nothing. Out: `Panel` (arrays), `PanelMeta` (names), `PanelRef` (a file)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ploutos.config import FrozenConfig

PRICE_FIELDS: tuple[str, ...] = ("open", "high", "low", "close", "volume")


class PanelMeta(FrozenConfig):
    """What the axes of a panel mean and where it comes from."""

    name: str = Field(description="Name of the dataset.")
    symbols: tuple[str, ...] = Field(description="Symbols of axis N, sorted.")
    feature_names: tuple[str, ...] = Field(description="Technical features of axis F.")
    macro_names: tuple[str, ...] = Field(description="Macro features of axis M.")
    units: dict[str, str] = Field(default={}, description="Unit of each feature by its name.")
    reference_names: tuple[str, ...] = Field(
        default=(), description="Benchmark series of axis R; they are never traded."
    )
    catalog_digest: str = Field(description="Digest of the feature definitions.")
    snapshot: str = Field(default="", description="Digest of the market snapshot, if there is one.")
    exchange: str = Field(default="XNYS", description="Exchange whose sessions the rows are.")
    missing_series: tuple[str, ...] = Field(
        default=(), description="Macro series without data; their features are masked."
    )
    survivor_bias: str = Field(
        default="", description="One sentence on how the symbols were chosen, for the report."
    )
    first_row: int = Field(ge=0, description="First row past the longest warm-up of the catalog.")


class PanelRef(FrozenConfig):
    """A panel file by name and content: small, and safe to pass between processes."""

    path: str = Field(description="Absolute path of the Arrow file.")
    digest: str = Field(description="SHA-256 of the file's bytes, 64 hexadecimal digits.")
    n_bytes: int = Field(description="Size of the file in bytes.")
    n_rows: int = Field(description="Number of bars T.")
    n_symbols: int = Field(description="Number of symbols N.")
    n_features: int = Field(description="Number of technical features F.")
    n_macro: int = Field(description="Number of macro features M.")
    first_row: int = Field(description="First row past the longest warm-up.")
    catalog_digest: str = Field(description="Digest of the feature definitions.")


@dataclass(frozen=True, eq=False, slots=True)
class Panel:
    """Read-only arrays over T bars, N symbols, F features, M macro features, R references.

    Attributes
    ----------
    meta
        Names and provenance.
    closed_at
        (T,) int64, nanoseconds UTC, strictly increasing: the close of the bar.
    decided_at
        (T,) int64, nanoseconds UTC, strictly increasing: when a decision about the row is taken;
        everything in the row's features and macro values is known by then.
    features
        (T, N, F) float32, unscaled; NaN = missing (no bar, warm-up, undefined).
    macro
        (T, M) float32, unscaled; NaN = missing (no series, not yet released, too old, warm-up).
    prices
        (T, N, 5) float64: open, high, low, close (quote currency) and volume (shares), as traded;
        NaN where the symbol has no bar.
    split_ratio
        (T, N) float64, new shares per old before the open of the bar; 1 where there is none.
    cash_dividend
        (T, N) float64, per share as traded on the bar; 0 where there is none. Splits and dividends
        of a missing bar stand at the symbol's next present one.
    reference
        (T, R) float64, closes of the benchmark series with dividends reinvested, in the currency
        or points of their first bar; NaN where a series has no bar.
    valid
        (T, N) uint8, 1 where the symbol has a bar and is past its own warm-up.
    macro_valid
        (T, M) uint8, 1 where the macro value is there.
    """

    meta: PanelMeta
    closed_at: NDArray[np.int64]
    decided_at: NDArray[np.int64]
    features: NDArray[np.float32]
    macro: NDArray[np.float32]
    prices: NDArray[np.float64]
    split_ratio: NDArray[np.float64]
    cash_dividend: NDArray[np.float64]
    reference: NDArray[np.float64]
    valid: NDArray[np.uint8]
    macro_valid: NDArray[np.uint8]

    @property
    def n_rows(self) -> int:
        """Number of bars T."""
        return len(self.closed_at)

    @property
    def n_symbols(self) -> int:
        """Number of symbols N."""
        return len(self.meta.symbols)

    @property
    def n_features(self) -> int:
        """Number of technical features F."""
        return len(self.meta.feature_names)

    @property
    def n_macro(self) -> int:
        """Number of macro features M."""
        return len(self.meta.macro_names)
