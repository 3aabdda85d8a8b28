"""The kernels' arrays and compiler options. In: nothing. Out: names for them."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ploutos.compiled import CACHED

Column = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
Matrix = NDArray[np.floating[Any]]
Table = tuple[Integers, NDArray[np.float64], int]

# Without numpy's error model every division checks for zero, which keeps loops from vectorising.
OPTIONS: Final[dict[str, Any]] = {"nogil": True, "error_model": "numpy"}
# For what Python calls. Numba's cache sees changes of the function's own file only, so a cached
# function that calls kernels of other files must have their digest in its closure.
ENTRY: Final[dict[str, Any]] = {**CACHED, **OPTIONS}
