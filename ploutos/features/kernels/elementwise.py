"""Kernels of one row at a time. In: float64 columns, NaN where missing. Out: a column.

Every kernel fills `out[start:]`; a comparison is 1 or 0, and NaN where one side is missing.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels import opcodes as op
from ploutos.features.kernels.arrays import OPTIONS, Column


@njit(**OPTIONS)
def arithmetic(code: int, x: Column, y: Column, out: Column, start: int) -> None:
    """Add, subtract, multiply, divide; a ratio is missing where its denominator is not > 0."""
    rows = len(out)
    if code == op.ADD:
        for i in range(start, rows):
            out[i] = x[i] + y[i]
    elif code == op.SUBTRACT:
        for i in range(start, rows):
            out[i] = x[i] - y[i]
    elif code == op.MULTIPLY:
        for i in range(start, rows):
            out[i] = x[i] * y[i]
    elif code == op.DIVIDE:
        for i in range(start, rows):
            out[i] = x[i] / y[i]
    else:
        for i in range(start, rows):
            quotient = x[i] / y[i]
            out[i] = quotient if y[i] > 0.0 else np.nan


@njit(**OPTIONS)
def compare(code: int, x: Column, y: Column, out: Column, start: int) -> None:
    """Compare two columns, combine two conditions, or keep y where the condition x holds."""
    rows = len(out)
    if code == op.GREATER:
        for i in range(start, rows):
            out[i] = (1.0 if x[i] > y[i] else 0.0) + 0.0 * (x[i] + y[i])
    elif code == op.GREATER_EQUAL:
        for i in range(start, rows):
            out[i] = (1.0 if x[i] >= y[i] else 0.0) + 0.0 * (x[i] + y[i])
    elif code == op.BOTH:
        for i in range(start, rows):
            out[i] = x[i] * y[i]
    else:
        for i in range(start, rows):
            out[i] = y[i] if x[i] == 1.0 else np.nan


@njit(**OPTIONS)
def extreme(code: int, x: Column, y: Column, out: Column, start: int) -> None:
    """Take the larger or the smaller of two columns, the other one where one is missing."""
    rows = len(out)
    if code == op.MAXIMUM:
        for i in range(start, rows):
            larger = x[i] if x[i] > y[i] else y[i]
            out[i] = x[i] if y[i] != y[i] else larger
    else:
        for i in range(start, rows):
            smaller = x[i] if x[i] < y[i] else y[i]
            out[i] = x[i] if y[i] != y[i] else smaller


@njit(**OPTIONS)
def choose(condition: Column, x: Column, y: Column, out: Column, start: int) -> None:
    """Take x where the condition is 1, y where it is 0 or missing."""
    for i in range(start, len(out)):
        out[i] = x[i] if condition[i] == 1.0 else y[i]


@njit(**OPTIONS)
def with_number(code: int, x: Column, number: float, out: Column, start: int) -> None:
    """Combine a column and a number."""
    rows = len(out)
    if code == op.ADD_NUMBER:
        for i in range(start, rows):
            out[i] = x[i] + number
    elif code == op.MULTIPLY_NUMBER:
        for i in range(start, rows):
            out[i] = x[i] * number
    elif code == op.NUMBER_LESS:
        for i in range(start, rows):
            out[i] = number - x[i]
    elif code == op.NUMBER_OVER:
        for i in range(start, rows):
            out[i] = number / x[i]
    else:
        for i in range(start, rows):
            out[i] = x[i] / number


@njit(**OPTIONS)
def bound(code: int, x: Column, number: float, out: Column, start: int) -> None:
    """Clip a column, which keeps what is missing, or fill what is missing."""
    rows = len(out)
    if code == op.AT_LEAST:
        for i in range(start, rows):
            out[i] = number if x[i] < number else x[i]
    elif code == op.AT_MOST:
        for i in range(start, rows):
            out[i] = number if x[i] > number else x[i]
    else:
        for i in range(start, rows):
            out[i] = number if x[i] != x[i] else x[i]


@njit(**OPTIONS)
def compare_number(code: int, x: Column, number: float, out: Column, start: int) -> None:
    """Compare a column with a number."""
    rows = len(out)
    if code == op.ABOVE_NUMBER:
        for i in range(start, rows):
            out[i] = (1.0 if x[i] > number else 0.0) + 0.0 * x[i]
    elif code == op.FROM_NUMBER:
        for i in range(start, rows):
            out[i] = (1.0 if x[i] >= number else 0.0) + 0.0 * x[i]
    elif code == op.BELOW_NUMBER:
        for i in range(start, rows):
            out[i] = (1.0 if x[i] < number else 0.0) + 0.0 * x[i]
    else:
        for i in range(start, rows):
            out[i] = (1.0 if x[i] <= number else 0.0) + 0.0 * x[i]


@njit(**OPTIONS)
def transform(code: int, x: Column, out: Column, start: int) -> None:
    """Transform one column: magnitude, logarithm, root, sign."""
    rows = len(out)
    if code == op.ABSOLUTE:
        for i in range(start, rows):
            out[i] = abs(x[i])
    elif code == op.LOGARITHM:
        for i in range(start, rows):
            out[i] = np.log(x[i])
    elif code == op.ROOT:
        for i in range(start, rows):
            out[i] = np.sqrt(x[i])
    else:
        for i in range(start, rows):
            one = (1.0 if x[i] > 0.0 else 0.0) - (1.0 if x[i] < 0.0 else 0.0)
            out[i] = one + 0.0 * x[i]


@njit(**OPTIONS)
def lag(code: int, x: Column, n: int, out: Column, start: int) -> None:
    """Take the value n rows before, or the difference to it."""
    rows = len(out)
    if code == op.SHIFT:
        for i in range(start, min(n, rows)):
            out[i] = np.nan
        for i in range(max(start, n), rows):
            out[i] = x[i - n]
    else:
        for i in range(start, min(n, rows)):
            out[i] = np.nan
        for i in range(max(start, n), rows):
            out[i] = x[i] - x[i - n]
