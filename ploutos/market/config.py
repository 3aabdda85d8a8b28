"""What to ingest, and from where. In: nothing. Out: `IngestConfig` and one model per source."""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from ploutos.config import FrozenConfig
from ploutos.market.grid import Interval

Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9^][A-Za-z0-9.^=_-]{0,23}$")]
SampleName = Literal["tech-2004", "macro-2014"]
MacroName = Literal["VIX", "TNX", "DXY"]
FredName = Literal["VIX", "TNX"]


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


class NetworkTerms(FrozenConfig):
    """How patiently, and with how many requests at once, a server is asked."""

    threads: int = Field(default=4, ge=1, le=4, description="Parallel requests.")
    attempts: int = Field(default=4, ge=1, le=10, description="Tries per symbol or series.")
    backoff_s: float = Field(
        default=2.0,
        ge=0,
        le=60,
        description="Seconds before the second try; doubles each time, give or take a half.",
    )
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="Seconds per request.")


class YahooSource(FrozenConfig):
    """Bars and macro series from Yahoo Finance, through yfinance."""

    kind: Literal["yahoo"] = Field(default="yahoo", description="Names this source.")
    symbols: tuple[Symbol, ...] = Field(
        default=(), description="Yahoo's symbols to fetch; none takes those of the universe file."
    )
    interval: Interval = Field(
        default="1d",
        description=(
            "Length of a bar. Yahoo keeps 1m bars for 30 days, those up to 30m and of 90m for 60 "
            "days, of 60m (1h) for 730 days; daily and longer ones for ever. Longer ones are made "
            "of daily ones: 5d of five sessions, 3mo of a calendar quarter."
        ),
    )
    start_on: date = Field(default=date(2010, 1, 4), description="First day.")
    end_on: date | None = Field(
        default=None, description="Last day, included; none means the last finished bar."
    )
    macro: tuple[MacroName, ...] = Field(
        default=("VIX", "TNX", "DXY"), description="Macro series to fetch, always by day."
    )
    network: NetworkTerms = Field(default=NetworkTerms(), description="How Yahoo is asked.")
    max_missing_bars: int = Field(
        default=0,
        ge=0,
        description="Bars a symbol may lack inside its history before it fails.",
    )
    max_failed_symbols: int = Field(
        default=0,
        ge=0,
        description=(
            "Symbols that may fail before the whole fetch does; those that fail are left out, or "
            "stay as they were fetched last, and are recorded with the reason."
        ),
    )

    @model_validator(mode="after")
    def _check_days(self) -> "YahooSource":
        _check_order(self.start_on, self.end_on)
        return self


class AlpacaSource(FrozenConfig):
    """Daily bars, splits and dividends from Alpaca; needs the extra `alpaca` and a key.

    The key is read from PLOUTOS_ALPACA_KEY_ID and PLOUTOS_ALPACA_SECRET_KEY.
    """

    kind: Literal["alpaca"] = Field(default="alpaca", description="Names this source.")
    symbols: tuple[Symbol, ...] = Field(
        default=(), description="Alpaca's symbols to fetch; none takes those of the universe file."
    )
    start_on: date = Field(default=date(2016, 1, 4), description="First day.")
    end_on: date | None = Field(
        default=None, description="Last day, included; none means the last finished session."
    )
    feed: Literal["iex", "sip"] = Field(
        default="iex", description="iex: one exchange, free; sip: all exchanges, by subscription."
    )
    url: str | None = Field(
        default=None, description="Address to ask in place of Alpaca's data service."
    )
    network: NetworkTerms = Field(default=NetworkTerms(), description="How Alpaca is asked.")
    max_missing_bars: int = Field(
        default=0,
        ge=0,
        description="Sessions a symbol may lack inside its history before it fails.",
    )
    max_failed_symbols: int = Field(
        default=0,
        ge=0,
        description="Symbols that may fail before the whole fetch does, as with Yahoo.",
    )

    @model_validator(mode="after")
    def _check_days(self) -> "AlpacaSource":
        _check_order(self.start_on, self.end_on)
        return self


