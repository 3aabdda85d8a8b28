import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos.portfolio import CostConfig, MarginConfig, PortfolioConfig
from ploutos.portfolio.costs import SellFees
from tests.env.configs import FREE
from tests.portfolio.accounts import MICRO, filled


def paying(**costs):
    return PortfolioConfig(costs=FREE.model_copy(update=costs))


def test_buy_pays_the_open_plus_half_the_spread_plus_commission():
    config = paying(commission_bps=10.0, half_spread_bps=50.0)
    cash, shares, trades = filled([10], [100], config, cash_usd=5000, shares=[0])
    # 10 shares at 100.50 = 1,005.00; commission 10 bps of it = 1.005.
    assert cash == 5_000_000_000 - 1_005_000_000 - 1_005_000
    assert shares == [10]
    assert trades.fill_price[0] == pytest.approx(100.5, rel=1e-15)
    assert trades.flows[2] == 1_005_000_000


def test_sell_receives_the_open_minus_half_the_spread_minus_commission():
    config = paying(commission_bps=10.0, half_spread_bps=50.0)
    cash, shares, _ = filled([-10], [100], config, cash_usd=0, shares=[10])
    assert cash == 995_000_000 - 995_000
    assert shares == [0]


@pytest.mark.parametrize(
    ("costs", "fee_usd"),
    [
        ({"commission_bps": 10.0}, 2.0),  # of 2,000
        ({"commission_per_share_usd": 0.005}, 0.1),  # of 20 shares
        ({"commission_per_order_usd": 4.95}, 4.95),
        ({"minimum_commission_usd": 1.5}, 1.5),
        ({"commission_bps": 10.0, "minimum_commission_usd": 1.5}, 2.0),
        (
            {
                "commission_bps": 1.0,
                "commission_per_share_usd": 0.01,
                "commission_per_order_usd": 1.0,
                "minimum_commission_usd": 1.35,
            },
            1.4,  # 0.2 + 0.2 + 1
        ),
    ],
)
def test_commission_is_the_sum_of_its_parts_or_the_minimum(costs, fee_usd):
    cash, _, trades = filled([20], [100], paying(**costs), cash_usd=5000, shares=[0])
    assert trades.fee[0] == round(fee_usd * MICRO)
    assert cash == (5000 - 2000) * MICRO - round(fee_usd * MICRO)


def test_impact_grows_with_the_square_root_of_the_share_of_volume():
    config = paying(impact_bps=100.0)
    # 400 of 10,000 shares are 4 %: the root is 20 %, so 20 bps of the price.
    _, _, trades = filled([400], [50], config, cash_usd=1e6, shares=[0], volume=[10_000])
    assert trades.fill_price[0] == pytest.approx(50 * 1.002, rel=1e-12)
    _, _, trades = filled([-400], [50], config, cash_usd=0, shares=[400], volume=[10_000])
    assert trades.fill_price[0] == pytest.approx(50 * 0.998, rel=1e-12)


def test_impact_reads_the_volume_in_shares_after_the_split():
    config = paying(impact_bps=100.0)
    _, _, trades = filled(
        [400], [50], config, cash_usd=1e6, shares=[0], volume=[5_000], split=[2.0]
    )
    assert trades.fill_price[0] == pytest.approx(50 * 1.002, rel=1e-12)


def test_slippage_ends_at_half_the_price():
    config = paying(impact_bps=5000.0, half_spread_bps=1000.0)
    _, _, trades = filled([-400], [50], config, cash_usd=0, shares=[400], volume=[100])
    assert trades.fill_price[0] == 25.0


def test_sell_pays_the_fees_of_its_date_and_a_buy_does_not():
    config, fees = paying(us_sell_fees=True), SellFees(27.8e-6, 0.000166, 8.30)
    cash, _, trades = filled([-1000], [50], config, cash_usd=0, shares=[1000], fees=fees)
    # 50,000 at 27.80 per million is 1.39; 1,000 shares at 0.000166 are 0.166.
    assert trades.fee[0] == 1_556_000
    assert cash == 50_000 * MICRO - 1_556_000
    _, _, trades = filled([1000], [50], config, cash_usd=1e6, shares=[0], fees=fees)
    assert trades.fee[0] == 0


def test_trading_activity_fee_has_a_maximum_per_order():
    config, fees = paying(us_sell_fees=True), SellFees(0.0, 0.000166, 8.30)
    _, _, trades = filled([-100_000], [1], config, cash_usd=0, shares=[100_000], fees=fees)
    assert trades.fee[0] == 8_300_000


def test_short_sale_pays_the_sell_fees_too():
    config = PortfolioConfig(
        costs=FREE.model_copy(update={"us_sell_fees": True}), margin=MarginConfig()
    )
    fees = SellFees(20e-6, 0.0, 0.0)
    cash, shares, trades = filled([-10], [100], config, cash_usd=5000, shares=[0], fees=fees)
    assert shares == [-10]
    assert trades.fee[0] == 20_000
    assert cash == 6000 * MICRO - 20_000


