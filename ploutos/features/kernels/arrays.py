"""The kernels' arrays and compiler options. In: nothing. Out: names for them."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ploutos.compiled import compiler

Column = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
Matrix = NDArray[np.floating[Any]]
# What `ploutos.features.program.Program.table` holds: instructions and their constants.
Table = tuple[Integers, NDArray[np.float64]]
# All columns that a program works on, one after the other, and where the newest value of each
# stands, plus one: column p of n rows is `values[ends[p] - n : ends[p]]`.
Memory = tuple[Column, Integers]

# Without numpy's error model every division checks for zero, which keeps loops from vectorising;
# so does an index that could be negative, which is why kernels cut slices and count from 0.
OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}
# For what Python calls.
entry = compiler("features", error_model="numpy")
