"""tanh, exp and log of float32 numbers, without calls. In: a number. Out: a number.

Numba calls the C library for one number at a time; these are a few products and sums, so a loop
over them takes eight numbers at once. None is more than five units in the last place off.
"""

import numpy as np

from ploutos.agent.fused.options import within

f32 = np.float32
i32 = np.int32

# A rational function of degree 13 by 6 in x, constant from the bound on (the minimax fit of Eigen,
# `generic_fast_tanh_float`).
_TANH_BOUND = f32(7.90531110763549805)
_A1, _A3, _A5, _A7 = (
    f32(4.89352455891786e-03),
    f32(6.37261928875436e-04),
    f32(1.48572235717979e-05),
    f32(5.12229709037114e-08),
)
_A9, _A11, _A13 = f32(-8.60467152213735e-11), f32(2.00018790482477e-13), f32(-2.76076847742355e-16)
_B0, _B2, _B4, _B6 = (
    f32(4.89352518554385e-03),
    f32(2.26843463243900e-03),
    f32(1.18534705686654e-04),
    f32(1.19825839466702e-06),
)

# Cephes' expf: x = n ln 2 + r, and a polynomial in r.
_LOG2_E = f32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = f32(0.693359375), f32(-2.12194440e-4)
_EXP_LEAST, _EXP_MOST = f32(-87.3), f32(88.3)
_E0, _E1, _E2 = f32(1.9875691500e-4), f32(1.3981999507e-3), f32(8.3334519073e-3)
_E3, _E4, _E5 = f32(4.1665795894e-2), f32(1.6666665459e-1), f32(5.0000001201e-1)
# Added to a small number, it leaves the nearest whole number in the last bits.
_ROUNDER = f32(12582912.0)
_ROUNDER_BITS = i32(0x4B400000)
_ONE_BITS = i32(0x3F800000)

# Cephes' logf: x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), and a polynomial in f.
_HALF_ROOT_BITS = i32(0x3F3504F3)
_MANTISSA = i32(0x007FFFFF)
_L0, _L1, _L2 = f32(7.0376836292e-2), f32(-1.1514610310e-1), f32(1.1676998740e-1)
_L3, _L4, _L5 = f32(-1.2420140846e-1), f32(1.4249322787e-1), f32(-1.6668057665e-1)
_L6, _L7, _L8 = f32(2.0000714765e-1), f32(-2.4999993993e-1), f32(3.3333331174e-1)

ONE, HALF = f32(1.0), f32(0.5)


@within
def tanh(x: np.float32) -> np.float32:
    """Return tanh x; NaN stays NaN."""
    x = _TANH_BOUND if x > _TANH_BOUND else x
    x = -_TANH_BOUND if x < -_TANH_BOUND else x
    s = x * x
    above = _A1 + s * (_A3 + s * (_A5 + s * (_A7 + s * (_A9 + s * (_A11 + s * _A13)))))
    below = _B0 + s * (_B2 + s * (_B4 + s * _B6))
    return x * above / below


@within
def exp(x: np.float32) -> np.float32:
    """Return e^x; the smallest normal number below -87.3, 2.2e38 above 88.3, NaN for NaN."""
    x = _EXP_MOST if x > _EXP_MOST else x
    x = _EXP_LEAST if x < _EXP_LEAST else x
    rounded = x * _LOG2_E + _ROUNDER
    n = rounded - _ROUNDER
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = _E5 + r * (_E4 + r * (_E3 + r * (_E2 + r * (_E1 + r * _E0))))
    power = i32(((f32(rounded).view(i32) - _ROUNDER_BITS) << 23) + _ONE_BITS)
    return (ONE + r + r * r * p) * i32(power).view(f32)


@within
def log(x: np.float32) -> np.float32:
    """Return ln x of a positive normal number."""
    bits = f32(x).view(i32)
    k = i32((bits - _HALF_ROOT_BITS) >> 23)
    f = i32(bits - (k << 23)).view(f32) - ONE
    s = f * f
    p = _L8 + f * (
        _L7 + f * (_L6 + f * (_L5 + f * (_L4 + f * (_L3 + f * (_L2 + f * (_L1 + f * _L0))))))
    )
    power = f32(k)
    return f - HALF * s + f * s * p + power * _LN2_LOW + power * _LN2_HIGH