def test_order_beyond_the_cap_fills_in_part_and_the_rest_lapses():
    config = paying(maximum_participation=0.1)
    cash, shares, _ = filled([50], [10], config, cash_usd=1000, shares=[0], volume=[200])
    assert (cash, shares) == ((1000 - 200) * MICRO, [20])
    _, shares, _ = filled([-50], [10], config, cash_usd=0, shares=[50], volume=[200])
    assert shares == [30]
    _, shares, _ = filled([50], [10], config, cash_usd=1000, shares=[0], volume=[0])
    assert shares == [0]


def test_capped_reduction_is_in_lots_and_a_whole_close_need_not_be():
    config = PortfolioConfig(
        costs=FREE.model_copy(update={"maximum_participation": 0.1}), lot_shares=7
    )
    _, shares, _ = filled([-50.5], [10], config, cash_usd=0, shares=[50.5], volume=[200])
    assert shares == [36.5]
    _, shares, _ = filled([-50.5], [10], config, cash_usd=0, shares=[50.5], volume=[9999])
    assert shares == [0]


def test_reductions_fill_before_additions():
    cash, shares, _ = filled([5, -10], [100, 50], paying(), cash_usd=0, shares=[0, 10])
    assert (cash, shares) == (0, [5, 0])


def test_fill_larger_than_cash_shrinks_all_additions_by_one_factor():
    # 4,000 wanted, 2,000 there: half of each.
    cash, shares, _ = filled([10, 10], [100, 300], paying(), cash_usd=2000, shares=[0, 0])
    assert (cash, shares) == (0, [5, 5])


def test_addition_that_cannot_fill_takes_nothing_from_the_others():
    config = paying(maximum_participation=0.5, commission_per_order_usd=100.0)
    _, shares, _ = filled(
        [10, 10], [100, 90], config, cash_usd=1000, shares=[0, 0], volume=[0, 1000]
    )
    assert shares == [0, 10]


def test_additions_with_margin_shrink_to_the_gross_limit_at_the_opens():
    config = PortfolioConfig(maximum_gross=2.0, margin=MarginConfig(), costs=FREE)
    # Equity 1,000 at the opens (5 at 100 and 500 cash): room for 1,500, 2,000 wanted.
    cash, shares, _ = filled([0, 100], [100, 20], config, cash_usd=500, shares=[5, 0])
    assert (cash, shares) == (-1000 * MICRO, [5, 75])


def test_position_without_an_open_counts_at_its_last_price_in_the_gross_limit():
    config = PortfolioConfig(maximum_gross=1.0, margin=MarginConfig(), costs=FREE)
    # 5 short at 100 with 1,500 cash: equity 1,000, gross 500, room for 500.
    cash, shares, _ = filled(
        [0, 100], [np.nan, 20], config, cash_usd=1500, shares=[-5, 0], last_mark=[100, 20]
    )
    assert (cash, shares) == (1000 * MICRO, [-5, 25])


def test_order_without_an_open_lapses():
    cash, shares, trades = filled([10, -3], [np.nan] * 2, paying(), cash_usd=2000, shares=[0, 3])
    assert (cash, shares) == (2000 * MICRO, [0, 3])
    assert np.isnan(trades.fill_price).all()


def test_fee_on_a_sell_is_at_most_what_it_brings_without_margin():
    config = paying(minimum_commission_usd=50.0)
    cash, shares, _ = filled([-1], [10], config, cash_usd=0, shares=[1])
    assert (cash, shares) == (0, [0])


books = st.lists(
    st.tuples(
        st.integers(-50_000_000, 80_000_000),
        st.floats(0.01, 5000.0),
        st.integers(0, 50_000_000),
        st.sampled_from([0.0, 40.0, 1e6]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
costs = st.builds(
    CostConfig,
    commission_bps=st.floats(0, 100),
    commission_per_share_usd=st.sampled_from([0.0, 0.005, 2.0]),
    commission_per_order_usd=st.sampled_from([0.0, 7.0]),
    minimum_commission_usd=st.sampled_from([0.0, 0.35, 5.0]),
    half_spread_bps=st.floats(0, 100),
    impact_bps=st.sampled_from([0.0, 5000.0]),
    maximum_participation=st.sampled_from([None, 0.1]),
)


@settings(max_examples=300, deadline=None)
@given(books, st.integers(0, 10**11), costs)
def test_cash_never_becomes_negative_and_the_books_balance(rows, cash, costs):
    held = [row[2] / MICRO for row in rows]
    orders = [max(row[0], -row[2]) / MICRO for row in rows]
    opens = [np.nan if row[4] and row[2] % 7 == 0 else row[1] for row in rows]
    volume, fees = [row[3] for row in rows], SellFees(3e-5, 2e-4, 9.0)
    config = PortfolioConfig(costs=costs)
    after, shares, trades = filled(
        orders, opens, config, cash_usd=cash / MICRO, shares=held, volume=volume, fees=fees
    )
    assert after >= 0
    assert min(shares) >= 0
    flow = 0
    for fill, price, fee in zip(trades.fill, trades.fill_price, trades.fee, strict=True):
        if fill:
            flow -= math.copysign(math.floor(abs(fill) * price + 0.5), fill) + fee
    assert after == cash + flow
    assert (np.sign(trades.fill) * np.sign(orders) >= 0).all()
    assert (np.abs(trades.fill) <= np.round(np.abs(orders) * np.float64(MICRO))).all()
