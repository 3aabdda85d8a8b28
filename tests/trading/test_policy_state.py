import pytest
import torch

from ploutos.errors import LedgerError
from ploutos.trading.policy_state import decode_state, encode_state


def test_memory_of_a_committee_survives_to_the_last_bit():
    generator = torch.Generator().manual_seed(3)
    lstm = (torch.randn(1, 1, 8, generator=generator), torch.randn(1, 1, 8, generator=generator))
    hidden, cell = decode_state(encode_state((None, lstm)))[1]
    assert hidden.dtype == torch.float32
    assert torch.equal(hidden, lstm[0])
    assert torch.equal(cell, lstm[1])


def test_policy_without_memory_keeps_none():
    assert decode_state(encode_state(None)) is None
    assert decode_state(encode_state((None, None))) == (None, None)


@pytest.mark.parametrize("state", [[torch.zeros(1)], "text", 1.5, torch.zeros(1, dtype=torch.bool)])
def test_anything_but_tensors_is_refused(state):
    with pytest.raises(LedgerError, match="expected a policy's memory"):
        encode_state(state)


@pytest.mark.parametrize("value", [{"tensor": "", "dtype": "object", "shape": [1]}, [], "x"])
def test_memory_of_another_form_is_not_read(value):
    with pytest.raises(LedgerError, match="expected a recorded policy memory"):
        decode_state(value)
