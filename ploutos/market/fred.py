"""Macro series from FRED. In: series, a first day. Out: values by release, or an error.

FRED's CSV endpoint answers `observation_date,<id>` and one line a day; a day without a value is
empty or a dot. An observation is not public on its own day: each series has a release rule. A
later revision replaces a value on the server; a stored one is compared, never overwritten.
"""

import time as clock
from dataclasses import dataclass
from datetime import date, time, timedelta

import polars as pl
import requests

from ploutos.calendar import NEW_YORK, instants
from ploutos.errors import SourceError
from ploutos.market.asking import ask_again, ask_each, check_failures
from ploutos.market.config import FredMacro
from ploutos.market.data import FetchTerms
from ploutos.market.federal_days import next_business_day
from ploutos.market.schema import MACRO_TYPES, empty_macro

PATH = "/graph/fredgraph.csv"
# An observation is released some days after its own day: ask for so much more.
LONGEST_DELAY = timedelta(days=7)
# Small, so that the deadline is looked at often.
CHUNK_BYTES = 1024


@dataclass(frozen=True)
class FredSeries:
    """A series of FRED and the New York time of its release on the next business day."""

    id: str
    released: time


# FRED shows the CBOE's close of a day on the next morning; the H.15 release, which holds the
# Treasury yields, is posted at 16:15 on the next business day.
# Source: the pages of VIXCLS and DGS10 at fred.stlouisfed.org; federalreserve.gov/releases/h15.
FRED_SERIES: dict[str, FredSeries] = {
    "VIX": FredSeries("VIXCLS", time(10, 0)),
    "TNX": FredSeries("DGS10", time(17, 0)),
}


class BrokenAnswerError(ValueError):
    """An answer of FRED that is not the table asked for; it may pass."""


def fetch_fred(config: FredMacro, terms: FetchTerms) -> pl.DataFrame:
    """Fetch macro series, as far as they are released at `terms.now`.

    Returns
    -------
    pl.DataFrame
        The columns of `MACRO_TYPES`, one row per released value; null values are left out.

    Raises
    ------
    SourceError
        If a series is unknown, empty, or still fails after the last attempt.
    """
    series = tuple(dict.fromkeys(config.series))
    answers, failed = ask_each(series, lambda one: _series_of(one, config, terms), config.network)
    check_failures(failed, len(series), 0, "FRED")
    return pl.concat([empty_macro(), *answers.values()])


def _series_of(series: str, config: FredMacro, terms: FetchTerms) -> pl.DataFrame:
    listed = FRED_SERIES[series]
    first_on = terms.ask_series_from(series, config.start_on) - LONGEST_DELAY
    first_on = max(config.start_on, first_on)
    observed = ask_again(
        lambda: _parse(_download(listed.id, first_on, config, terms), listed.id),
        listed.id,
        config.network,
        (requests.RequestException, BrokenAnswerError),
    )
    observed = observed.filter(pl.col("date") >= first_on)
    released_on = pl.Series([next_business_day(day) for day in observed["date"]], dtype=pl.Date)
    known = pl.DataFrame(
        {
            "series": pl.Series([series] * observed.height, dtype=pl.String),
            "released_at": instants(released_on, listed.released, NEW_YORK),
            "value": observed["value"],
        },
        schema=MACRO_TYPES,
    )
    # Two observations are released together where a day between was no business day.
    known = known.unique("released_at", keep="last", maintain_order=True)
    known = known.filter(pl.col("released_at") <= terms.now)
    if known.is_empty():
        raise SourceError(f"{listed.id}: FRED has no value released since {first_on}")
    return known


def _download(identifier: str, first_on: date, config: FredMacro, terms: FetchTerms) -> str:
    """Return the answer's text; the timeout holds for all of it, however slowly it drips."""
    session = terms.session or requests
    deadline = clock.monotonic() + config.network.timeout_s
    with session.get(
        f"{config.url.rstrip('/')}{PATH}",
        params={"id": identifier, "cosd": first_on.isoformat()},
        timeout=config.network.timeout_s,
        stream=True,
    ) as answer:
        if answer.status_code == requests.codes.not_found:
            raise SourceError(f"{identifier}: unknown to FRED")
        answer.raise_for_status()
        body = bytearray()
        for chunk in answer.iter_content(CHUNK_BYTES):
            body += chunk
            if clock.monotonic() > deadline:
                raise requests.Timeout(f"no whole answer within {config.network.timeout_s} s")
    return body.decode("utf-8", errors="replace")


def _parse(text: str, identifier: str) -> pl.DataFrame:
    """Return `date`, `value` of the days that have one; anything but the whole table is refused."""
    lines = text.splitlines()
    if not lines or lines[0].split(",")[-1].strip() != identifier or not text.endswith("\n"):
        raise BrokenAnswerError(
            f"expected a whole table 'observation_date,{identifier}', received {text[:60]!r} ... "
            f"{text[-20:]!r}"
        )
    cells = [line.split(",") for line in lines[1:]]
    try:
        rows = [
            (date.fromisoformat(day), float(value))
            for day, value in cells
            if value.strip() not in {"", "."}
        ]
    except ValueError as error:
        raise BrokenAnswerError(f"expected a date and a number in each line: {error}") from error
    return pl.DataFrame(rows, schema={"date": pl.Date, "value": pl.Float64}, orient="row")
