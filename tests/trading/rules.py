"""Any rules and any bars, for Hypothesis."""

import numpy as np
from hypothesis import strategies as st

from ploutos.portfolio.config import (
    CostConfig,
    MarginConfig,
    OrderActions,
    PortfolioConfig,
    WeightActions,
)
from tests.trading.desks import market_from


def one_of(*values):
    return st.sampled_from(values)


COSTS = st.builds(
    CostConfig,
    commission_bps=one_of(0.0, 3.0, 50.0),
    commission_per_share_usd=one_of(0.0, 0.01),
    commission_per_order_usd=one_of(0.0, 1.0),
    minimum_commission_usd=one_of(0.0, 0.5, 5.0),
    half_spread_bps=one_of(0.0, 7.0),
    impact_bps=one_of(0.0, 100.0, 3000.0),
    maximum_participation=one_of(None, 0.01, 0.1, 1.0),
    us_sell_fees=st.booleans(),
)
MARGIN = st.builds(
    MarginConfig,
    borrow_fee=one_of(0.0, 0.2),
    loan_rate=one_of(0.0, 0.3),
    maintenance=one_of(0.1, 0.3, 0.8),
)


@st.composite
def portfolios(draw):
    """Draw a portfolio whose every rule is on or off."""
    margin = draw(st.none() | MARGIN)
    return PortfolioConfig(
        initial_cash_usd=draw(one_of(1_000.0, 10_000.0)),
        actions=draw(one_of(OrderActions(buy_fraction=0.4), OrderActions(), WeightActions())),
        maximum_weight=draw(one_of(0.3, 0.6, 1.0)),
        maximum_gross=draw(one_of(0.5, 1.0) if margin is None else one_of(0.5, 1.0, 2.0)),
        minimum_order_usd=draw(one_of(0.0, 50.0)),
        lot_shares=draw(one_of(None, 1, 5)),
        cash_interest=draw(one_of(0.0, 0.05)),
        minimum_holding_bars=draw(one_of(0, 3)),
        maximum_orders=draw(one_of(None, 1)),
        stop_loss=draw(one_of(None, 0.1)),
        take_profit=draw(one_of(None, 0.1)),
        drawdown_stop=draw(one_of(None, 0.1, 0.5)),
        margin=margin,
        costs=draw(COSTS),
    )


_moves = st.floats(0.5, 2.0)
_weights = st.floats(-1.2, 1.2)
HISTORIES = st.lists(
    st.fixed_dictionaries(
        {
            "close": st.tuples(_moves, _moves),  # over the close before
            "open": st.tuples(_moves, _moves),
            "split": st.tuples(*[one_of(1.0, 1.0, 2.0, 0.1, 1.5)] * 2),
            "dividend": st.tuples(*[one_of(0.0, 0.0, 0.25)] * 2),
            "volume": st.tuples(*[one_of(0.0, 10.0, 1000.0, 1e6)] * 2),
            "present": st.tuples(*[one_of(True, True, True, False)] * 2),
            "orders": st.tuples(*[st.integers(0, 2)] * 2),
            "weights": st.tuples(_weights | st.just(0.0), _weights | st.just(0.0)),
        }
    ),
    min_size=2,
    max_size=10,
)
FIRST_CLOSES = st.tuples(st.floats(1.0, 1000.0), st.floats(1.0, 1000.0))


def market_of_history(first, history):
    """Return the market of two symbols that begins at the closes `first`; see `HISTORIES`."""
    close, opens = [np.array(first)], [np.array(first)]
    split, dividend, volume = [np.ones(2)], [np.zeros(2)], [np.full(2, 1e5)]
    mark = close[0]
    for bar in history:
        present = np.array(bar["present"])
        ratio = np.where(present, bar["split"], 1.0)
        base = mark / ratio
        split.append(ratio)
        dividend.append(np.where(present, bar["dividend"], 0.0))
        opens.append(np.where(present, base * np.array(bar["open"]), np.nan))
        close.append(np.where(present, base * np.array(bar["close"]), np.nan))
        volume.append(np.where(present, bar["volume"], np.nan))
        mark = np.where(present, close[-1], mark)
    return market_from(
        np.array(opens),
        np.array(close),
        np.array(volume),
        split=np.array(split),
        dividend=np.array(dividend),
    )
