"""A policy's memory as JSON. In: what `act` returned. Out: text-safe values, and back, bit for bit.

A policy without memory has None, a recurrent one tensors, a committee a tuple of its members'
memories. Only these can be written; nothing that could run code is ever read.
"""

import base64
from typing import Any

import numpy as np
import torch

from ploutos.errors import LedgerError

DTYPES = ("float32", "float64", "int64")


def encode_state(state: Any) -> Any:
    """Return `state` (None, a tensor, or a tuple of these) as JSON-able values.

    Raises
    ------
    LedgerError
        If it holds anything else.
    """
    if state is None:
        return None
    if isinstance(state, tuple):
        return {"tuple": [encode_state(part) for part in state]}
    if isinstance(state, torch.Tensor):
        values = state.detach().cpu().numpy()
        if values.dtype.name in DTYPES:
            return {
                "tensor": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode(),
                "dtype": values.dtype.name,
                "shape": list(values.shape),
            }
    raise LedgerError(
        f"expected a policy's memory to be None, a tensor of {', '.join(DTYPES)} or a tuple of "
        f"these, received {type(state).__name__}"
    )


def decode_state(value: Any) -> Any:
    """Return the memory that `encode_state` wrote.

    Raises
    ------
    LedgerError
        If `value` is not of that form.
    """
    if value is None:
        return None
    if isinstance(value, dict) and set(value) == {"tuple"}:
        return tuple(decode_state(part) for part in value["tuple"])
    if (
        isinstance(value, dict)
        and set(value) == {"tensor", "dtype", "shape"}
        and value["dtype"] in DTYPES
    ):
        data = bytearray(base64.b64decode(value["tensor"], validate=True))
        array = np.frombuffer(data, value["dtype"]).reshape(value["shape"])
        return torch.from_numpy(array)
    raise LedgerError(f"expected a recorded policy memory, received {str(value)[:100]!r}")
