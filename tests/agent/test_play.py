from dataclasses import replace

import numpy as np
import pytest

from ploutos.agent.play import Segment, play, play_orders, warm_up
from ploutos.env import TradingEnv
from ploutos.env.config import EnvConfig
from ploutos.env.market import market_of
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio.config import MICRO, PortfolioConfig, WeightActions
from tests.agent.batches import panel_with_gaps, scaler_of

FIRST, STOP = 8, 50
ORDERS = EnvConfig(episode_bars=None, portfolio=PortfolioConfig(cash_interest=0.05))
WEIGHTS = EnvConfig(
    episode_bars=None, portfolio=PortfolioConfig(cash_interest=0.05, actions=WeightActions())
)


def eventful_panel():
    """Return a panel with a split and dividends."""
    panel = panel_with_gaps()
    split, dividend = panel.split_ratio.copy(), panel.cash_dividend.copy()
    split[20, 0], dividend[15:45:5, 1] = 2.0, 0.31
    prices = panel.prices.copy()
    prices[20:, 0, :4] /= 2.0
    return replace(panel, split_ratio=split, cash_dividend=dividend, prices=prices)


PANEL = eventful_panel()
MARKET = market_of(PANEL)


class Scripted:
    """Acts as written, row by row; its state counts what it has seen."""

    def __init__(self, actions):
        self.actions = actions
        self.seen = []

    def act(self, market, accounts, e, row, state):
        self.seen.append((row, state))
        return self.actions[row], (state or 0) + 1


def scripted(config):
    rng, shape = np.random.default_rng(0), (PANEL.n_rows, 2)
    if config is WEIGHTS:
        return Scripted(rng.random(shape))
    return Scripted(rng.integers(0, 3, shape))


@pytest.mark.parametrize("config", [ORDERS, WEIGHTS], ids=["orders", "weights"])
def test_played_account_is_that_of_the_environment_to_the_last_micro_dollar(config):
    actor = scripted(config)
    played = play(MARKET, [Segment(actor, Rows(start=FIRST, stop=STOP))], config, 0)
    env = TradingEnv(PANEL, config, Rows(start=FIRST - 1, stop=STOP), scaler_of(PANEL))
    env.reset(seed=0)
    equity = [config.portfolio.initial_cash_usd]
    truncated = False
    while not truncated:
        row = int(env.batch.episodes.row[0])
        _, _, _, truncated, info = env.step(actor.actions[row])
        equity.append(info["equity_usd"])
    np.testing.assert_array_equal(played.equity_micro, np.round(np.array(equity) * MICRO))
    np.testing.assert_array_equal(played.rows, np.arange(FIRST - 1, STOP))
    np.testing.assert_array_equal(played.action, actor.actions[FIRST - 1 : STOP - 1])


@pytest.mark.parametrize("config", [ORDERS, WEIGHTS], ids=["orders", "weights"])
def test_books_balance_in_whole_micro_units(config):
    played = play(MARKET, [Segment(scripted(config), Rows(start=FIRST, stop=STOP))], config, 0)
    whole = (
        *(played.equity_micro, played.cash_micro, played.quantity_micro, played.fill_micro),
        *(played.fee_micro, played.dividend_micro, played.interest_micro),
    )
    assert {array.dtype for array in whole} == {np.dtype(np.int64)}
    assert played.interest_micro.any()
    assert played.dividend_micro.any()
    value = np.floor(np.abs(played.fill_micro) * np.nan_to_num(played.fill_price) + 0.5)
    paid = (np.sign(played.fill_micro) * value).sum(axis=1).astype(np.int64)
    change = played.dividend_micro + played.interest_micro - paid - played.fee_micro.sum(axis=1)
    np.testing.assert_array_equal(np.diff(played.cash_micro), change)
    mark = MARKET.mark[played.rows]
    positions = np.floor(played.quantity_micro * mark + 0.5).sum(axis=1).astype(np.int64)
    np.testing.assert_array_equal(played.equity_micro, played.cash_micro + positions)
    split = PANEL.split_ratio[played.rows[1:]]
    held = np.floor(played.quantity_micro[:-1] * split + 0.5).astype(np.int64)
    np.testing.assert_array_equal(played.quantity_micro[1:], held + played.fill_micro)


def test_account_is_carried_from_segment_to_segment():
    rows = Rows(start=FIRST, stop=STOP)
    whole = play(MARKET, [Segment(scripted(ORDERS), rows)], ORDERS, 0)
    halves = [Rows(start=FIRST, stop=30), Rows(start=30, stop=STOP)]
    parts = play(MARKET, [Segment(scripted(ORDERS), half) for half in halves], ORDERS, 0)
    np.testing.assert_array_equal(parts.equity_micro, whole.equity_micro)


def test_actor_sees_rows_before_its_first_decision_and_starts_anew():
    actor = scripted(ORDERS)
    play(MARKET, [Segment(actor, Rows(start=FIRST, stop=FIRST + 2))], ORDERS, 3)
    assert actor.seen == [(4, None), (5, 1), (6, 2), (7, 3), (8, 4)]
    assert warm_up(actor, MARKET, 1, 5, ORDERS) == 1


def test_rule_writes_its_orders_into_the_trades():
    def buy_one_share(market, accounts, trades, row, rules):
        if row == FIRST - 1:
            trades.order[1] = MICRO

    played = play_orders(MARKET, Rows(start=FIRST, stop=STOP), ORDERS, buy_one_share)
    assert played.fill_micro[0].tolist() == [0, MICRO]
    assert not played.fill_micro[1:].any()
    assert (played.quantity_micro[1:, 1] == MICRO).all()
    np.testing.assert_array_equal(
        played.dividend_micro, np.where(PANEL.cash_dividend[played.rows[1:], 1] > 0, 310_000, 0)
    )


def test_rows_without_a_row_to_decide_at_are_refused():
    rows = Rows(start=0, stop=9)
    with pytest.raises(EnvironmentConfigError, match="row 1 or later"):
        play(MARKET, [Segment(scripted(ORDERS), rows)], ORDERS, 0)
    with pytest.raises(EnvironmentConfigError, match="rows from 1 on"):
        play_orders(MARKET, rows, ORDERS, lambda *_: None)


def test_segments_with_a_gap_between_them_are_refused():
    segments = [Rows(start=5, stop=9), Rows(start=10, stop=12)]
    with pytest.raises(EnvironmentConfigError, match="adjoining segments"):
        play(MARKET, [Segment(scripted(ORDERS), rows) for rows in segments], ORDERS, 0)