class FredMacro(FrozenConfig):
    """Macro series from FRED, the data base of the Federal Reserve Bank of St. Louis.

    VIX is VIXCLS; TNX is DGS10, the ten-year constant maturity, which differs in level from the
    index ^TNX. FRED has no DXY: its dollar indices are other baskets.
    """

    series: tuple[FredName, ...] = Field(
        default=("VIX", "TNX"), min_length=1, description="Macro series to take from FRED."
    )
    start_on: date = Field(default=date(2004, 1, 2), description="First day of observation.")
    url: str = Field(
        default="https://fred.stlouisfed.org",
        description="Address of FRED, or of a server that answers like it.",
    )
    network: NetworkTerms = Field(default=NetworkTerms(), description="How FRED is asked.")


Source = Annotated[
    SampleSource | FilesSource | SyntheticSource | YahooSource | AlpacaSource,
    Field(discriminator="kind"),
]


class QualityConfig(FrozenConfig):
    """Which bars are set aside, and how many at most."""

    max_quarantined_share: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Fraction of a symbol's bars that may be set aside; more, and all is refused.",
    )
    frozen_after_bars: int = Field(
        default=5,
        ge=2,
        description=(
            "So many bars in a row with the same four prices are a frozen feed: the last of them "
            "and those that follow are set aside. Daily and longer bars only."
        ),
    )
    max_jumps: int = Field(
        default=0,
        ge=0,
        description=(
            "Opens that may lie so far from the close before that they look like a split nobody "
            "declared; more, and all is refused. The bars stay as they are."
        ),
    )
    max_ended_symbols: int = Field(
        default=0,
        ge=0,
        description=(
            "Symbols whose bars may end more than 10 bars before those of the others, as after a "
            "delisting; they are left out and recorded. More, and all is refused. Daily and longer "
            "bars only."
        ),
    )


class IngestConfig(FrozenConfig):
    """What the ingest stage does."""

    source: Source = Field(default=SampleSource(), description="Where the data come from.")
    macro: FredMacro | None = Field(
        default=None,
        description="Macro series to take from FRED; the source may not deliver the same ones.",
    )
    symbols: tuple[Symbol, ...] | None = Field(
        default=None, description="Symbols to keep for trading; none keeps all that the source has."
    )
    universe: Path | None = Field(
        default=None,
        description="JSON file with name, as_of_on and symbols, in place of naming symbols here.",
    )
    exchange: str = Field(
        default="XNYS", description="Exchange whose sessions the bars follow (calendar code)."
    )
    quality: QualityConfig = Field(default=QualityConfig(), description="Which bars are set aside.")
    overlap_bars: int = Field(
        default=5,
        ge=1,
        description=(
            "Stored bars that an incremental fetch asks for again, to compare them; at least as "
            "many as make a frozen feed."
        ),
    )
    max_volume_revision: float = Field(
        default=0.0,
        ge=0,
        description=(
            "Fraction by which a stored volume may be corrected later without being refused; "
            "the stored one is kept."
        ),
    )

    @model_validator(mode="after")
    def _check_parts(self) -> "IngestConfig":
        if isinstance(self.source, YahooSource | AlpacaSource) and not (
            self.source.symbols or self.universe
        ):
            raise ValueError(f"the source {self.source.kind} needs symbols or a universe file")
        if self.universe is not None and self.symbols is not None:
            raise ValueError("name the symbols in `symbols` or in the universe file, not in both")
        if self.macro is not None and isinstance(self.source, YahooSource):
            both = sorted(set(self.macro.series) & set(self.source.macro))
            if both:
                raise ValueError(
                    f"the series {both} are asked for from Yahoo and from FRED, which differ in "
                    "level and in hours; take them out of `source.macro` or of `macro.series`"
                )
        return self


def _check_order(start_on: date, end_on: date | None) -> None:
    if end_on is not None and end_on < start_on:
        raise ValueError(f"end_on {end_on} lies before start_on {start_on}")
