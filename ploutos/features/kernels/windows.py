"""Kernels of a trailing window. In: float64 columns, NaN where missing. Out: a column.

Sums and extremes are scanned in blocks of n rows: a window is the tail of one block and the head
of the next (van Herk 1992; Gil and Werman 1993). Nothing is ever subtracted, so a large or missing
value leaves no trace once it has left the window. Second and higher moments are taken about the
value at the border of the two blocks, which the window holds. Blocks are counted from the first
row, so later rows change no bit. A window is NaN until it holds n values.
"""

import numpy as np
from numba import njit

from ploutos.features.kernels.arrays import OPTIONS, Column, Matrix

# A window counts as constant when its deviation is below 1e-9 of its root mean square.
TINY_SQUARED = 1e-18


@njit(**OPTIONS)
def window_sum(x: Column, n: int, scale: float, out: Column, start: int) -> None:
    """Return scale times the sum of the last n values."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    tail = np.zeros(n + 1)
    border = start // n * n
    total = 0.0
    for j in range(min(n, border)):
        total += x[border - 1 - j]
        tail[n - 1 - j] = total
    while border < rows:
        length = min(n, rows - border)
        head, total = 0.0, 0.0
        first = max(start, n - 1) - border
        for j in range(length):
            head += x[border + j]
            if j >= first:
                out[border + j] = (tail[j + 1] + head) * scale
        if border + n < rows:
            for j in range(n - 1, -1, -1):
                total += x[border + j]
                tail[j] = total
        border += n


@njit(**OPTIONS)
def window_extreme(x: Column, n: int, sign: float, out: Column, start: int) -> None:
    """Return the largest of the last n values; the smallest with a sign of -1."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    tail = np.full(n + 1, -np.inf)
    border = start // n * n
    largest = -np.inf
    for j in range(min(n, border)):
        value = sign * x[border - 1 - j]
        largest = largest if largest >= value or np.isnan(largest) else value
        tail[n - 1 - j] = largest
    while border < rows:
        length = min(n, rows - border)
        head, largest = -np.inf, -np.inf
        first = max(start, n - 1) - border
        for j in range(length):
            value = sign * x[border + j]
            head = head if head >= value or np.isnan(head) else value
            if j >= first:
                before = tail[j + 1]
                out[border + j] = sign * (head if head >= before or np.isnan(head) else before)
        if border + n < rows:
            for j in range(n - 1, -1, -1):
                value = sign * x[border + j]
                largest = largest if largest >= value or np.isnan(largest) else value
                tail[j] = largest
        border += n


@njit(**OPTIONS)
def _scan_about(x: Column, border: int, n: int, sums: Matrix) -> float:
    """Scan both blocks at a border: sums of value and square about x[border], tail and head."""
    centre = x[border]
    rows = min(n, len(x) - border)
    tail_one, tail_two, head_one, head_two = 0.0, 0.0, 0.0, 0.0
    before = min(n - 1, border)
    for j in range(n):
        if j < before:
            value = x[border - 1 - j] - centre
            tail_one += value
            tail_two += value * value
            sums[0, n - 1 - j], sums[1, n - 1 - j] = tail_one, tail_two
        if j < rows:
            value = x[border + j] - centre
            head_one += value
            head_two += value * value
            sums[2, j], sums[3, j] = head_one, head_two
    return centre


