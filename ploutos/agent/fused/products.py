"""The three products of a layer. In: weights, values, gradients. Out: the same, multiplied.

Large ones are BLAS's. A head with a handful of outputs is a few passes over memory, which costs
less than to call BLAS.
"""

import numpy as np

from ploutos.agent.fused.options import fused, summed

# Outputs from which BLAS is the quicker.
_ENOUGH = 8
zero = np.float32(0.0)


@fused
def outputs(weight: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """Write `weight @ values`: (O, I) by (I, n) -> (O, n)."""
    if weight.shape[0] >= _ENOUGH:
        np.dot(weight, values, out)
        return
    for o in range(weight.shape[0]):
        row, own = out[o], weight[o]
        row[:] = zero
        _add_rows(values, own, row)


@fused
def _add_rows(values: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Add `weight @ values` to `out`, (n,): four rows at a time, so that it is read less often."""
    n_rows = values.shape[0]
    whole = n_rows // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        first, second, third, fourth = values[i], values[i + 1], values[i + 2], values[i + 3]
        for j in range(out.shape[0]):
            out[j] += a * first[j] + b * second[j] + c * third[j] + d * fourth[j]
    for i in range(whole, n_rows):
        a, first = weight[i], values[i]
        for j in range(out.shape[0]):
            out[j] += a * first[j]


@summed
def of_weight(gradient: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """Write `gradient @ values.T`: (O, n) by (I, n) -> (O, I)."""
    if gradient.shape[0] >= _ENOUGH:
        np.dot(gradient, values.T, out)
        return
    for o in range(gradient.shape[0]):
        given = gradient[o]
        for i in range(values.shape[0]):
            row, total = values[i], zero
            for j in range(row.shape[0]):
                total += given[j] * row[j]
            out[o, i] = total


@fused
def of_values(weight: np.ndarray, gradient: np.ndarray, out: np.ndarray) -> None:
    """Write `weight.T @ gradient`: (O, I) by (O, n) -> (I, n)."""
    if weight.shape[0] >= _ENOUGH:
        np.dot(weight.T, gradient, out)
        return
    for i in range(weight.shape[1]):
        row, own, given = out[i], weight[0, i], gradient[0]
        for j in range(row.shape[0]):
            row[j] = own * given[j]
        for o in range(1, weight.shape[0]):
            own, given = weight[o, i], gradient[o]
            for j in range(row.shape[0]):
                row[j] += own * given[j]
