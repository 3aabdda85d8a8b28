"""Which symbols, chosen when. In: a universe file. Out: `Universe`, and a sentence for the report.

A list of symbols that was made after the first bar holds those that survived until then; what was
delisted in between is absent, and results are biased upwards. The date decides, not the intention.
"""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ploutos.config import FrozenConfig
from ploutos.errors import DataError
from ploutos.market.config import Symbol
from ploutos.market.data import MarketData


class Universe(FrozenConfig):
    """Symbols with the day as of which they were chosen."""

    name: str = Field(min_length=1, description="What the symbols are, such as an index.")
    as_of_on: date = Field(description="The day as of which the symbols belong to the universe.")
    symbols: tuple[Symbol, ...] = Field(min_length=1, description="The symbols.")
    source: str = Field(default="", description="Where the list comes from.")


def load_universe(path: Path) -> Universe:
    """Read a universe file: a JSON object with name, as_of_on, symbols and optionally source.

    Raises
    ------
    DataError
        If the file cannot be read, a key is missing or unknown, or a symbol occurs twice.
    """
    try:
        universe = Universe.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(
            f"{path}: expected a JSON object with name, as_of_on (YYYY-MM-DD) and symbols: {error}"
        ) from error
    twice = sorted({one for one in universe.symbols if universe.symbols.count(one) > 1})
    if twice:
        raise DataError(f"{path}: expected each symbol once, received {twice} twice")
    return universe


def describe_choice(data: MarketData, universe: Universe | None, now: datetime) -> dict[str, Any]:
    """Return what the provenance records of the choice of symbols.

    Returns
    -------
    dict[str, Any]
        `universe` (name, as_of_on, source; None without a file), `survivor_biased` and
        `survivor_bias`, one sentence.
    """
    first_on = data.bars["closed_at"].min()
    began = first_on.date() if isinstance(first_on, datetime) else now.date()
    if universe is None:
        return {
            "universe": None,
            "survivor_biased": True,
            "survivor_bias": (
                "The symbols were named by hand, without an as-of date, and their bars begin on "
                f"{began}: they are survivors, and results on them are biased upwards."
            ),
        }
    late = universe.as_of_on > began
    absent = sorted(set(universe.symbols) - set(data.symbols))
    if late:
        consequence = (
            f"after the first bar of {began}: symbols that left before are absent, and results are "
            "biased upwards by survivorship."
        )
    elif absent:
        consequence = (
            f"not after the first bar of {began}, but {', '.join(absent)} could not be fetched or "
            "stopped trading and are absent: results are biased upwards by survivorship."
        )
    else:
        consequence = f"not after the first bar of {began}: the choice is free of survivorship."
    return {
        "universe": universe.model_dump(mode="json", exclude={"symbols"}),
        "survivor_biased": late or bool(absent),
        "survivor_bias": (
            f"The universe {universe.name!r} was chosen as of {universe.as_of_on}, {consequence}"
        ),
    }
