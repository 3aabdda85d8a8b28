import pytest

from ploutos.errors import LedgerError
from ploutos.trading.events import Claim, Intent, client_order_id, decode, encode, unique_key

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
