"""The simulated broker: it settles waiting orders at the next bar, as the environment does.

In: an account's recorded state and a row of the market. Out: the events of that bar. The account
goes through `ploutos.env.account.settle`, the same function that training and validation step
with; this module only words what it did.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ploutos.env.account import Accounts, open_accounts, settle
from ploutos.env.market import Market
from ploutos.errors import TradingError
from ploutos.portfolio.accounting import apply_corporate_actions, round_micro
from ploutos.portfolio.config import Rules
from ploutos.trading.account_state import AccountState
from ploutos.trading.events import CorporateAction, Event, Fill, Lapsed, Mark, Position, fill_id


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
    accounts.peak_micro[0] = state.peak_micro
    number = {symbol: n for n, symbol in enumerate(state.symbols)}
    for symbol, held in state.holdings.items():
        accounts.quantity_micro[0, number[symbol]] = held
    for symbol, position in state.positions.items():
        accounts.entry_price[0, number[symbol]] = position.entry_price_usd
        accounts.held_bars[0, number[symbol]] = position.held_bars
    for order_id, left in state.open_orders.items():
        accounts.order_micro[0, number[state.intents[order_id].symbol]] += left
    decision = state.decisions.get(strategy)
    if decision is not None:
        accounts.last_action[0] = decision.action
    return accounts


def settle_session(
    state: AccountState, market: Market, row: int, session: str, rules: Rules
) -> tuple[Event, ...]:
    """Return what bar `row` does to the account: corporate actions, fills, lapses, the mark.

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
    before = accounts_of(state, "")
    after = Accounts(*(array.copy() for array in before))
    equity = settle(market, after, 0, row, rules)
    actions = tuple(_corporate_actions(before, state.symbols, orders, (market, row, session)))
    dividend = sum(action.dividend_micro for action in actions)
    if dividend != after.dividend_micro[0]:
        raise TradingError(
            f"account {state.account}, {session}: expected dividends of "
            f"{after.dividend_micro[0]} micro-USD, received {dividend} from {actions}"
        )
    waiting = dict(state.open_orders)
    for action in actions:
        waiting.update(action.orders_after_micro)
    fills = tuple(_fills(after, state.symbols, orders, session))
    return (
        *actions,
        *fills,
        *_lapses(waiting, fills, session),
        _mark(after, state.symbols, market.mark[row], session, int(equity)),
    )


def _corporate_actions(
    before: Accounts,
    symbols: tuple[str, ...],
    orders: dict[str, str],
    bar: tuple[Market, int, str],
) -> Iterator[CorporateAction]:
    """Yield one event per symbol that is held or ordered and has a split or a dividend."""
    market, row, session = bar
    for n, symbol in enumerate(symbols):
        split = market.split_ratio[row, n : n + 1]
        cash = market.cash_dividend[row, n : n + 1]
        quantity = before.quantity_micro[0, n : n + 1].copy()
        order = before.order_micro[0, n : n + 1].copy()
        if (split[0] == 1.0 and cash[0] == 0.0) or (quantity[0] == 0 and order[0] == 0):
            continue
        held = int(quantity[0])
        dividend = apply_corporate_actions(quantity, order, split, cash)
        yield CorporateAction(
            session=session,
            symbol=symbol,
            split_ratio=float(split[0]),
            cash_dividend_usd=float(cash[0]),
            quantity_before_micro=held,
            quantity_after_micro=int(quantity[0]),
            dividend_micro=int(dividend),
            orders_after_micro={orders[symbol]: int(order[0])} if symbol in orders else {},
        )


def _fills(
    after: Accounts, symbols: tuple[str, ...], orders: dict[str, str], session: str
) -> Iterator[Fill]:
    """Yield the fills of a settled bar in the order they happened: sells before buys."""
    filled = after.fill_micro[0]
    for n in np.argsort(filled > 0, kind="stable").tolist():
        quantity = int(filled[n])
        if quantity == 0:
            continue
        order_id = orders[symbols[n]]
        price = float(after.fill_price[0, n])
        yield Fill(
            fill_id=fill_id(order_id, session),
            client_order_id=order_id,
            session=session,
            symbol=symbols[n],
            quantity_micro=quantity,
            price_usd=price,
            value_micro=int(round_micro(abs(quantity) * price)),
            fee_micro=int(after.fee_micro[0, n]),
        )


def _lapses(waiting: dict[str, int], fills: Sequence[Fill], session: str) -> Iterator[Lapsed]:
    """Yield what is left of each order: it was for this open only."""
    filled = {fill.client_order_id: fill.quantity_micro for fill in fills}
    for order_id, quantity in sorted(waiting.items()):
        left = quantity - filled.get(order_id, 0)
        if left != 0:
            yield Lapsed(
                client_order_id=order_id,
                session=session,
                quantity_micro=left,
                reason="cash did not cover it" if order_id in filled else "no open to fill at",
            )


def _mark(
    after: Accounts, symbols: tuple[str, ...], mark: np.ndarray, session: str, equity: int
) -> Mark:
    positions = {
        symbols[n]: Position(
            quantity_micro=int(after.quantity_micro[0, n]),
            price_usd=float(mark[n]),
            value_micro=int(round_micro(after.quantity_micro[0, n] * mark[n])),
            entry_price_usd=float(after.entry_price[0, n]),
            held_bars=int(after.held_bars[0, n]),
        )
        for n in np.flatnonzero(after.quantity_micro[0]).tolist()
    }
    return Mark(
        session=session,
        cash_micro=int(after.cash_micro[0]),
        equity_micro=equity,
        positions=positions,
    )
