import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ploutos.errors import LedgerError
from ploutos.trading.events import (
    Claim,
    Decision,
    Financing,
    Intent,
    Opened,
    client_order_id,
    decode,
    encode,
    unique_key,
)

INTENT = Intent(
    client_order_id="plt-1",
    strategy="s",
    session="2013-01-02",
    symbol="AAA",
    quantity_micro=-(2**62),
    reference_price_usd=0.1 + 0.2,
)


def test_event_survives_encoding_to_the_last_bit():
    assert decode(encode(INTENT)) == INTENT


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple)
    | st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4).map(tuple)
)
def test_action_comes_back_as_it_was_orders_as_ints_and_weights_to_the_last_bit(action):
    decision = Decision(
        strategy="s", session="2013-01-02", action=action, market_digest="", policy_state=None
    )
    back = decode(encode(decision)).action
    # repr tells 1 from 1.0 and 0.0 from -0.0.
    assert repr(back) == repr(action)
    assert encode(decode(encode(decision))) == encode(decision)


@pytest.mark.parametrize("action", [(True,), ("1",), (math.nan, 1.0), (math.inf,), 1])
def test_action_that_is_neither_orders_nor_weights_is_refused(action):
    with pytest.raises(ValidationError):
        Decision(
            strategy="s", session="2013-01-02", action=action, market_digest="", policy_state=None
        )


def test_later_field_is_written_only_where_it_says_something():
    opened = Opened(mode="paper", symbols=("AAA",), initial_cash_micro=1)
    assert "margin" not in encode(opened)
    margin = opened.model_copy(update={"margin": True})
    assert '"margin":true' in encode(margin)
    assert decode(encode(margin)) == margin


def test_order_id_is_the_same_for_the_same_order_and_another_for_any_other():
    one = client_order_id("a", "s", "2013-01-02", "AAA")
    assert one == client_order_id("a", "s", "2013-01-02", "AAA")
    others = [
        client_order_id("b", "s", "2013-01-02", "AAA"),
        client_order_id("a", "t", "2013-01-02", "AAA"),
        client_order_id("a", "s", "2013-01-03", "AAA"),
        client_order_id("a", "s", "2013-01-02", "BBB"),
    ]
    assert len({one, *others}) == 5


def test_order_id_is_short_enough_for_alpaca():
    assert len(client_order_id("a" * 100, "s" * 100, "2013-01-02", "AAA")) <= 48


def test_claims_of_different_sessions_have_different_keys():
    keys = {unique_key("a", Claim(strategy="s", session=f"2013-01-0{d}")) for d in range(1, 6)}
    assert len(keys) == 5


def test_interest_is_recorded_once_a_session():
    paid = Financing(session="2013-01-02", interest_micro=-1)
    assert unique_key("a", paid) == "financing/a/2013-01-02"


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{}",
        "[1]",
        '{"kind":"claim","strategy":"s"}',
        '{"kind":"claim","strategy":"s","session":"2.1.2013"}',
        '{"kind":"claim","strategy":"s","session":"2013-01-02","more":1}',
        '{"kind":"bribe","strategy":"s"}',
        encode(INTENT).replace("-4611686018427387904", "9223372036854775808"),
        encode(INTENT).replace("-4611686018427387904", '"1"'),
    ],
)
def test_text_that_is_no_event_is_refused(payload):
    with pytest.raises(LedgerError, match="expected an event"):
        decode(payload)
