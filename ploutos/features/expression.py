"""What a catalog row is written in. In: columns and numbers. Out: an expression, a tree of them.

An expression is a formula, not a value: the engine compiles all that it is asked for into one
program, in which equal parts are computed once. Every operation looks backward only. A comparison
is 1 or 0, and missing where one side is missing.
"""

from dataclasses import dataclass
from functools import cache

from ploutos.errors import FeatureError


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """One operation on the results of others.

    Attributes
    ----------
    operation
        A name of `ploutos.features.kernels.opcodes`, or `column`, `universe_mean`,
        `universe_rank`.
    inputs
        What it is applied to, up to three.
    n_bars
        Length of its window or lag, 0 where it has none.
    number
        Its constant, 0 where it has none.
    name
        Name of an input column, else empty.
    """

    operation: str
    inputs: tuple["Expression", ...] = ()
    n_bars: int = 0
    number: float = 0.0
    name: str = ""

    def __bool__(self) -> bool:
        raise FeatureError(
            "an expression has no truth value: combine conditions with & and compare two bounds "
            "one by one"
        )

    def __add__(self, other: "Expression | float") -> "Expression":
        return _combine("add", "add_number", self, other)

    def __radd__(self, number: float) -> "Expression":
        return Expression("add_number", (self,), number=float(number))

    def __sub__(self, other: "Expression | float") -> "Expression":
        if isinstance(other, Expression):
            return Expression("subtract", (self, other))
        return Expression("add_number", (self,), number=-float(other))

    def __rsub__(self, number: float) -> "Expression":
        return Expression("number_less", (self,), number=float(number))

    def __mul__(self, other: "Expression | float") -> "Expression":
        return _combine("multiply", "multiply_number", self, other)

    def __rmul__(self, number: float) -> "Expression":
        return Expression("multiply_number", (self,), number=float(number))

    def __truediv__(self, other: "Expression | float") -> "Expression":
        return _combine("divide", "over_number", self, other)

    def __rtruediv__(self, number: float) -> "Expression":
        return Expression("number_over", (self,), number=float(number))

    def __neg__(self) -> "Expression":
        return Expression("multiply_number", (self,), number=-1.0)

    def __gt__(self, other: "Expression | float") -> "Expression":
        return _combine("greater", "above_number", self, other)

    def __ge__(self, other: "Expression | float") -> "Expression":
        return _combine("greater_equal", "from_number", self, other)

    def __lt__(self, other: "Expression | float") -> "Expression":
        if isinstance(other, Expression):
            return Expression("greater", (other, self))
        return Expression("below_number", (self,), number=float(other))

    def __le__(self, other: "Expression | float") -> "Expression":
        if isinstance(other, Expression):
            return Expression("greater_equal", (other, self))
        return Expression("up_to_number", (self,), number=float(other))

    def __and__(self, other: "Expression") -> "Expression":
        return Expression("both", (self, other))

    def abs(self) -> "Expression":
        """Return the magnitude."""
        return Expression("absolute", (self,))

    def log(self) -> "Expression":
        """Return the natural logarithm, missing where the value is not positive."""
        return Expression("logarithm", (self,))

    def sqrt(self) -> "Expression":
        """Return the square root, missing where the value is negative."""
        return Expression("root", (self,))

    def square(self) -> "Expression":
        """Return the value times itself."""
        return Expression("multiply", (self, self))

    def sign(self) -> "Expression":
        """Return -1, 0 or 1."""
        return Expression("sign", (self,))

    def shift(self, n_bars: int) -> "Expression":
        """Return the value of `n_bars` bars before; only the past can be read."""
        _check_bars("shift", n_bars, 0)
        return Expression("shift", (self,), n_bars)

    def diff(self, n_bars: int = 1) -> "Expression":
        """Return the value less that of `n_bars` bars before."""
        _check_bars("diff", n_bars, 0)
        return Expression("difference", (self,), n_bars)

    def at_least(self, number: float) -> "Expression":
        """Return the value, or the number where the value is below it."""
        return Expression("at_least", (self,), number=float(number))

    def at_most(self, number: float) -> "Expression":
        """Return the value, or the number where the value is above it."""
        return Expression("at_most", (self,), number=float(number))

    def fill_missing(self, number: float) -> "Expression":
        """Return the value, or the number where the value is missing."""
        return Expression("fill", (self,), number=float(number))


@cache
def column(name: str) -> Expression:
    """Return an input column by name; the same expression for the same name."""
    return Expression("column", name=name)


def maximum(x: Expression, y: Expression) -> Expression:
    """Return the larger of two, the other one where one is missing."""
    return Expression("maximum", (x, y))


def minimum(x: Expression, y: Expression) -> Expression:
    """Return the smaller of two, the other one where one is missing."""
    return Expression("minimum", (x, y))


def when(condition: Expression, x: Expression) -> Expression:
    """Return x where the condition holds, missing elsewhere."""
    return Expression("when", (condition, x))


def where(condition: Expression, x: Expression, otherwise: Expression) -> Expression:
    """Return x where the condition holds, the other one where it does not or is missing."""
    return Expression("where", (condition, x, otherwise))


def window(operation: str, n_bars: int, *inputs: Expression, number: float = 0.0) -> Expression:
    """Return an operation over a trailing window of `n_bars` bars, the newest one included."""
    _check_bars(operation, n_bars, 1)
    return Expression(operation, inputs, n_bars, number)


def _combine(pair: str, single: str, x: Expression, other: "Expression | float") -> Expression:
    if isinstance(other, Expression):
        return Expression(pair, (x, other))
    return Expression(single, (x,), number=float(other))


def _check_bars(operation: str, n_bars: int, least: int) -> None:
    if n_bars < least:
        raise FeatureError(
            f"{operation}: expected at least {least} bars, received {n_bars}. A feature reads the "
            "past only."
        )