@njit(**OPTIONS)
def window_deviation(x: Column, n: int, ddof: float, out: Column, start: int) -> None:
    """Return the standard deviation of the last n values, NaN where they are constant."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    sums = np.zeros((4, n + 1))
    share, freedom = 1.0 / n, 1.0 / (n - ddof) if n > ddof else np.nan
    for border in range(start // n * n, rows, n):
        centre = _scan_about(x, border, n, sums)
        low, high = max(start, n - 1), min(border + n, rows)
        first = max(low - border, 0)
        own = out[border + first : high]
        tail_one, tail_two = sums[0, first + 1 :], sums[1, first + 1 :]
        head_one, head_two = sums[2, first:], sums[3, first:]
        for j in range(len(own)):
            total = tail_one[j] + head_one[j]
            mean = total * share
            squares = tail_two[j] + head_two[j] - total * mean
            level = centre + mean
            tiny = TINY_SQUARED * (squares + n * level * level)
            own[j] = np.sqrt(squares * freedom if squares > tiny else np.nan)


@njit(**OPTIONS)
def window_covariance(x: Column, y: Column, n: int, out: Column, start: int) -> None:
    """Return the sample covariance of the last n pairs."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    tail = np.zeros((n + 1, 3))
    border = start // n * n
    while border < rows:
        centre_x, centre_y = x[border], y[border]
        sum_x, sum_y, product = 0.0, 0.0, 0.0
        for j in range(1, min(n, border + 1)):
            value_x, value_y = x[border - j] - centre_x, y[border - j] - centre_y
            sum_x += value_x
            sum_y += value_y
            product += value_x * value_y
            tail[n - j, 0], tail[n - j, 1], tail[n - j, 2] = sum_x, sum_y, product
        sum_x, sum_y, product = 0.0, 0.0, 0.0
        first = max(start, n - 1) - border
        for j in range(min(n, rows - border)):
            value_x, value_y = x[border + j] - centre_x, y[border + j] - centre_y
            sum_x += value_x
            sum_y += value_y
            product += value_x * value_y
            if j >= first:
                level = (sum_x + tail[j + 1, 0]) * (sum_y + tail[j + 1, 1]) / n
                out[border + j] = (product + tail[j + 1, 2] - level) / (n - 1)
        border += n


@njit(**OPTIONS)
def _standard_moment(sums: Column, n: int, centre: float, order: float) -> float:
    mean = sums[0] / n
    second = sums[1] / n - mean * mean
    level = centre + mean
    if second <= TINY_SQUARED * (second + level * level):
        return np.nan
    third = sums[2] / n - 3.0 * mean * sums[1] / n + 2.0 * mean**3
    if order == 3:
        return third / (second * np.sqrt(second))
    fourth = sums[3] / n - 4.0 * mean * sums[2] / n + 6.0 * mean**2 * sums[1] / n - 3.0 * mean**4
    return fourth / (second * second) - 3.0


@njit(**OPTIONS)
def window_moment(x: Column, n: int, order: float, out: Column, start: int) -> None:
    """Return the skewness (order 3) or the excess kurtosis (order 4), biased."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    tail = np.zeros((n + 1, 4))
    sums, both = np.empty(4), np.empty(4)
    border = start // n * n
    while border < rows:
        centre = x[border]
        sums[:] = 0.0
        for j in range(1, min(n, border + 1)):
            value = x[border - j] - centre
            power = 1.0
            for k in range(4):
                power *= value
                sums[k] += power
                tail[n - j, k] = sums[k]
        sums[:] = 0.0
        first = max(start, n - 1) - border
        for j in range(min(n, rows - border)):
            value = x[border + j] - centre
            power = 1.0
            for k in range(4):
                power *= value
                sums[k] += power
                both[k] = sums[k] + tail[j + 1, k]
            if j >= first:
                out[border + j] = _standard_moment(both, n, centre, order)
        border += n


@njit(**OPTIONS)
def window_slope(x: Column, n: int, out: Column, start: int) -> None:
    """Return the least-squares slope of the last n values on time, per row."""
    rows = len(out)
    out[start : min(n - 1, rows)] = np.nan
    tail = np.zeros((n + 1, 2))
    spread = n * (n * n - 1.0) / 12.0
    border = start // n * n
    while border < rows:
        centre = x[border]
        total, moment = 0.0, 0.0
        for j in range(1, min(n, border + 1)):
            value = x[border - j] - centre
            total += value
            moment -= j * value
            tail[n - j, 0], tail[n - j, 1] = total, moment
        total, moment = 0.0, 0.0
        first = max(start, n - 1) - border
        for j in range(min(n, rows - border)):
            value = x[border + j] - centre
            total += value
            moment += j * value
            if j >= first:
                middle = j - (n - 1) / 2.0
                both = total + tail[j + 1, 0]
                out[border + j] = (moment + tail[j + 1, 1] - middle * both) / spread
        border += n
