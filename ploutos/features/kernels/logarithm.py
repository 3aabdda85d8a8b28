"""The natural logarithm of a column. In: a float64 column. Out: a column.

The algorithm of fdlibm's `e_log.c` (Sun Microsystems, 1993; error below one unit in the last
place): x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), s = f / (2 + f), and a polynomial in
s^2. Numba calls the C library once a value; written as loops without calls, it takes several
values at once.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column

LANES = 256
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
LARGEST = float(np.finfo(np.float64).max)

_HALF_ROOT_BITS = 0x3FE6A09E667F3BCD  # sqrt(1/2)
_EXPONENT_MASK = -(1 << 52)
# An integer below 2^52 in the mantissa of 2^52 is that number more: no conversion is needed.
_TWO_52_BITS = 0x4330000000000000
_TWO_52 = 4503599627370496.0
_BIAS = 1024
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_L1, _L2, _L3, _L4 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
)
_L5, _L6, _L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01


@njit(**OPTIONS)
def logarithm(x: Column, out: Column) -> None:
    """Return ln x; NaN where x is not a positive normal number."""
    width = min(LANES, len(out))
    scaled, power = np.empty(width, np.int64), np.empty(width, np.int64)
    for low in range(0, len(out), LANES):
        own, to = x[low : low + LANES], out[low : low + LANES]
        bits = own.view(np.int64)
        for i in range(len(own)):
            above = bits[i] - _HALF_ROOT_BITS
            scaled[i] = bits[i] - (above & _EXPONENT_MASK)
            # A logical shift: vector units have no other for 64 bits before AVX-512.
            k = np.int64(np.uint64(above + (_BIAS << 52)) >> np.uint64(52))
            power[i] = (k & 4095) | _TWO_52_BITS
        ones, powers = scaled.view(np.float64), power.view(np.float64)
        for i in range(len(own)):
            k = powers[i] - (_TWO_52 + _BIAS)
            f = ones[i] - 1.0
            s = f / (2.0 + f)
            z = s * s
            w = z * z
            odd = w * (_L2 + w * (_L4 + w * _L6))
            even = z * (_L1 + w * (_L3 + w * (_L5 + w * _L7)))
            half = 0.5 * f * f
            value = k * _LN2_HIGH - ((half - (s * (half + odd + even) + k * _LN2_LOW)) - f)
            sound = (own[i] >= SMALLEST_NORMAL) & (own[i] <= LARGEST)
            to[i] = value if sound else np.nan
