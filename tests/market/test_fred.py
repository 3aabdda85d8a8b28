from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from ploutos.errors import DataError, SourceError
from ploutos.market import IngestConfig, fetch
from ploutos.market.config import FredMacro, SampleSource, YahooSource
from ploutos.market.data import FetchTerms, MarketData
from ploutos.market.fred import fetch_fred
from ploutos.market.schema import empty_bars
from tests.market.frames import bars
from tests.market.table_server import Query, Reply, TableServer, running

# As FRED publishes them; 2013-03-29 was Good Friday, a business day without a VIX.
OBSERVED = {
    "VIXCLS": ("2013-02-28,15.51", "2013-03-01,15.36", "2013-03-04,14.01", "2013-03-29,"),
    "DGS10": ("2013-02-28,1.89", "2013-03-01,1.86", "2013-03-04,.", "2013-03-05,1.90"),
}
NOW = datetime(2013, 4, 10, tzinfo=UTC)
PATH = "/graph/fredgraph.csv"


def table(_path: str, query: Query) -> Reply:
    name = query["id"]
    if name not in OBSERVED:
        return 404, "text/html", "<html>not found</html>"
    kept = [line for line in OBSERVED[name] if line >= query["cosd"]]
    return 200, "text/csv", "\n".join([f"observation_date,{name}", *kept]) + "\n"


@pytest.fixture
def fred(home: Path) -> Iterator[TableServer]:
    with running() as server:
        server.answer = table
        yield server


def config(server: TableServer, **values) -> FredMacro:
    network = {"attempts": 3, "backoff_s": 0.01} | values.pop("network", {})
    return FredMacro.model_validate(
        {"url": server.url, "start_on": date(2013, 2, 1), "network": network} | values
    )


def load(server: TableServer, now: datetime = NOW, **values) -> pl.DataFrame:
    return fetch_fred(config(server, **values), FetchTerms("XNYS", now))


def test_a_value_is_released_on_the_next_business_day(fred: TableServer):
    macro = load(fred)
    released = {
        name: list(zip(rows["released_at"], rows["value"], strict=True))
        for (name,), rows in macro.group_by("series")
    }
    assert released["VIX"] == [
        (datetime(2013, 3, 1, 15, 0, tzinfo=UTC), 15.51),  # 10:00 New York
        (datetime(2013, 3, 4, 15, 0, tzinfo=UTC), 15.36),  # Friday's value on Monday
        (datetime(2013, 3, 5, 15, 0, tzinfo=UTC), 14.01),
    ]
    assert released["TNX"] == [
        (datetime(2013, 3, 1, 22, 0, tzinfo=UTC), 1.89),  # 17:00 New York
        (datetime(2013, 3, 4, 22, 0, tzinfo=UTC), 1.86),
        (datetime(2013, 3, 6, 22, 0, tzinfo=UTC), 1.90),
    ]


def test_what_is_not_released_yet_is_not_known(fred: TableServer):
    macro = load(fred, now=datetime(2013, 3, 4, 21, 59, tzinfo=UTC))
    assert macro.filter(pl.col("series") == "TNX")["value"].to_list() == [1.89]
    assert macro.filter(pl.col("series") == "VIX")["value"].to_list() == [15.51, 15.36]


@pytest.mark.parametrize(
    "trouble",
    [
        (429, "text/plain", "slow down"),
        (503, "text/plain", ""),
        (200, "text/html", "<html>sorry</html>"),
        (200, "text/csv", ""),
        (200, "text/csv", "observation_date,DGS10\n2013-02-28,15.51\n"),  # another series
        (200, "text/csv", "observation_date,VIXCLS\n2013-02-28,15.51\n2013-03-0"),  # cut off
        (200, "text/csv", "observation_date,VIXCLS\n2013-02-28,fifteen\n"),
    ],
    ids=["429", "503", "HTML", "empty", "another series", "truncated", "no number"],
)
def test_a_passing_trouble_is_asked_again_and_a_lasting_one_refused(
    fred: TableServer, trouble: Reply
):
    fred.troubles = [trouble]
    assert load(fred, series=("VIX",)).height == 3
    fred.troubles = [trouble] * 50
    with pytest.raises(SourceError, match="VIXCLS: 3 attempts failed"):
        load(fred, series=("VIX",))
    assert len(fred.troubles) == 50 - 3


def test_an_answer_shorter_than_it_says_is_refused(fred: TableServer):
    fred.claim_more_bytes = 100
    with pytest.raises(SourceError, match="VIXCLS: 3 attempts failed"):
        load(fred, series=("VIX",))


def test_an_answer_that_drips_is_given_up(fred: TableServer):
    lines = [f"{day}," for day in pl.date_range(date(2013, 2, 1), NOW.date(), eager=True)]
    fred.answer = lambda _path, _query: (
        200,
        "text/csv",
        "\n".join(["observation_date,VIXCLS", *lines * 3]) + "\n",
    )
    fred.drip_s = 0.05
    with pytest.raises(SourceError, match="no whole answer within"):
        load(fred, series=("VIX",), network={"timeout_s": 0.4, "attempts": 1})


def test_an_answer_without_a_value_is_refused(fred: TableServer):
    with pytest.raises(SourceError, match="VIXCLS: FRED has no value released since"):
        load(fred, now=datetime(2013, 2, 28, tzinfo=UTC))


def test_a_second_fetch_asks_only_for_what_is_new(fred: TableServer):
    first = load(fred, now=datetime(2013, 3, 4, 23, tzinfo=UTC))
    earlier = MarketData("x", bars(), first, empty_bars())
    fred.asked.clear()
    terms = FetchTerms("XNYS", NOW, earlier=earlier, overlap_bars=1)
    newer = fetch_fred(config(fred, start_on=date(2012, 1, 3)), terms)
    assert {query["cosd"] for query in fred.queries()[PATH]} == {"2013-02-25"}
    assert newer.height > 0


def test_the_macro_series_of_fred_join_those_of_the_source(fred: TableServer):
    # The sample of 2004 has TNX and DXY; its VIX is missing.
    data = fetch(IngestConfig(macro=config(fred, series=("VIX",))), now=NOW)
    assert data.missing_series == ()
    assert data.macro.filter(pl.col("series") == "VIX").height == 3
    assert data.provenance["macro_sources"] == {"VIX": "FRED VIXCLS"}


def test_a_series_is_never_taken_from_two_sources(fred: TableServer):
    with pytest.raises(DataError, match=r"\['TNX', 'VIX'\].*one source"):
        fetch(IngestConfig(source=SampleSource(name="macro-2014"), macro=config(fred)), now=NOW)
    with pytest.raises(ValidationError, match="Yahoo and from FRED"):
        IngestConfig(source=YahooSource(symbols=("A",)), macro=FredMacro())
    IngestConfig(source=YahooSource(symbols=("A",), macro=("DXY",)), macro=FredMacro())
    with pytest.raises(ValidationError):
        FredMacro.model_validate({"series": ["DXY"]})
