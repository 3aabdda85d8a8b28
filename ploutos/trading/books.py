"""The books: double entry. In: an event. Out: what it posts, in micro-USD.

Each event that moves money posts amounts that add up to zero.

| event | cash | position:SYMBOL | against |
|---|---|---|---|
| opened | + initial cash | | capital |
| financing | + interest (paid: negative) | | interest |
| corporate_action | + dividend (of a short position: negative) | | dividends |
| fill, buy | - value - fee | + value | + fee in fees |
| fill, sell | + value - fee | - value | + fee in fees |
| mark | | to market value | gains |
"""

from collections.abc import Mapping

from ploutos.trading.events import CorporateAction, Event, Fill, Financing, Mark, Opened

CASH = "cash"

Postings = tuple[tuple[str, int], ...]


def position_book(symbol: str) -> str:
    """Return the name of a symbol's book."""
    return f"position:{symbol}"


def postings_of(books: Mapping[str, int], event: Event) -> Postings:
    """Return the double entry of `event`: (book, micro-USD) that add up to zero, empty if none.

    Parameters
    ----------
    books : mapping of str to int
        The account's books before the event, micro-USD; empty before it opens.
    event : Event
        What happens.
    """
    match event:
        case Opened():
            moves = {CASH: event.initial_cash_micro, "capital": -event.initial_cash_micro}
        case Financing():
            moves = {CASH: event.interest_micro, "interest": -event.interest_micro}
        case CorporateAction():
            moves = {CASH: event.dividend_micro, "dividends": -event.dividend_micro}
        case Fill():
            value = event.value_micro if event.quantity_micro > 0 else -event.value_micro
            moves = {
                CASH: -(value + event.fee_micro),
                position_book(event.symbol): value,
                "fees": event.fee_micro,
            }
        case Mark():
            moves = _revaluation(books, event)
        case _:
            moves = {}
    return tuple((book, amount) for book, amount in moves.items() if amount != 0)


def _revaluation(books: Mapping[str, int], event: Mark) -> dict[str, int]:
    """Bring every position book to its market value; what was sold out keeps its gain only."""
    moves = {book: -amount for book, amount in books.items() if book.startswith("position:")}
    for symbol, position in sorted(event.positions.items()):
        book = position_book(symbol)
        moves[book] = moves.get(book, 0) + position.value_micro
    moves["gains"] = -sum(moves.values())
    return moves
