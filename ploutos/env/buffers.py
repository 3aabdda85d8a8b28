"""Arrays that go to a caller for good. In: a shape. Out: an array that nobody else holds."""

import sys
from typing import NamedTuple

import numpy as np

# Held by its `Buffer` and by the argument of the question: nobody outside has it.
_UNUSED = 2
_MOST_KEPT = 4


class Buffer(NamedTuple):
    """An array, (E, D) float32, and where it lies: to find that out takes a microsecond."""

    array: np.ndarray
    address: int


class Buffers:
    """Hands out float32 arrays of one shape, and takes one again once its caller has dropped it.

    A fresh array of many megabytes costs as much as the observations that are written into it: the
    kernel has to hand out and clear its pages. An array that is still referred to, by itself or by
    a view, is never handed out again, so a caller may keep what it was given.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._kept: list[Buffer] = []

    def take(self) -> Buffer:
        """Return an array that nobody else holds; its values are left over from before."""
        for buffer in self._kept:
            if sys.getrefcount(buffer.array) == _UNUSED:
                return buffer
        array = np.zeros(self._shape, np.float32)
        buffer = Buffer(array, array.__array_interface__["data"][0])
        if len(self._kept) < _MOST_KEPT:
            self._kept.append(buffer)
        return buffer
