"""Let an actor trade a stretch of rows, once, deterministically. In: an actor. Out: a trajectory.

Selection, validation and the parity check of paper trading all go through `play`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ploutos.agent.policy import Actor, State
from ploutos.env.account import Accounts, decide, open_accounts, settle
from ploutos.env.config import EnvConfig
from ploutos.env.market import Market
from ploutos.errors import EnvironmentConfigError
from ploutos.folds import Rows
from ploutos.portfolio.config import Rules, initial_cash_micro, rules_of
from ploutos.portfolio.fills import DIVIDEND, INTEREST, Trades, new_trades

OrderWriter = Callable[[Market, Accounts, Trades, int, Rules], None]


class Segment(NamedTuple):
    """An actor and the rows whose bars it earns: it decides at the row before each of them."""

    actor: Actor
    rows: Rows


@dataclass(frozen=True)
class Trajectory:
    """What happened to one account over R bars (R decisions) and N symbols.

    The kernel's numbers are whole in float64; here they are integers, as a ledger has them.

    rows (R+1,) int64: panel rows of the marks, the first is the start. equity_micro, cash_micro
    (R+1,) int64; quantity_micro (R+1, N) int64. For each bar: action (R, N), int64 orders or
    float64 target weights; fill_micro (R, N) int64 signed, fill_price (R, N) float64 (NaN = none),
    fee_micro (R, N) int64; dividend_micro, interest_micro (R,) int64, negative = paid; open (R, N)
    float64 (prices before the spread).
    """

    rows: np.ndarray
    equity_micro: np.ndarray
    cash_micro: np.ndarray
    quantity_micro: np.ndarray
    action: np.ndarray
    fill_micro: np.ndarray
    fill_price: np.ndarray
    fee_micro: np.ndarray
    dividend_micro: np.ndarray
    interest_micro: np.ndarray
    open: np.ndarray


def play(
    market: Market, segments: Sequence[Segment], config: EnvConfig, warm_up_bars: int
) -> Trajectory:
    """Trade adjoining segments with one account that is carried across them.

    The first decision is at the row before the first segment, so that every row of the segments
    earns a return. At the start of each segment its actor sees `warm_up_bars` rows first.

    Raises
    ------
    EnvironmentConfigError
        If the segments do not adjoin or start at row 0 (there is no row to decide at).
    """
    _check_adjoining(segments)
    rules = rules_of(config.portfolio)
    first, last = segments[0].rows.start - 1, segments[-1].rows.stop - 1
    record = _new_trajectory(market, first, last, np.float64 if rules.by_weight else np.int64)
    accounts = open_accounts(1, market.mark.shape[1], initial_cash_micro(config.portfolio))
    trades = new_trades(market.mark.shape[1])
    _note_marks(record, 0, accounts)
    for segment in segments:
        start = segment.rows.start - 1
        state = warm_up(segment.actor, market, start, warm_up_bars, config)
        for row in range(start, segment.rows.stop - 1):
            action, state = segment.actor.act(market, accounts, 0, row, state)
            decide(market, accounts, (0, row), action, rules, trades)
            record.action[row - first] = action
            settle(market, accounts, (0, row + 1), rules, trades)
            _note_bar(record, row - first, trades)
            _note_marks(record, row + 1 - first, accounts)
    return record


def play_orders(
    market: Market, rows: Rows, config: EnvConfig, write_orders: OrderWriter
) -> Trajectory:
    """Trade `rows` with a rule that writes the waiting orders itself (a baseline).

    `write_orders(market, accounts, trades, row, rules)` may write `trades.order`, (N,) float64:
    signed whole micro-shares, for the account at index 0.

    Raises
    ------
    EnvironmentConfigError
        If the rows start at row 0.
    """
    if rows.start < 1:
        raise EnvironmentConfigError("expected rows from 1 on: a decision needs a row before them.")
    rules = rules_of(config.portfolio)
    first = rows.start - 1
    record = _new_trajectory(market, first, rows.stop - 1, np.int64)
    accounts = open_accounts(1, market.mark.shape[1], initial_cash_micro(config.portfolio))
    trades = new_trades(market.mark.shape[1])
    _note_marks(record, 0, accounts)
    for row in range(first, rows.stop - 1):
        write_orders(market, accounts, trades, row, rules)
        settle(market, accounts, (0, row + 1), rules, trades)
        _note_bar(record, row - first, trades)
        _note_marks(record, row + 1 - first, accounts)
    return record


def warm_up(actor: Actor, market: Market, row: int, bars: int, config: EnvConfig) -> State:
    """Show the actor the `bars` rows before `row` with an idle account; return its state.

    A network without memory returns None, whatever it is shown.
    """
    cash = initial_cash_micro(config.portfolio)
    idle = open_accounts(1, market.mark.shape[1], cash)
    state: State = None
    for seen in range(max(row - bars, 0), row):
        _, state = actor.act(market, idle, 0, seen, state)
    return state


def _check_adjoining(segments: Sequence[Segment]) -> None:
    if not segments or segments[0].rows.start < 1:
        raise EnvironmentConfigError(
            "expected at least one segment that starts at row 1 or later: the first decision "
            "is taken at the row before it."
        )
    for before, after in pairwise(segments):
        if before.rows.stop != after.rows.start:
            raise EnvironmentConfigError(
                f"expected adjoining segments, received {before.rows} before {after.rows}."
            )


def _new_trajectory(market: Market, first: int, last: int, action_dtype: type) -> Trajectory:
    marks, bars, n = last - first + 1, last - first, market.mark.shape[1]
    return Trajectory(
        rows=np.arange(first, last + 1),
        equity_micro=np.zeros(marks, np.int64),
        cash_micro=np.zeros(marks, np.int64),
        quantity_micro=np.zeros((marks, n), np.int64),
        action=np.zeros((bars, n), action_dtype),
        fill_micro=np.zeros((bars, n), np.int64),
        fill_price=np.zeros((bars, n), np.float64),
        fee_micro=np.zeros((bars, n), np.int64),
        dividend_micro=np.zeros(bars, np.int64),
        interest_micro=np.zeros(bars, np.int64),
        open=market.open[first + 1 : last + 1].copy(),
    )


def _note_marks(record: Trajectory, at: int, accounts: Accounts) -> None:
    record.cash_micro[at] = accounts.cash[0]
    record.quantity_micro[at] = accounts.quantity[0].astype(np.int64)
    record.equity_micro[at] = accounts.equity[0]


def _note_bar(record: Trajectory, at: int, trades: Trades) -> None:
    record.fill_micro[at] = trades.fill.astype(np.int64)
    record.fill_price[at] = trades.fill_price
    record.fee_micro[at] = trades.fee.astype(np.int64)
    record.dividend_micro[at] = trades.flows[DIVIDEND]
    record.interest_micro[at] = trades.flows[INTEREST]
