import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from ploutos.errors import DataError, RevisionError, SnapshotError, SourceError
from ploutos.features import FeatureConfig, compute_features
from ploutos.market import IngestConfig, MarketData, load_snapshot, update_snapshot
from ploutos.market.config import NetworkTerms, QualityConfig, YahooSource
from ploutos.market.update import latest_path
from ploutos.store import read_json
from tests.market.yahoo_server import Listed, YahooServer, opens_at, running, weekdays

FIRST = date(2020, 8, 3)
DAYS = weekdays(FIRST, 30, holidays=(date(2020, 9, 7),))  # to 2020-09-14
KNOWN = 20  # to Friday 2020-08-28
BEFORE = datetime(2020, 8, 29, 12, tzinfo=UTC)
AFTER = datetime(2020, 9, 15, 12, tzinfo=UTC)

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def rows(price: float, days: list[date]) -> dict[date, tuple[float | None, ...]]:
    """A price that climbs by a percent a day from the first of all days."""
    found: dict[date, tuple[float | None, ...]] = {}
    for day in days:
        level = price * 1.01 ** DAYS.index(day)
        found[day] = (level, level * 1.02, level * 0.98, level * 1.01, 1000 + DAYS.index(day))
    return found


@pytest.fixture
def yahoo(home: Path) -> Iterator[YahooServer]:
    with running() as server:
        server.listed = {
            "AAPL": Listed(rows(400.0, DAYS[:KNOWN]), first_trade=date(1980, 12, 12)),
            "MSFT": Listed(rows(210.0, DAYS[:KNOWN]), first_trade=date(1986, 3, 13)),
            "^VIX": Listed(rows(22.0, DAYS[:KNOWN])),
        }
        yield server


def days_pass(server: YahooServer) -> None:
    for symbol, price in (("AAPL", 400.0), ("MSFT", 210.0), ("^VIX", 22.0)):
        listed = server.listed.setdefault(symbol, Listed({}))
        listed.rows = rows(price, DAYS)
    server.asked.clear()


def config(**values) -> IngestConfig:
    share = values.pop("max_quarantined_share", 0.01)
    overlap = values.pop("overlap_bars", 5)
    known = {"symbols": ("AAPL", "MSFT"), "start_on": FIRST, "macro": ("VIX",)} | values
    network = NetworkTerms(attempts=1)
    return IngestConfig(
        source=YahooSource.model_validate(known | {"network": network}),
        quality=QualityConfig(max_quarantined_share=share),
        overlap_bars=overlap,
    )


def update(server: YahooServer, now: datetime, **values) -> MarketData:
    return load_snapshot(update_snapshot(config(**values), server.session(), now))


def asked_from(server: YahooServer, symbol: str) -> date:
    (query,) = server.histories_of(symbol)
    return datetime.fromtimestamp(int(query["period1"]), UTC).date()


def own(data: MarketData, symbol: str) -> pl.DataFrame:
    return data.bars.filter(pl.col("symbol") == symbol)


def test_a_later_fetch_asks_only_for_what_is_missing_and_holds_everything(yahoo: YahooServer):
    first = update(yahoo, BEFORE)
    days_pass(yahoo)
    second = update(yahoo, AFTER)
    # Five stored sessions are asked for again: the last week of August.
    assert asked_from(yahoo, "AAPL") == DAYS[KNOWN - 5]
    assert asked_from(yahoo, "MSFT") == DAYS[KNOWN - 5]
    assert asked_from(yahoo, "^VIX") == DAYS[KNOWN - 5]
    for symbol in ("AAPL", "MSFT"):
        assert own(second, symbol)[:KNOWN].equals(own(first, symbol))
        assert own(second, symbol)["closed_at"].dt.date().to_list() == DAYS
    assert second.macro["value"].len() == len(DAYS)
    assert second.macro[:KNOWN].equals(first.macro)


