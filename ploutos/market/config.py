"""What to ingest, and from where. In: nothing. Out: `IngestConfig` and one model per source."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ploutos.config import FrozenConfig

Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9^][A-Za-z0-9.^=_-]{0,23}$")]
SampleName = Literal["tech-2004", "macro-2014"]
MacroName = Literal["VIX", "TNX", "DXY"]


class SampleSource(FrozenConfig):
    """A data set that travels with the package."""

    kind: Literal["sample"] = Field(default="sample", description="Names this source.")
    name: SampleName = Field(
        default="tech-2004",
        description=(
            "tech-2004: AAPL, GOOG, IBM, MSFT, 2004 to 2013, no VIX. "
            "macro-2014: GOOGL, MSFT, 2014 to 2017, with VIX, and two index series as reference."
        ),
    )


class FilesSource(FrozenConfig):
    """A folder of the user's own daily bars, one CSV or Parquet file per symbol."""

    kind: Literal["files"] = Field(default="files", description="Names this source.")
    folder: Path = Field(
        description=(
            "Folder with one file per symbol (SYMBOL.csv or SYMBOL.parquet) with the columns date, "
            "open, high, low, close, volume (prices and shares as traded) and optionally "
            "split_ratio, cash_dividend; and optionally macro.csv or macro.parquet with the "
            "columns series, value and either date or released_at."
        )
    )
    references: tuple[Symbol, ...] = Field(
        default=(), description="Symbols that serve as benchmark only and are never traded."
    )


class PlantedSignal(FrozenConfig):
    """A tradable regularity, with a known optimum, hidden in the synthetic market."""

    drift_per_bar: float = Field(
        default=0.004,
        gt=0,
        le=0.1,
        description="Log return added to the next bar after an up state, taken off after a down.",
    )
    persistence: float = Field(
        default=0.9,
        ge=0,
        lt=1,
        description="Probability that the state of the next bar is the state of this one.",
    )


class SyntheticSource(FrozenConfig):
    """A seeded market: a driftless random walk, or one with a planted signal."""

    kind: Literal["synthetic"] = Field(default="synthetic", description="Names this source.")
    seed: int = Field(default=0, ge=0, description="Seed of the random generator.")
    symbols: tuple[Symbol, ...] = Field(
        default=("SYN1", "SYN2"), min_length=1, description="Symbols to generate."
    )
    n_bars: int = Field(default=1500, ge=2, le=15_000, description="Sessions per symbol, in bars.")
    first_on: date = Field(default=date(2005, 1, 3), description="No bar lies before this day.")
    annual_drift: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="Logarithm of the expected price growth in 252 bars; 0 is a fair game.",
    )
    annual_volatility: float = Field(
        default=0.2, ge=0, le=2, description="Standard deviation of the log return of 252 bars."
    )
    signal: PlantedSignal | None = Field(
        default=None, description="The planted signal; none by default."
    )


class YahooSource(FrozenConfig):
    """Daily bars and macro series from Yahoo Finance, through yfinance."""

    kind: Literal["yahoo"] = Field(default="yahoo", description="Names this source.")
    symbols: tuple[Symbol, ...] = Field(min_length=1, description="Yahoo's symbols to fetch.")
    start_on: date = Field(default=date(2010, 1, 4), description="First day.")
    end_on: date | None = Field(
        default=None, description="Last day, included; none means the last finished session."
    )
    macro: tuple[MacroName, ...] = Field(
        default=("VIX", "TNX", "DXY"), description="Macro series to fetch."
    )
    threads: int = Field(default=4, ge=1, le=4, description="Parallel requests.")
    attempts: int = Field(default=4, ge=1, le=10, description="Tries per symbol.")
    backoff_s: float = Field(
        default=2.0, ge=0, le=60, description="Seconds before the second try; doubles each time."
    )
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="Seconds per request.")
    max_missing_sessions: int = Field(
        default=0,
        ge=0,
        description="Sessions a symbol may lack inside its history before it fails.",
    )

    @model_validator(mode="after")
    def _check_days(self) -> "YahooSource":
        if self.end_on is not None and self.end_on < self.start_on:
            raise ValueError(f"end_on {self.end_on} lies before start_on {self.start_on}")
        return self


Source = Annotated[
    SampleSource | FilesSource | SyntheticSource | YahooSource, Field(discriminator="kind")
]


class IngestConfig(FrozenConfig):
    """What the ingest stage does."""

    source: Source = Field(default=SampleSource(), description="Where the data come from.")
    symbols: tuple[Symbol, ...] | None = Field(
        default=None, description="Symbols to keep for trading; none keeps all that the source has."
    )
    exchange: str = Field(
        default="XNYS", description="Exchange whose sessions the bars follow (calendar code)."
    )
