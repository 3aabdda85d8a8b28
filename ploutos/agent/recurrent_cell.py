"""The LSTM's cell, compiled, and its walk through time over few sequences. In, out: float32 arrays.

Gates are laid out as in `torch.nn.LSTM`: input, forget, candidate, output, H values each. Rows are
packed: those of all sequences' first steps, then those of their second steps, and so on; longer
sequences come first, so that step t is done by the first `counts[t]` of them. Hidden and cell
states have one block of rows more, before the others: the states that the sequences start from.

With few sequences a product with the recurrent weights is one pass over these weights. The loops
here make it for several sequences at a time, twice as fast as a BLAS that does not expect so few.
"""

import numpy as np

from ploutos.agent.fused.elementary import tanh
from ploutos.agent.fused.options import apart

# Up to so many sequences the loops here are faster than a BLAS.
FEW = 8


_HALF, _ONE = np.float32(0.5), np.float32(1.0)


@apart
def sigmoid(x: np.float32) -> np.float32:
    """Return 1 / (1 + exp(-x)) of a float32, within 2e-7."""
    return _HALF * tanh(_HALF * x) + _HALF


@apart
def step_cells(gates: np.ndarray, before: np.ndarray, cell: np.ndarray, hidden: np.ndarray) -> None:
    """Do one step of n cells.

    Parameters
    ----------
    gates : (n, 4H)
        What goes into the gates; what they give is written over it, for the way back.
    before : (n, H)
        Cell states before the step.
    cell, hidden : (n, H)
        Written: the states after it.
    """
    size = cell.shape[1]
    for b in range(cell.shape[0]):
        own, earlier, later, shown = gates[b], before[b], cell[b], hidden[b]
        inputs, forgets = own[:size], own[size : 2 * size]
        candidates, outputs = own[2 * size : 3 * size], own[3 * size :]
        for k in range(size):
            i, f = sigmoid(inputs[k]), sigmoid(forgets[k])
            g, o = tanh(candidates[k]), sigmoid(outputs[k])
            inputs[k], forgets[k], candidates[k], outputs[k] = i, f, g, o
            value = f * earlier[k] + i * g
            later[k] = value
            shown[k] = o * tanh(value)


@apart
def step_cells_back(
    gates: np.ndarray,
    before: np.ndarray,
    cell: np.ndarray,
    of_hidden: np.ndarray,
    of_cell: np.ndarray,
) -> None:
    """Go back through one step of n cells.

    Parameters
    ----------
    gates : (n, 4H)
        What the gates gave; the gradient of what went into them is written over it.
    before, cell : (n, H)
        Cell states before and after the step.
    of_hidden : (n, H)
        Gradient of the hidden states after the step, complete.
    of_cell : (n, H)
        What later steps add to the gradient of the cell states after the step; overwritten by
        what this step adds to that of the states before it.
    """
    size = cell.shape[1]
    for b in range(cell.shape[0]):
        own, earlier, later = gates[b], before[b], cell[b]
        hidden_gradient, cell_gradient = of_hidden[b], of_cell[b]
        inputs, forgets = own[:size], own[size : 2 * size]
        candidates, outputs = own[2 * size : 3 * size], own[3 * size :]
        for k in range(size):
            i, f, g, o = inputs[k], forgets[k], candidates[k], outputs[k]
            shown = tanh(later[k])
            change = hidden_gradient[k]
            value = change * o * (_ONE - shown * shown) + cell_gradient[k]
            inputs[k] = value * g * i * (_ONE - i)
            forgets[k] = value * earlier[k] * f * (_ONE - f)
            candidates[k] = value * i * (_ONE - g * g)
            outputs[k] = change * shown * o * (_ONE - o)
            cell_gradient[k] = value * f


@apart
def add_product(hidden: np.ndarray, weight: np.ndarray, gates: np.ndarray) -> None:
    """Add `hidden @ weight.T` to `gates`: (n, H), (4H, H) -> (n, 4H), for small n."""
    n, size = hidden.shape
    for b in range(0, n, 4):
        if b < n - 1:
            _add_four(hidden, weight, gates, b)
            continue
        own, out = hidden[b], gates[b]
        for j in range(weight.shape[0]):
            row, product = weight[j], np.float32(0.0)
            for k in range(size):
                product += row[k] * own[k]
            out[j] += product


