"""Plans the machine's work. In: expressions. Out: a program, in which equal parts occur once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ploutos.errors import FeatureError
from ploutos.features.expression import Expression
from ploutos.features.kernels.opcodes import CODES, bars_needed
from ploutos.features.lowering import Windows, lower

# The fields of an instruction; after them stand the places of up to seven inputs.
CODE, TARGET, BARS, FEATURE, WARM_UP, FIRST_INPUT = range(6)
MOST_INPUTS = 7
FIELDS = FIRST_INPUT + MOST_INPUTS
COPY_CODE = -1
CROSS_OPERATIONS = frozenset({"universe_mean", "universe_rank"})

Key = tuple[str, tuple[int, ...], int, float, str]


@dataclass(frozen=True, slots=True)
class Program:
    """A table of instructions, as `ploutos.features.kernels.machine` reads it.

    Attributes
    ----------
    steps
        (K, 12) int64: code, place of the result, n, feature, warm-up, places of the inputs.
    numbers
        (K,) float64 constants.
    n_registers
        Places for results; they follow those of the input columns.
    columns
        Names of the input columns, in the order of their places.
    """

    steps: NDArray[np.int64]
    numbers: NDArray[np.float64]
    n_registers: int
    columns: tuple[str, ...]

    @property
    def n_places(self) -> int:
        """Return the number of columns that the program works on."""
        return len(self.columns) + self.n_registers

    @property
    def table(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what the machine is given."""
        return self.steps, self.numbers

    @property
    def needs(self) -> NDArray[np.int64]:
        """Return (K,) how many values of its inputs each instruction needs to give one."""
        needs = [bars_needed(code, n) for code, n in self.steps[:, [CODE, BARS]].tolist()]
        return np.array(needs, dtype=np.int64)


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
        self._windows = Windows(self._node)
        self._numbers: dict[Key, int] = {}
        self._seen: dict[int, tuple[Expression, int]] = {}

    def add(self, expression: Expression) -> int:
        """Return the number of an expression's node; equal expressions have the same."""
        known = self._seen.get(id(expression))
        if known is not None:
            return known[1]
        if id(expression) in self._given:
            number = self._node("column", (), name=self._given[id(expression)])
        elif expression.name:
            number = self._node("column", (), name=expression.name)
        else:
            inputs = tuple(self.add(one) for one in expression.inputs)
            rest = (expression.operation, inputs, expression.n_bars, expression.number)
            number = lower(self._windows, *rest)
        # The expression is kept as well, so that no other can be given its id.
        self._seen[id(expression)] = (expression, number)
        return number

    def _node(
        self,
        operation: str,
        inputs: tuple[int, ...],
        n_bars: int = 0,
        number: float = 0.0,
        name: str = "",
    ) -> int:
        key = (operation, inputs, n_bars, float(number), name)
        place = self._numbers.setdefault(key, len(self.nodes))
        if place == len(self.nodes):
            self.nodes.append(key)
        return place


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
    features: dict[int, list[int]] = {}
    for feature, root in enumerate(roots):
        features.setdefault(root, []).append(feature)
    places = _places(graph, columns, keep=keep)
    steps: list[list[int]] = []
    numbers: list[float] = []
    for node, (operation, inputs, n_bars, constant, name) in enumerate(graph.nodes):
        own = features.get(node, [])
        if not name:
            sources = [places[one] for one in inputs]
            padding = sources[:1] * (MOST_INPUTS - len(sources))
            steps.append([_code(operation), places[node], n_bars, -1, 0, *sources, *padding])
            numbers.append(constant)
            if own:
                steps[-1][FEATURE:FIRST_INPUT] = [own[0], outputs[own[0]].warm_up_bars]
                own = own[1:]
        for feature in own:
            copy = [COPY_CODE, places[node], 0, feature, outputs[feature].warm_up_bars]
            steps.append([*copy, *[places[node]] * MOST_INPUTS])
            numbers.append(0.0)
    return Program(
        np.array(steps, dtype=np.int64).reshape(-1, FIELDS),
        np.array(numbers),
        max((len(columns), *(place + 1 for place in places))) - len(columns),
        columns,
    )


def _places(graph: Graph, columns: tuple[str, ...], *, keep: bool) -> list[int]:
    """Return where each node's column stands; a place is free again after its last reader."""
    last = list(range(len(graph.nodes)))
    for node, (_, inputs, *_) in enumerate(graph.nodes):
        for one in inputs:
            last[one] = node
    places: list[int] = []
    free: list[int] = []
    used = len(columns)
    for node, (_, inputs, _, _, name) in enumerate(graph.nodes):
        if name:
            places.append(columns.index(name))
        else:
            places.append(free.pop() if free and not keep else used)
            used = max(used, places[node] + 1)
        done = dict.fromkeys(one for one in (*inputs, node) if last[one] == node)
        free.extend(places[one] for one in done if places[one] >= len(columns))
    return places


def _code(operation: str) -> int:
    if operation not in CODES:
        raise FeatureError(
            f"no kernel computes {operation!r}; known: {', '.join(sorted(CODES))}. An operation "
            "over the symbols of a bar may not stand inside another one."
        )
    return CODES[operation]
