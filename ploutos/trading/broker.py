"""The simulated broker: it settles waiting orders at the next bar, as the environment does.

In: an account's recorded state and a row of the market. Out: the events of that bar. The account
goes through `ploutos.env.account.settle`, the same function that training and validation step
with; this module only words what it did.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ploutos.env.account import Accounts, open_accounts, settle
from ploutos.env.market import Market
from ploutos.errors import TradingError
from ploutos.portfolio.accounting import round_micro, split_micro, value_micro
from ploutos.portfolio.config import Rules
from ploutos.portfolio.costs import fillable_micro
from ploutos.portfolio.fills import DIVIDEND, INTEREST, Trades, new_trades
from ploutos.portfolio.orders import BUY, SELL
from ploutos.trading.account_state import AccountState
from ploutos.trading.events import (
    CorporateAction,
    Event,
    Fill,
    Financing,
    Lapsed,
    Mark,
    Position,
    fill_id,
)


def accounts_of(state: AccountState, strategy: str) -> Accounts:
    """Return the recorded account in the kernel's form, as account 0 of 1.

    Parameters
    ----------
    state : AccountState
        An account whose last bar is settled.
    strategy : str
        Whose last action the account remembers.
    """
    accounts = open_accounts(1, len(state.symbols), state.cash_micro)
    accounts.peak[0] = state.peak_micro
    accounts.stopped[0] = state.stopped
    if state.equity:
        accounts.equity[0] = state.equity[-1][1]
    number = {symbol: n for n, symbol in enumerate(state.symbols)}
    for symbol, held in state.holdings.items():
        accounts.quantity[0, number[symbol]] = held
    for symbol, position in state.positions.items():
        accounts.entry_price[0, number[symbol]] = position.entry_price_usd
        accounts.held_bars[0, number[symbol]] = position.held_bars
    decision = state.decisions.get(strategy)
    if decision is not None:
        accounts.last_action[0] = shown_action(decision.action)
    return accounts


def shown_action(action: Sequence[float]) -> list[float]:
    """Return a recorded action as it is observed: buy 1, sell -1, hold 0, or the target weight.

    An order is an int, a weight a float (`ploutos.trading.events`).
    """
    shown = {BUY: 1.0, SELL: -1.0}
    return [shown.get(one, 0.0) if isinstance(one, int) else one for one in action]


def trades_of(state: AccountState) -> Trades:
    """Return the recorded account's waiting orders in the kernel's form."""
    trades = new_trades(len(state.symbols))
    for order_id, left in state.open_orders.items():
        trades.order[state.symbols.index(state.intents[order_id].symbol)] += left
    return trades


def settle_session(
    state: AccountState, market: Market, row: int, session: str, rules: Rules
) -> tuple[Event, ...]:
    """Return what bar `row` does to the account: interest, corporate actions, fills, the mark.

    An account that was never marked begins at this close, whatever the bar before it did.

    Parameters
    ----------
    state : AccountState
        The account before the bar, with its waiting orders.
    market : Market
        The market.
    row : int
        Row of the bar.
    session : str
        The bar's exchange day.
    rules : Rules
        Costs.

    Raises
    ------
    TradingError
        If the events do not add up to what the kernel did.
    """
    orders = {intent.symbol: order_id for order_id, intent in state.intents.items()}
    if len(orders) != len(state.intents):
        raise TradingError(
            f"account {state.account}: expected at most one open order per symbol at {session}, "
            f"received {sorted(state.intents)}. Give each strategy its own account."
        )
    accounts, trades = accounts_of(state, ""), trades_of(state)
    if state.marked_session is None:
        return (_mark(accounts, state.symbols, market.mark[row], session),)
    bar = _Bar(state.symbols, orders, market, row, session)
    actions = tuple(_corporate_actions(accounts, trades, bar))
    settle(market, accounts, (0, row), rules, trades)
    dividend = sum(action.dividend_micro for action in actions)
    if dividend != trades.flows[DIVIDEND]:
        raise TradingError(
            f"account {state.account}, {session}: expected dividends of "
            f"{trades.flows[DIVIDEND]} micro-USD, received {dividend} from {actions}"
        )
    waiting = dict(state.open_orders)
    for action in actions:
        waiting.update(action.orders_after_micro)
    return (
        *_financing(trades, session),
        *actions,
        *_fills(accounts, trades, bar),
        *_lapses(waiting, trades, bar, rules),
        _mark(accounts, state.symbols, market.mark[row], session),
    )


class _Bar(NamedTuple):
    """The bar that is settled; `orders` holds the id of the order that waits for each symbol."""

    symbols: tuple[str, ...]
    orders: dict[str, str]
    market: Market
    row: int
    session: str


def _financing(trades: Trades, session: str) -> Iterator[Financing]:
    if trades.flows[INTEREST] != 0:
        yield Financing(session=session, interest_micro=int(trades.flows[INTEREST]))


def _corporate_actions(before: Accounts, trades: Trades, bar: _Bar) -> Iterator[CorporateAction]:
    """Yield one event per symbol that is held or ordered and has a split or a dividend."""
    for n, symbol in enumerate(bar.symbols):
        split = float(bar.market.split_ratio[bar.row, n])
        cash = float(bar.market.cash_dividend[bar.row, n])
        held, order = float(before.quantity[0, n]), float(trades.order[n])
        if (split == 1.0 and cash == 0.0) or (held == 0 and order == 0):
            continue
        quantity = split_micro(held, split)
        waiting = bar.orders.get(symbol)
        yield CorporateAction(
            session=bar.session,
            symbol=symbol,
            split_ratio=split,
            cash_dividend_usd=cash,
            quantity_before_micro=int(held),
            quantity_after_micro=int(quantity),
            dividend_micro=int(value_micro(quantity, cash)),
            orders_after_micro={waiting: int(split_micro(order, split))} if waiting else {},
        )


def _fills(after: Accounts, trades: Trades, bar: _Bar) -> Iterator[Fill]:
    """Yield the fills of a settled bar in the order they happened: first those that reduce."""
    filled = trades.fill
    adds = filled * (after.quantity[0] - filled) >= 0
    for n in np.argsort(adds, kind="stable").tolist():
        quantity = int(filled[n])
        if quantity == 0:
            continue
        order_id = bar.orders[bar.symbols[n]]
        price = float(trades.fill_price[n])
        yield Fill(
            fill_id=fill_id(order_id, bar.session),
            client_order_id=order_id,
            session=bar.session,
            symbol=bar.symbols[n],
            quantity_micro=quantity,
            price_usd=price,
            value_micro=int(round_micro(float(abs(quantity)) * price)),
            fee_micro=int(trades.fee[n]),
        )


def _lapses(waiting: dict[str, int], trades: Trades, bar: _Bar, rules: Rules) -> Iterator[Lapsed]:
    """Yield what is left of each order: it was for this open only."""
    number = {order_id: bar.symbols.index(symbol) for symbol, order_id in bar.orders.items()}
    for order_id, quantity in sorted(waiting.items()):
        n = number[order_id]
        left = quantity - int(trades.fill[n])
        if left != 0:
            yield Lapsed(
                client_order_id=order_id,
                session=bar.session,
                quantity_micro=left,
                reason=_lapse_reason(abs(quantity), abs(trades.fill[n]), n, bar, rules),
            )


def _lapse_reason(size: float, filled: float, n: int, bar: _Bar, rules: Rules) -> str:
    """Say what kept an order of `size` micro-shares from filling beyond `filled`."""
    market, row = bar.market, bar.row
    if not market.open[row, n] > 0:
        return "no open to fill at"
    # The volume that was known at the decision, in shares after the bar's split.
    volume = market.volume[row - 1, n] * market.split_ratio[row, n]
    carried = fillable_micro(float(size), volume, rules)
    reasons = ["the volume did not carry it"] if carried < size else []
    if filled < np.floor(carried / rules.lot_micro) * rules.lot_micro:
        short = "maximum_gross left no room for it" if rules.margin else "cash did not cover it"
        reasons.append(short)
    return ", and ".join(reasons) or "it was no whole number of lots"


def _mark(after: Accounts, symbols: tuple[str, ...], mark: np.ndarray, session: str) -> Mark:
    quantity = after.quantity[0]
    positions = {
        symbols[n]: Position(
            quantity_micro=int(quantity[n]),
            price_usd=float(mark[n]),
            value_micro=int(round_micro(quantity[n] * mark[n])),
            entry_price_usd=float(after.entry_price[0, n]),
            held_bars=int(after.held_bars[0, n]),
        )
        for n in np.flatnonzero(quantity).tolist()
    }
    return Mark(
        session=session,
        cash_micro=int(after.cash[0]),
        equity_micro=int(after.equity[0]),
        positions=positions,
        stopped=bool(after.stopped[0]),
    )
