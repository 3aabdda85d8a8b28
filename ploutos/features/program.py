"""Plans the machine's work. In: expressions. Out: a program, in which equal parts occur once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.expression import Expression
from ploutos.features.kernels.opcodes import CODES

FIELDS = 8
CODE, TARGET, X, Y, Z, BARS, FEATURE, WARM_UP = range(FIELDS)
COPY_CODE = -1
CROSS_OPERATIONS = frozenset({"universe_mean", "universe_rank"})

Key = tuple[str, tuple[int, ...], int, float, str]


@dataclass(frozen=True, slots=True)
class Program:
    """A table of instructions, as `ploutos.features.kernels.machine` reads it.

    Attributes
    ----------
    steps
        (K, 8) int64: code, target, x, y, z, n, feature, warm-up.
    numbers
        (K,) float64 constants.
    n_registers
        Columns of scratch that it needs.
    columns
        Names of the input columns, in the order in which they are given.
    """

    steps: NDArray[np.int64]
    numbers: NDArray[np.float64]
    n_registers: int
    columns: tuple[str, ...]

    @property
    def table(self) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
        """Return what the machine is given."""
        return self.steps, self.numbers, self.n_registers


@dataclass(frozen=True, slots=True)
class Output:
    """A column that a program must give: the expression and the leading bars to leave out."""

    expression: Expression
    warm_up_bars: int = 0


class Graph:
    """The distinct operations of a set of expressions, each after its inputs.

    Parameters
    ----------
    given
        Names of the columns that hold the values of expressions, by the `id` of the expression.

    Attributes
    ----------
    nodes
        (operation, input numbers, n_bars, number, name) in an order that can be executed.
    """

    def __init__(self, given: Mapping[int, str] | None = None) -> None:
        self.nodes: list[Key] = []
        self._given = given or {}
        self._numbers: dict[Key, int] = {}
        self._seen: dict[int, tuple[Expression, int]] = {}

    def add(self, expression: Expression) -> int:
        """Return the number of an expression's node; equal expressions have the same."""
        known = self._seen.get(id(expression))
        if known is not None:
            return known[1]
        if id(expression) in self._given:
            key: Key = ("column", (), 0, 0.0, self._given[id(expression)])
        else:
            inputs = tuple(self.add(one) for one in expression.inputs)
            rest = (expression.n_bars, expression.number, expression.name)
            key = (expression.operation, inputs, *rest)
        number = self._numbers.setdefault(key, len(self.nodes))
        if number == len(self.nodes):
            self.nodes.append(key)
        # The expression is kept as well, so that no other can be given its id.
        self._seen[id(expression)] = (expression, number)
        return number


def identity(expressions: Iterable[Expression]) -> list[object]:
    """Return what expressions compute, as plain data: equal for equal formulas."""
    graph = Graph()
    roots = [graph.add(one) for one in expressions]
    return [[[*node] for node in graph.nodes], roots]


def cross_inputs(outputs: Sequence[Output]) -> list[Expression]:
    """List the operations over the symbols of a bar that a program needs as input columns."""
    found: dict[int, Expression] = {}
    seen: set[int] = set()
    todo = [output.expression for output in outputs]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if one.operation in CROSS_OPERATIONS:
            found[id(one)] = one
        else:
            todo.extend(one.inputs)
    return list(found.values())


def compile_program(
    outputs: Sequence[Output], given: Mapping[int, str] | None = None, *, keep: bool = False
) -> Program:
    """Compile outputs into a program; a register is free again after its last reader.

    Parameters
    ----------
    outputs
        Expressions that the machine can compute from columns.
    given
        Names of the columns that hold operations over symbols, by the `id` of the expression.

    keep
        Give every operation a register of its own, so that nothing is overwritten.

    Raises
    ------
    FeatureError
        If no kernel computes an operation.
    """
    graph = Graph(given)
    roots = [graph.add(output.expression) for output in outputs]
    columns = tuple(dict.fromkeys(name for *_, name in graph.nodes if name))
    last_read = _last_readers(graph)
    wanted: dict[int, list[int]] = {}
    for feature, root in enumerate(roots):
        wanted.setdefault(root, []).append(feature)
    sources: list[int] = []
    free: list[int] = []
    n_registers = 0
    steps: list[list[int]] = []
    numbers: list[float] = []
    for number, (operation, inputs, n_bars, constant, name) in enumerate(graph.nodes):
        features = wanted.get(number, [])
        if name:
            sources.append(-1 - columns.index(name))
        else:
            target = free.pop() if free and not keep else n_registers
            n_registers = max(n_registers, target + 1)
            sources.append(target)
            x, y, z = (
                ([sources[one] for one in inputs] * 3)[:3]
                if len(inputs) == 1
                else ([sources[one] for one in inputs] + [sources[inputs[0]]])[:3]
            )
            steps.append([_code(operation), target, x, y, z, n_bars, -1, 0])
            numbers.append(constant)
        for feature in features:
            if feature == features[0] and not name:
                steps[-1][FEATURE:] = [feature, outputs[feature].warm_up_bars]
            else:
                warm_up = outputs[feature].warm_up_bars
                steps.append([COPY_CODE, 0, sources[number], 0, 0, 0, feature, warm_up])
                numbers.append(0.0)
        done = dict.fromkeys(one for one in (*inputs, number) if last_read[one] == number)
        free.extend(sources[one] for one in done if sources[one] >= 0)
    return Program(
        np.array(steps, dtype=np.int64).reshape(-1, FIELDS),
        np.array(numbers),
        n_registers,
        columns,
    )


def _last_readers(graph: Graph) -> list[int]:
    last = list(range(len(graph.nodes)))
    for number, (_, inputs, *_) in enumerate(graph.nodes):
        for one in inputs:
            last[one] = number
    return last


def _code(operation: str) -> int:
    if operation not in CODES:
        raise FeatureError(
            f"no kernel computes {operation!r}; known: {', '.join(sorted(CODES))}. An operation "
            "over the symbols of a bar may not stand inside another one."
        )
    return CODES[operation]
