"""What can be recorded in a ledger. In: facts of a cycle. Out: frozen records and their keys.

Money is an integer number of micro-USD, a quantity an integer number of micro-shares. A price is
the float that was used; what it moved is recorded beside it as an integer. `session` is the
exchange day as an ISO date. `unique_key` makes every fact recordable once. A field that came later
is left out of the JSON while it says nothing (`Later`), so that events from before it read, and
write, as they did.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ploutos.errors import LedgerError
from ploutos.store import canonical_json, digest_json

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
NotNegative = Annotated[int, Field(ge=0, lt=2**63)]
Session = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Name = Annotated[str, Field(min_length=1, max_length=120)]
# JSON has one 1.0 and another 1: a tuple comes back as what it was, whole numbers or floats.
Action = tuple[int, ...] | tuple[float, ...]


def _is_false(value: object) -> bool:
    return value is False


Later = Annotated[bool, Field(exclude_if=_is_false)]


class Record(BaseModel):
    """Base of the events: immutable, no unknown field, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Opened(Record):
    """An account begins, with cash and nothing else. `replay` accounts never trade.

    With `margin` it may be short and owe cash; without, it is long only and never borrows.
    """

    kind: Literal["opened"] = "opened"
    mode: Literal["replay", "paper"]
    symbols: tuple[Name, ...]
    initial_cash_micro: NotNegative
    margin: Later = False


class Claim(Record):
    """A strategy takes a session; nobody else can."""

    kind: Literal["claim"] = "claim"
    strategy: Name
    session: Session


class Financing(Record):
    """Interest from the close before a session to its own; negative = paid."""

    kind: Literal["financing"] = "financing"
    session: Session
    interest_micro: Int64


class CorporateAction(Record):
    """A split or a dividend of one symbol before a session's open; a short position pays it."""

    kind: Literal["corporate_action"] = "corporate_action"
    session: Session
    symbol: Name
    split_ratio: float = Field(gt=0)
    cash_dividend_usd: float = Field(ge=0)
    quantity_before_micro: Int64
    quantity_after_micro: Int64
    dividend_micro: Int64
    # The waiting order of the symbol, in shares after the split: client order id -> micro-shares.
    orders_after_micro: dict[str, Int64]


class Fill(Record):
    """A (part of an) order was executed."""

    kind: Literal["fill"] = "fill"
    fill_id: Name
    client_order_id: Name
    session: Session
    symbol: Name
    quantity_micro: Int64
    price_usd: float = Field(gt=0)
    value_micro: NotNegative
    fee_micro: NotNegative


class Lapsed(Record):
    """What was left of an order will not be executed any more."""

    kind: Literal["lapsed"] = "lapsed"
    client_order_id: Name
    session: Session
    quantity_micro: Int64
    reason: str


class Position(Record):
    """A holding at a session's close; quantity and value of a short one are negative."""

    quantity_micro: Int64
    price_usd: float = Field(gt=0)
    value_micro: Int64
    entry_price_usd: float = Field(ge=0)
    held_bars: NotNegative


class Mark(Record):
    """The account at a session's close: cash + the positions' values = equity.

    `stopped` once the drawdown stop was reached: the account then closes everything, for good.
    """

    kind: Literal["mark"] = "mark"
    session: Session
    cash_micro: Int64
    equity_micro: Int64
    positions: dict[str, Position]
    stopped: Later = False


class Decision(Record):
    """What the strategy decided after a session's close, and from what.

    `action` is 0 hold, 1 buy, 2 sell, or a target weight, symbol by symbol.
    """

    kind: Literal["decision"] = "decision"
    strategy: Name
    session: Session
    action: Action
    market_digest: str
    # The policy's memory after this decision (an LSTM's state), see `policy_state`.
    policy_state: Any


class Intent(Record):
    """An order that is to be executed at the next open, once and under this id only."""

    kind: Literal["intent"] = "intent"
    client_order_id: Name
    strategy: Name
    session: Session
    symbol: Name
    quantity_micro: Int64
    reference_price_usd: float = Field(gt=0)


class Halted(Record):
    """The account stops; no intent is accepted until it is resumed."""

    kind: Literal["halted"] = "halted"
    reason: str


class Resumed(Record):
    """The account may go on."""

    kind: Literal["resumed"] = "resumed"
    reason: str


class Note(Record):
    """Something a reader of the ledger should know."""

    kind: Literal["note"] = "note"
    text: str


class CycleDone(Record):
    """A session is finished; starting it again does nothing."""

    kind: Literal["cycle_done"] = "cycle_done"
    strategy: Name
    session: Session
    outcome: Literal["decided", "settled", "skipped"]
    reason: str


Event = (
    Opened
    | Claim
    | Financing
    | CorporateAction
    | Fill
    | Lapsed
    | Mark
    | Decision
    | Intent
    | Halted
    | Resumed
    | Note
    | CycleDone
)
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def encode(event: Event) -> str:
    """Return the event as canonical JSON."""
    return canonical_json(event.model_dump(mode="json")).decode()


def decode(payload: str) -> Event:
    """Read an event back from its canonical JSON.

    Raises
    ------
    LedgerError
        If the text is not one of the events.
    """
    try:
        return _EVENT.validate_json(payload)
    except ValidationError as error:
        raise LedgerError(f"expected an event, received {payload[:200]!r}: {error}") from error


def unique_key(account: str, event: Event) -> str | None:
    """Return the key under which this fact can be recorded only once, None if it may repeat."""
    parts: tuple[str, ...]
    match event:
        case Opened():
            parts = (account,)
        case Claim() | Decision() | CycleDone():
            parts = (account, event.strategy, event.session)
        case CorporateAction():
            parts = (account, event.session, event.symbol)
        case Financing() | Mark():
            parts = (account, event.session)
        case Fill():
            parts = (event.fill_id,)
        case Intent() | Lapsed():
            parts = (event.client_order_id,)
        case _:
            return None
    return "/".join((event.kind, *parts))


def client_order_id(account: str, strategy: str, session: str, symbol: str) -> str:
    """Return the id of the one order that a strategy may send for a symbol after a session.

    It depends on nothing else, so a cycle that starts again asks for the same order, not another.
    """
    return "plt-" + digest_json([account, strategy, session, symbol])[:32]


def fill_id(order_id: str, session: str) -> str:
    """Return the id of the simulated broker's only fill of an order in a session."""
    return "fill-" + digest_json([order_id, session])[:32]
