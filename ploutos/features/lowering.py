"""Takes windows apart. In: an operation over a window. Out: joins of shorter windows.

A window of 60 bars is joined from two of 30, these from two of 15, these from 5 + 10, ...: a
handful of passes over a column, each at the speed of memory, and shared by every window and every
statistic that has a part in common. How a window is taken apart depends on its length alone, so a
feature has the same bits whatever else is computed with it.
"""

from collections.abc import Callable

# Adds (operation, inputs, n_bars, number) and returns its number; equal nodes have the same.
AddNode = Callable[..., int]


def split(n_bars: int) -> tuple[int, int]:
    """Return the lengths (newest, oldest) of the two windows that a longer one is joined from."""
    if n_bars % 2 == 0:
        return n_bars // 2, n_bars // 2
    if n_bars % 3 == 0:
        return n_bars // 3, 2 * n_bars // 3
    power = 1 << (n_bars.bit_length() - 1)
    return n_bars - power, power


def halves(n_bars: int) -> tuple[int, int]:
    """Return (power of two, lag): windows that cover a longer one, and may overlap."""
    power = 1 << ((n_bars - 1).bit_length() - 1)
    return power, n_bars - power


class Windows:
    """The statistics of windows in one program, each added once.

    Parameters
    ----------
    add
        Adds a node.
    """

    def __init__(self, add: AddNode) -> None:
        self.add = add
        self._known: dict[tuple[object, ...], int] = {}

    def get(self, statistic: Callable[..., int], *inputs: int, n_bars: int) -> int:
        """Return the node of a statistic of the last `n_bars` values of the inputs."""
        key = (statistic, inputs, n_bars)
        if key not in self._known:
            self._known[key] = statistic(self, *inputs, n_bars)
        return self._known[key]

    def parts(self, statistic: Callable[..., int], *inputs: int, n_bars: int) -> tuple[int, int]:
        """Return the nodes of a statistic of the newest and of the oldest part of a window."""
        newest, oldest = (self.get(statistic, *inputs, n_bars=part) for part in split(n_bars))
        return newest, oldest


def total(windows: Windows, x: int, n_bars: int) -> int:
    """Return the sum."""
    return x if n_bars == 1 else scaled_total(windows, x, n_bars, 1.0)


def scaled_total(windows: Windows, x: int, n_bars: int, scale: float) -> int:
    """Return scale times the sum."""
    if n_bars == 1:
        return windows.add("multiply_number", (x,), 0, scale)
    parts = windows.parts(total, x, n_bars=n_bars)
    return windows.add("join_sum", parts, split(n_bars)[0], scale)


def gap(windows: Windows, x: int, n_bars: int) -> int:
    """Return the mean of the newest part less that of the oldest."""
    return windows.add("join_gap", windows.parts(total, x, n_bars=n_bars), *split(n_bars))


def _zero(windows: Windows, x: int) -> int:
    """Return 0, missing where x is: any central sum of one value."""
    return windows.add("multiply_number", (x,), 0, 0.0)


def _central(
    windows: Windows, join: str, sums: tuple[Callable[..., int], ...], x: int, n_bars: int
) -> int:
    """Return the first of the sums, which is joined from the parts of all of them."""
    if n_bars == 1:
        return _zero(windows, x)
    parts = [part for one in sums for part in windows.parts(one, x, n_bars=n_bars)]
    inputs = (*parts, windows.get(gap, x, n_bars=n_bars))
    return windows.add(join, inputs, *split(n_bars))


def squares(windows: Windows, x: int, n_bars: int) -> int:
    """Return the sum of squares about the mean."""
    return _central(windows, "join_squares", (squares,), x, n_bars)


def cubes(windows: Windows, x: int, n_bars: int) -> int:
    """Return the sum of cubes about the mean."""
    return _central(windows, "join_third", (cubes, squares), x, n_bars)


def fourths(windows: Windows, x: int, n_bars: int) -> int:
    """Return the sum of fourth powers about the mean."""
    return _central(windows, "join_fourth", (fourths, cubes, squares), x, n_bars)