@apart
def _add_four(hidden: np.ndarray, weight: np.ndarray, gates: np.ndarray, b: int) -> None:
    """Do it for the four sequences from b on, two rows of weights at a time.

    Eight sums fill the registers; where fewer than four sequences are left, the last is done again
    in vain.
    """
    last = hidden.shape[0] - 1
    at1, at2, at3 = min(b + 1, last), min(b + 2, last), min(b + 3, last)
    h0, h1, h2, h3 = hidden[b], hidden[at1], hidden[at2], hidden[at3]
    zero = np.float32(0.0)
    for j in range(0, weight.shape[0], 2):
        row, other = weight[j], weight[j + 1]
        a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
        for k in range(hidden.shape[1]):
            x, y = row[k], other[k]
            a0, a1, a2, a3 = a0 + x * h0[k], a1 + x * h1[k], a2 + x * h2[k], a3 + x * h3[k]
            b0, b1, b2, b3 = b0 + y * h0[k], b1 + y * h1[k], b2 + y * h2[k], b3 + y * h3[k]
        gates[b, j] += a0
        gates[b, j + 1] += b0
        if at1 == b + 1:
            gates[at1, j] += a1
            gates[at1, j + 1] += b1
        if at2 == b + 2:
            gates[at2, j] += a2
            gates[at2, j + 1] += b2
        if at3 == b + 3:
            gates[at3, j] += a3
            gates[at3, j + 1] += b3


@apart
def add_product_back(gates: np.ndarray, weight: np.ndarray, hidden: np.ndarray) -> None:
    """Add `gates @ weight` to `hidden`: (n, 4H), (4H, H) -> (n, H), for small n."""
    n, size = hidden.shape
    for j in range(0, 4 * size, 4):
        row0, row1, row2, row3 = weight[j], weight[j + 1], weight[j + 2], weight[j + 3]
        for b in range(n):
            own, out = gates[b], hidden[b]
            g0, g1, g2, g3 = own[j], own[j + 1], own[j + 2], own[j + 3]
            for k in range(size):
                out[k] += g0 * row0[k] + g1 * row1[k] + g2 * row2[k] + g3 * row3[k]


@apart
def walk(
    weight: np.ndarray,
    gates: np.ndarray,
    hidden: np.ndarray,
    cell: np.ndarray,
    counts: np.ndarray,
    first: int,
) -> None:
    """Do the steps from `first` to the last.

    Parameters
    ----------
    weight : (4H, H)
        Recurrent weights.
    gates : (R, 4H)
        The inputs' part of what goes into the gates; as in `step_cells` afterwards.
    hidden, cell : (n + R, H)
        States, known up to step `first`; the later ones are written.
    counts : (T,) int64
        How many sequences do step t; n of them do the first one.
    first : int
        The first step to do.
    """
    n = counts[0]
    at, before = _place_of(counts, first)
    for t in range(first, counts.shape[0]):
        count = counts[t]
        own, after = gates[at : at + count], n + at
        add_product(hidden[before : before + count], weight, own)
        step_cells(
            own,
            cell[before : before + count],
            cell[after : after + count],
            hidden[after : after + count],
        )
        at, before = at + count, after


@apart
def walk_back(
    weight: np.ndarray,
    gates: np.ndarray,
    cell: np.ndarray,
    of_hidden: np.ndarray,
    counts: np.ndarray,
    first: int,
) -> np.ndarray:
    """Go back from the last step to `first`.

    Parameters
    ----------
    weight, gates, cell, counts, first
        As `walk` left them; gradients are written over the gates.
    of_hidden : (n + R, H)
        Gradient of the hidden states as far as their own outputs make it; what the next step adds
        is added.

    Returns
    -------
    (n, H)
        What the steps from `first` on add to the gradient of the cell states before them.
    """
    n, at = counts[0], gates.shape[0]
    of_cell = np.zeros((n, cell.shape[1]), np.float32)
    for back in range(counts.shape[0] - first):
        t = counts.shape[0] - 1 - back
        count = counts[t]
        at -= count
        own, after = gates[at : at + count], n + at
        before = after - counts[t - 1] if t > 0 else 0
        step_cells_back(
            own,
            cell[before : before + count],
            cell[after : after + count],
            of_hidden[after : after + count],
            of_cell[:count],
        )
        if t > 0:
            add_product_back(own, weight, of_hidden[before : before + count])
    return of_cell


@apart
def _place_of(counts: np.ndarray, step: int) -> tuple[int, int]:
    """Return where a step's rows begin, and where the states before it do."""
    at, before = 0, 0
    for t in range(step):
        before = counts[0] + at
        at += counts[t]
    return at, before