def test_the_extended_history_is_the_one_that_a_fresh_fetch_gives(
    yahoo: YahooServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    update(yahoo, BEFORE)
    days_pass(yahoo)
    second = update(yahoo, AFTER)
    monkeypatch.setenv("PLOUTOS_HOME", str(tmp_path / "other"))
    assert update(yahoo, AFTER).bars.equals(second.bars)


def test_fetching_again_on_the_same_day_gives_the_same_snapshot(yahoo: YahooServer):
    first = update_snapshot(config(), yahoo.session(), BEFORE)
    second = update_snapshot(config(), yahoo.session(), BEFORE)
    assert second == first


def test_a_split_between_two_fetches_changes_no_stored_bar_and_no_feature(yahoo: YahooServer):
    first = update(yahoo, BEFORE)
    days_pass(yahoo)
    # On Monday 31 August the stock splits 4:1, and Yahoo divides all of its history.
    split_on = DAYS[KNOWN]
    yahoo.listed["AAPL"].rows = {
        day: (*(price / 4 for price in row[:4]), row[4] * (4 if day < split_on else 1))
        for day, row in rows(400.0, DAYS).items()
    }
    yahoo.listed["AAPL"].splits = {split_on: 4.0}
    second = update(yahoo, AFTER)
    assert own(second, "AAPL")[:KNOWN].equals(own(first, "AAPL"))
    assert own(second, "AAPL")["split_ratio"].to_list() == [1.0] * KNOWN + [4.0] + [1.0] * 9
    families = FeatureConfig(families=("momentum", "candles", "trend"))
    past = own(second, "AAPL")["closed_at"] <= own(first, "AAPL")["closed_at"].max()
    before = compute_features(own(first, "AAPL"), families)
    after = compute_features(own(second, "AAPL"), families).filter(past)
    assert after.equals(before)


def test_a_split_that_yahoo_lists_before_it_divides_the_prices_is_put_right(yahoo: YahooServer):
    first = update(yahoo, BEFORE)
    days_pass(yahoo)
    split_on = DAYS[KNOWN]
    # The days from the split on are in new shares; those before are not divided yet.
    yahoo.listed["AAPL"].rows |= {
        day: (*(price / 4 for price in row[:4]), row[4])
        for day, row in rows(400.0, DAYS[KNOWN:]).items()
    }
    yahoo.listed["AAPL"].splits = {split_on: 4.0}
    second = update(yahoo, AFTER, symbols=("AAPL",))
    assert own(second, "AAPL")[:KNOWN].equals(own(first, "AAPL"))
    assert own(second, "AAPL")["close"][KNOWN] == pytest.approx(400.0 * 1.01**21 / 4)
    assert any("splits" in note for note in second.provenance["revisions"])


def test_an_unexplained_change_is_refused_and_the_snapshot_stays(yahoo: YahooServer, home: Path):
    first = update_snapshot(config(), yahoo.session(), BEFORE)
    days_pass(yahoo)
    day = DAYS[KNOWN - 2]
    row = yahoo.listed["MSFT"].rows[day]
    yahoo.listed["MSFT"].rows[day] = (*row[:3], 1.003 * (row[3] or 0), row[4])
    with pytest.raises(RevisionError, match=rf"MSFT {day} .* close: old .*, new ") as refused:
        update(yahoo, AFTER)
    assert "AAPL" not in str(refused.value)
    pointer = latest_path(config())
    assert str(pointer) in str(refused.value)
    assert [folder.name for folder in (home / "snapshots").iterdir()] == [first]
    # What the message advises: without the pointer the history is fetched anew.
    pointer.unlink()
    assert own(update(yahoo, AFTER), "MSFT")["close"][KNOWN - 2] == 1.003 * (row[3] or 0)


@pytest.mark.parametrize("column", ["high", "volume"])
def test_a_stored_bar_that_the_source_spoils_is_refused_not_set_aside(
    yahoo: YahooServer, column: str
):
    update(yahoo, BEFORE)
    days_pass(yahoo)
    day = DAYS[KNOWN - 2]
    opened, high, low, closed, volume = yahoo.listed["MSFT"].rows[day]
    spoiled = {"high": (opened, low, low, closed, volume), "volume": (opened, high, low, closed, 0)}
    yahoo.listed["MSFT"].rows[day] = spoiled[column]
    with pytest.raises(RevisionError, match=rf"MSFT {day} .* old .*, new "):
        update(yahoo, AFTER, max_quarantined_share=1.0)


def test_the_share_of_bars_set_aside_is_that_of_the_whole_history(yahoo: YahooServer):
    update(yahoo, BEFORE, max_quarantined_share=0.05)
    days_pass(yahoo)
    row = yahoo.listed["MSFT"].rows[DAYS[-3]]
    yahoo.listed["MSFT"].rows[DAYS[-3]] = (*row[:4], 0)
    # One of thirty bars, though one of the fifteen of the second answer.
    data = update(yahoo, AFTER, max_quarantined_share=0.05)
    assert own(data, "MSFT").height == len(DAYS) - 1
    with pytest.raises(DataError, match=f"MSFT {DAYS[-3]}.* no volume"):
        update(yahoo, AFTER, max_quarantined_share=0.03)


def test_the_dividend_of_a_bar_set_aside_stays_where_it_went(yahoo: YahooServer):
    # Zero volume on the sixth bar from the end; its dividend moves to the fifth, which is the
    # first of the five that the next fetch would ask for.
    day = DAYS[KNOWN - 6]
    listed = yahoo.listed["MSFT"]
    listed.rows[day] = (*listed.rows[day][:4], 0)
    listed.dividends = {day: 0.5}
    first = update(yahoo, BEFORE, max_quarantined_share=0.05)
    assert own(first, "MSFT")["cash_dividend"][KNOWN - 6] == 0.5
    days_pass(yahoo)
    listed.rows[day] = (*listed.rows[day][:4], 0)
    second = update(yahoo, AFTER, max_quarantined_share=0.05)
    assert own(second, "MSFT")[: KNOWN - 1].equals(own(first, "MSFT"))
    assert own(second, "MSFT")["cash_dividend"].sum() == 0.5


def test_a_feed_that_stays_frozen_is_recognised_by_the_next_fetch(
    yahoo: YahooServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # From the third bar before the first fetch ends on, nothing moves any more.
    frozen = rows(210.0, DAYS)[DAYS[KNOWN - 3]]
    still = dict.fromkeys(DAYS[KNOWN - 3 :], frozen)
    yahoo.listed["MSFT"].rows |= dict.fromkeys(DAYS[KNOWN - 3 : KNOWN], frozen)
    assert own(update(yahoo, BEFORE, overlap_bars=1), "MSFT").height == KNOWN
    days_pass(yahoo)
    yahoo.listed["MSFT"].rows |= still
    second = update(yahoo, AFTER, overlap_bars=1, max_quarantined_share=1.0)
    assert own(second, "MSFT").height == KNOWN + 1
    monkeypatch.setenv("PLOUTOS_HOME", str(tmp_path / "other"))
    assert update(yahoo, AFTER, max_quarantined_share=1.0).bars.equals(second.bars)


def test_a_fetch_that_ends_earlier_does_not_take_the_place_of_what_is_stored(yahoo: YahooServer):
    days_pass(yahoo)
    whole = update_snapshot(config(), yahoo.session(), AFTER)
    assert own(update(yahoo, AFTER, end_on=DAYS[9]), "MSFT").height == 10
    assert read_json(latest_path(config())) == {"snapshot": whole}


def test_a_lost_snapshot_is_refused_with_the_file_that_names_it(yahoo: YahooServer, home: Path):
    digest = update_snapshot(config(), yahoo.session(), BEFORE)
    shutil.rmtree(home / "snapshots" / digest)
    pointer = latest_path(config())
    with pytest.raises(SnapshotError, match=f"there is no snapshot .* delete {pointer}"):
        update(yahoo, BEFORE)
    pointer.unlink()
    assert update_snapshot(config(), yahoo.session(), BEFORE) == digest


def test_a_changed_macro_value_is_refused(yahoo: YahooServer):
    update(yahoo, BEFORE)
    days_pass(yahoo)
    row = yahoo.listed["^VIX"].rows[DAYS[KNOWN - 1]]
    yahoo.listed["^VIX"].rows[DAYS[KNOWN - 1]] = (*row[:3], 99.0, row[4])
    with pytest.raises(RevisionError, match=r"VIX 2020-08-28 .* new 99\.0"):
        update(yahoo, AFTER)


def test_a_new_symbol_is_fetched_from_the_start(yahoo: YahooServer):
    update(yahoo, BEFORE, symbols=("AAPL",))
    days_pass(yahoo)
    data = update(yahoo, AFTER)
    assert asked_from(yahoo, "MSFT") == FIRST
    assert asked_from(yahoo, "AAPL") == DAYS[KNOWN - 5]
    assert own(data, "MSFT").height == own(data, "AAPL").height == len(DAYS)


def test_a_symbol_that_fails_keeps_its_stored_bars_where_the_config_allows_it(yahoo: YahooServer):
    first = update(yahoo, BEFORE)
    days_pass(yahoo)
    yahoo.listed["MSFT"].renamed_to = "MSFX"
    with pytest.raises(SourceError, match="MSFT: Yahoo answered for 'MSFX'"):
        update(yahoo, AFTER)
    data = update(yahoo, AFTER, max_failed_symbols=1)
    assert data.symbols == ("AAPL", "MSFT")
    assert own(data, "MSFT").equals(own(first, "MSFT"))
    assert own(data, "AAPL").height == len(DAYS)
    assert "MSFX" in data.provenance["failed_symbols"]["MSFT"]
    # When it answers again, what is missing is fetched.
    yahoo.listed["MSFT"].renamed_to = None
    assert own(update(yahoo, AFTER), "MSFT").height == len(DAYS)


def test_a_source_that_costs_nothing_is_read_whole(home: Path):
    assert update_snapshot(IngestConfig()) == update_snapshot(IngestConfig())
    assert not (home / "latest").exists()


def test_the_open_of_a_day_is_where_the_server_thinks_it_is():
    assert datetime.fromtimestamp(opens_at(FIRST), UTC).hour == 13