def trend(windows: Windows, x: int, n_bars: int) -> int:
    """Return the sum of (bar - mean bar) times value."""
    return _central(windows, "join_trend", (trend,), x, n_bars)


def products(windows: Windows, x: int, y: int, n_bars: int) -> int:
    """Return the sum of products about both means."""
    if n_bars == 1:
        return windows.add("multiply", (_zero(windows, x), y))
    gaps = (windows.get(gap, x, n_bars=n_bars), windows.get(gap, y, n_bars=n_bars))
    inputs = (*windows.parts(products, x, y, n_bars=n_bars), *gaps)
    return windows.add("join_products", inputs, *split(n_bars))


def largest(windows: Windows, x: int, n_bars: int) -> int:
    """Return the largest value."""
    return _extreme(windows, "join_maximum", largest, x, n_bars)


def smallest(windows: Windows, x: int, n_bars: int) -> int:
    """Return the smallest value."""
    return _extreme(windows, "join_minimum", smallest, x, n_bars)


def _extreme(
    windows: Windows, join: str, statistic: Callable[..., int], x: int, n_bars: int
) -> int:
    if n_bars == 1:
        return x
    power, lag = halves(n_bars)
    return windows.add(join, (windows.get(statistic, x, n_bars=power),) * 2, lag)


def age_of_largest(windows: Windows, x: int, n_bars: int) -> int:
    """Return how many bars ago the largest value was, the newest of several equal."""
    if n_bars == 1:
        return _zero(windows, x)
    power, lag = halves(n_bars)
    age = windows.get(age_of_largest, x, n_bars=power)
    value = windows.get(largest, x, n_bars=power)
    return windows.add("join_age", (age, age, value, value), lag)


def deviation(windows: Windows, x: int, n_bars: int, ddof: float) -> int:
    """Return the standard deviation."""
    inputs = (windows.get(squares, x, n_bars=n_bars), windows.get(total, x, n_bars=n_bars))
    return windows.add("deviation", inputs, n_bars, n_bars - ddof)


def moment(windows: Windows, x: int, n_bars: int, order: float) -> int:
    """Return the skewness (order 3) or the excess kurtosis (order 4), biased."""
    name, powers = ("skewness", cubes) if order == 3 else ("kurtosis", fourths)
    inputs = tuple(windows.get(one, x, n_bars=n_bars) for one in (powers, squares, total))
    return windows.add(name, inputs, n_bars)


def slope(windows: Windows, x: int, n_bars: int, _: float) -> int:
    """Return the least-squares slope on time, per bar."""
    spread = n_bars * (n_bars * n_bars - 1.0) / 12.0
    return windows.add("over_number", (windows.get(trend, x, n_bars=n_bars),), 0, spread)


_RULES: dict[str, Callable[[Windows, int, int, float], int]] = {
    "window_sum": scaled_total,
    "window_maximum": lambda windows, x, n, _: windows.get(largest, x, n_bars=n),
    "window_minimum": lambda windows, x, n, _: windows.get(smallest, x, n_bars=n),
    "window_age": lambda windows, x, n, _: windows.get(age_of_largest, x, n_bars=n),
    "window_deviation": deviation,
    "window_moment": moment,
    "window_slope": slope,
}


def lower(
    windows: Windows, operation: str, inputs: tuple[int, ...], n_bars: int, number: float
) -> int:
    """Add the nodes of an operation and return the number of the last one."""
    add = windows.add
    if operation in _RULES:
        return _RULES[operation](windows, inputs[0], n_bars, number)
    if operation == "window_covariance":
        sums = windows.get(products, *inputs, n_bars=n_bars)
        return add("over_number", (sums,), 0, n_bars - 1.0)
    if operation in {"shift", "difference"}:
        return add(operation, inputs * 2, n_bars)
    if operation == "exponential":
        # Its state outlasts a missing value, so it is a column of its own.
        return add("known", (add(operation, inputs, 0, number), *inputs))
    return add(operation, inputs, n_bars, number)
