"""Kernels of one row at a time. In: float64 columns, NaN where missing. Out: a column.

A comparison is 1 or 0, and NaN where one side is missing.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels import opcodes as op
from ploutos.features.kernels.arrays import OPTIONS, Column
from ploutos.features.kernels.logarithm import logarithm


@njit(**OPTIONS)
def arithmetic(code: int, x: Column, y: Column, out: Column) -> None:
    """Add, subtract, multiply, divide; a ratio is missing where its denominator is not > 0."""
    if code == op.ADD:
        for i in range(len(out)):
            out[i] = x[i] + y[i]
    elif code == op.SUBTRACT:
        for i in range(len(out)):
            out[i] = x[i] - y[i]
    elif code == op.MULTIPLY:
        for i in range(len(out)):
            out[i] = x[i] * y[i]
    elif code == op.DIVIDE:
        for i in range(len(out)):
            out[i] = x[i] / y[i]
    else:
        for i in range(len(out)):
            quotient = x[i] / y[i]
            out[i] = quotient if y[i] > 0.0 else np.nan


@njit(**OPTIONS)
def compare(code: int, x: Column, y: Column, out: Column) -> None:
    """Compare two columns, combine two conditions, keep y where x holds, x where y is known."""
    if code == op.GREATER:
        for i in range(len(out)):
            out[i] = (1.0 if x[i] > y[i] else 0.0) + 0.0 * (x[i] + y[i])
    elif code == op.GREATER_EQUAL:
        for i in range(len(out)):
            out[i] = (1.0 if x[i] >= y[i] else 0.0) + 0.0 * (x[i] + y[i])
    elif code == op.BOTH:
        for i in range(len(out)):
            out[i] = x[i] * y[i]
    elif code == op.WHEN:
        for i in range(len(out)):
            out[i] = y[i] if x[i] == 1.0 else np.nan
    else:
        for i in range(len(out)):
            out[i] = x[i] + 0.0 * y[i]


@njit(**OPTIONS)
def extreme(code: int, x: Column, y: Column, out: Column) -> None:
    """Take the larger or the smaller of two columns, the other one where one is missing."""
    if code == op.MAXIMUM:
        for i in range(len(out)):
            larger = x[i] if x[i] > y[i] else y[i]
            out[i] = x[i] if y[i] != y[i] else larger
    else:
        for i in range(len(out)):
            smaller = x[i] if x[i] < y[i] else y[i]
            out[i] = x[i] if y[i] != y[i] else smaller


@njit(**OPTIONS)
def choose(condition: Column, x: Column, y: Column, out: Column) -> None:
    """Take x where the condition is 1, y where it is 0 or missing."""
    for i in range(len(out)):
        out[i] = x[i] if condition[i] == 1.0 else y[i]


@njit(**OPTIONS)
def with_number(code: int, x: Column, number: float, out: Column) -> None:
    """Combine a column and a number."""
    if code == op.ADD_NUMBER:
        for i in range(len(out)):
            out[i] = x[i] + number
    elif code == op.MULTIPLY_NUMBER:
        for i in range(len(out)):
            out[i] = x[i] * number
    elif code == op.NUMBER_LESS:
        for i in range(len(out)):
            out[i] = number - x[i]
    elif code == op.NUMBER_OVER:
        for i in range(len(out)):
            out[i] = number / x[i]
    else:
        for i in range(len(out)):
            out[i] = x[i] / number


@njit(**OPTIONS)
def bound(code: int, x: Column, number: float, out: Column) -> None:
    """Clip a column, which keeps what is missing, or fill what is missing."""
    if code == op.AT_LEAST:
        for i in range(len(out)):
            out[i] = number if x[i] < number else x[i]
    elif code == op.AT_MOST:
        for i in range(len(out)):
            out[i] = number if x[i] > number else x[i]
    else:
        for i in range(len(out)):
            out[i] = number if x[i] != x[i] else x[i]


@njit(**OPTIONS)
def compare_number(code: int, x: Column, number: float, out: Column) -> None:
    """Compare a column with a number."""
    if code == op.ABOVE_NUMBER:
        for i in range(len(out)):
            out[i] = (1.0 if x[i] > number else 0.0) + 0.0 * x[i]
    elif code == op.FROM_NUMBER:
        for i in range(len(out)):
            out[i] = (1.0 if x[i] >= number else 0.0) + 0.0 * x[i]
    elif code == op.BELOW_NUMBER:
        for i in range(len(out)):
            out[i] = (1.0 if x[i] < number else 0.0) + 0.0 * x[i]
    else:
        for i in range(len(out)):
            out[i] = (1.0 if x[i] <= number else 0.0) + 0.0 * x[i]


@njit(**OPTIONS)
def transform(code: int, x: Column, out: Column) -> None:
    """Transform one column: magnitude, logarithm, root, sign."""
    if code == op.ABSOLUTE:
        for i in range(len(out)):
            out[i] = abs(x[i])
    elif code == op.LOGARITHM:
        logarithm(x, out)
    elif code == op.ROOT:
        for i in range(len(out)):
            out[i] = np.sqrt(x[i])
    else:
        for i in range(len(out)):
            one = (1.0 if x[i] > 0.0 else 0.0) - (1.0 if x[i] < 0.0 else 0.0)
            out[i] = one + 0.0 * x[i]
