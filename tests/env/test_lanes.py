"""The scratch memory of the lanes: every array has room of its own."""

from itertools import pairwise

import numpy as np
import pytest

from ploutos.env.lanes import LANES, lanes_at, new_scratch
from ploutos.env.memory import LINE_BYTES


def arrays_of(lanes):
    for part in lanes:
        yield from part if isinstance(part, tuple) else (part,)


@pytest.mark.parametrize("n_lanes", [1, LANES])
@pytest.mark.parametrize("n_symbols", [1, 3, 15])
def test_lanes_lie_inside_the_scratch_memory_and_do_not_overlap(n_symbols, n_lanes):
    scratch = new_scratch(n_symbols)
    first = scratch.ctypes.data
    arrays = list(arrays_of(lanes_at(first, n_symbols, n_lanes)))
    begins = [array.ctypes.data for array in arrays]
    ends = [begin + array.nbytes for begin, array in zip(begins, arrays, strict=True)]
    assert min(begins) == first
    assert first % LINE_BYTES == 0
    assert max(ends) <= first + scratch.nbytes
    order = np.argsort(begins)
    for earlier, later in pairwise(order):
        assert ends[earlier] <= begins[later]
    assert {array.shape[-1] for array in arrays} == {n_lanes}
