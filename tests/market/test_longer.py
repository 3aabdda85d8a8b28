from datetime import UTC, date, datetime

import polars as pl
import pytest

from ploutos.calendar import closes
from ploutos.market.longer import lengthen
from ploutos.market.schema import BAR_TYPES

WEEK = closes("XNYS", date(2020, 8, 24), date(2020, 9, 4))["closed_at"].to_list()
FRIDAY = datetime(2020, 9, 4, 20, tzinfo=UTC)


def bars(**columns) -> pl.DataFrame:
    """Two weeks; in the second the price is 400 on Monday and 100 after a split 4:1."""
    price = [400.0] * 6 + [100.0] * 4
    values = {
        "symbol": ["AAA"] * 10,
        "closed_at": WEEK,
        "open": price,
        "high": [one * 1.1 for one in price],
        "low": [one * 0.9 for one in price],
        "close": price,
        "volume": [10.0] * 6 + [40.0] * 4,
        "split_ratio": [1.0] * 6 + [4.0] + [1.0] * 3,
        "cash_dividend": [0.0] * 10,
    }
    return pl.DataFrame(values | columns, schema=BAR_TYPES)


def test_a_split_inside_a_week_leaves_one_unit_of_shares():
    plain, split = lengthen(bars(), "XNYS", "1wk").to_dicts()
    assert (plain["open"], plain["volume"], plain["split_ratio"]) == (400.0, 50.0, 1.0)
    assert (split["open"], split["close"]) == (100.0, 100.0)
    assert (split["high"], split["low"]) == pytest.approx((110.0, 90.0))
    assert split["volume"] == 5 * 40.0
    assert (split["split_ratio"], split["closed_at"]) == (4.0, FRIDAY)


def test_an_account_gets_the_same_shares_and_cash_as_from_the_daily_bars():
    # Ten shares: 4 of cash each on Monday, the split on Tuesday, 1 on each of 40 on Thursday.
    paid = bars(cash_dividend=[0.0] * 5 + [4.0, 0.0, 0.0, 1.0, 0.0])
    week = lengthen(paid, "XNYS", "1wk").row(1, named=True)
    shares = 10 * week["split_ratio"]
    assert shares == 40
    assert shares * week["cash_dividend"] == 10 * 4.0 + 40 * 1.0


def test_a_week_without_its_last_day_is_still_stamped_by_the_schedule():
    short = lengthen(bars()[:9], "XNYS", "1wk")
    assert short["closed_at"].to_list() == [datetime(2020, 8, 28, 20, tzinfo=UTC), FRIDAY]


def test_symbols_are_not_mixed():
    both = pl.concat([bars(), bars(symbol=["BBB"] * 10, split_ratio=[1.0] * 10)])
    longer = lengthen(both, "XNYS", "1wk")
    assert longer["symbol"].to_list() == ["AAA", "AAA", "BBB", "BBB"]
    assert longer["split_ratio"].to_list() == [1.0, 4.0, 1.0, 1.0]
    assert longer.filter(pl.col("symbol") == "AAA").equals(lengthen(bars(), "XNYS", "1wk"))


def test_no_bars_give_no_bars():
    assert lengthen(bars().clear(), "XNYS", "3mo").schema == pl.Schema(BAR_TYPES)
