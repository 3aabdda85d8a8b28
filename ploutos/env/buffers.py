"""Arrays that go to a caller for good. In: a shape. Out: an array that nobody else holds."""

import sys

import numpy as np

# Held by the list and by the loop's variable, and asked about: nobody outside has it.
_UNUSED = 3
_MOST_KEPT = 4


class Buffers:
    """Hands out float32 arrays of one shape, and takes one again once its caller has dropped it.

    A fresh array of many megabytes costs as much as the observations that are written into it: the
    kernel has to hand out and clear its pages. An array that is still referred to, by itself or by
    a view, is never handed out again, so a caller may keep what it was given.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._arrays: list[np.ndarray] = []

    def take(self) -> np.ndarray:
        """Return an array that nobody else holds; its values are left over from before."""
        for array in self._arrays:
            if sys.getrefcount(array) == _UNUSED:
                return array
        array = np.zeros(self._shape, np.float32)
        if len(self._arrays) < _MOST_KEPT:
            self._arrays.append(array)
        return array
