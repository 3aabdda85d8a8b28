"""A network as numbers, and its two passes. In: flat parameters, inputs. Out: outputs, gradients.

The network is that of Stable-Baselines3's `MlpPolicy`: an input layer (the first layers of actor
and critic side by side, or one that they share), then layers that each read the outputs of one
other, the last two being the heads. Values lie feature-major, (features, samples): a layer is one
matrix product, and what follows it runs over samples. Of observations by reference the market part
of the input layer is computed outside, once per distinct row; here it is added where it belongs.
"""

from typing import NamedTuple

import numpy as np

from ploutos.agent.fused.elementary import tanh
from ploutos.agent.fused.options import fused, summed
from ploutos.agent.fused.products import of_values, of_weight, outputs

IDENTITY, TANH, RELU = 0, 1, 2
# Columns of `Net.layers`: rows of input and output in `values`, places of weight and bias in the
# parameters, activation.
FROM, N_IN, TO, N_OUT, WEIGHT, BIAS, ACTIVATION = range(7)

zero = np.float32(0.0)
one = np.float32(1.0)


class Net(NamedTuple):
    """Shapes and places of a network.

    parameters (P,) float32, changed in place by the optimiser. input_layer (7,) int64, N_IN counts
    what each sample holds, D values or A of its account. layers (n, 7) int64: the other layers in
    the order of the forward pass; the last two are the action head and the value head. n_values:
    rows of `values`. n_market: values of a window of
    market rows, 0 by value; its weights come first and are (in, out), where others are (out, in).
    heads (n_heads + 1,) int64: rows of the action head's output at which each categorical choice
    begins; empty for means of a Gaussian. log_std: place of the logarithms of its deviations.
    """

    parameters: np.ndarray
    input_layer: np.ndarray
    layers: np.ndarray
    n_values: int
    n_market: int
    heads: np.ndarray
    log_std: int


@fused
def activate(values: np.ndarray, bias: np.ndarray, activation: int) -> None:
    """Add biases (H,) to values (H, n) and apply the activation, in place."""
    for h in range(values.shape[0]):
        row, own = values[h], bias[h]
        if activation == TANH:
            for j in range(row.shape[0]):
                row[j] = tanh(row[j] + own)
        elif activation == RELU:
            for j in range(row.shape[0]):
                row[j] = max(row[j] + own, zero)
        else:
            for j in range(row.shape[0]):
                row[j] += own


@fused
def slope(values: np.ndarray, gradient: np.ndarray, activation: int) -> None:
    """Multiply gradients (H, n) by the activation's derivative at its outputs, in place."""
    for h in range(values.shape[0]):
        row, own = values[h], gradient[h]
        if activation == TANH:
            for j in range(row.shape[0]):
                own[j] *= one - row[j] * row[j]
        elif activation == RELU:
            for j in range(row.shape[0]):
                own[j] = own[j] if row[j] > zero else zero


@summed
def add_row_sums(values: np.ndarray, out: np.ndarray) -> None:
    """Add the sums over samples of (H, n) to `out`, (H,)."""
    for h in range(values.shape[0]):
        row, total = values[h], zero
        for j in range(row.shape[0]):
            total += row[j]
        out[h] += total


@fused
def add_to(values: np.ndarray, out: np.ndarray) -> None:
    """Add flat values to flat `out`."""
    for i in range(out.shape[0]):
        out[i] += values[i]


@fused
def _weight(parameters: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Return the weight (out, in) of a layer, a view."""
    first, size = layer[WEIGHT], layer[N_OUT] * layer[N_IN]
    return parameters[first : first + size].reshape(layer[N_OUT], layer[N_IN])


@fused
def _account_weight(net: Net, parameters: np.ndarray) -> np.ndarray:
    """Return the input layer's weight of the account part, (in, out), a view."""
    layer = net.input_layer
    first = layer[WEIGHT] + net.n_market * layer[N_OUT]
    size = layer[N_IN] * layer[N_OUT]
    return parameters[first : first + size].reshape(layer[N_IN], layer[N_OUT])


@fused
def market_weight(net: Net, parameters: np.ndarray) -> np.ndarray:
    """Return the part of parameters that weighs the market, (n_market, H), a view."""
    first, size = net.input_layer[WEIGHT], net.n_market * net.input_layer[N_OUT]
    return parameters[first : first + size].reshape(net.n_market, net.input_layer[N_OUT])


@fused
def rows_of(values: np.ndarray, first: int, count: int, n: int) -> np.ndarray:
    """Return rows of the (n_values, n) matrix that lies in flat `values`, (count, n), a view."""
    return values[first * n : (first + count) * n].reshape(count, n)


@fused
def forward(
    net: Net, inputs: np.ndarray, market: tuple[np.ndarray, np.ndarray], values: np.ndarray
) -> None:
    """Write the outputs of all layers.

    Parameters
    ----------
    net : Net
        The network.
    inputs : (n, N_IN) float32
        Observations, or account parts of observations by reference.
    market : ((U, H) float32, (n,) int64)
        By reference: the market parts of the input layer, and which of them each sample has.
    values : (n_values * n,) float32
        Written: rows of n samples, one layer after another.
    """
    n, parameters = inputs.shape[0], net.parameters
    layer = net.input_layer
    out = rows_of(values, 0, layer[N_OUT], n)
    if net.n_market == 0:
        np.dot(_weight(parameters, layer), inputs.T, out)
    else:
        np.dot(_account_weight(net, parameters).T, inputs.T, out)
        parts, place = market
        for j in range(n):
            part = parts[place[j]]
            for h in range(out.shape[0]):
                out[h, j] += part[h]
    activate(out, parameters[layer[BIAS] : layer[BIAS] + layer[N_OUT]], layer[ACTIVATION])
    for number in range(net.layers.shape[0]):
        layer = net.layers[number]
        out = rows_of(values, layer[TO], layer[N_OUT], n)
        own = rows_of(values, layer[FROM], layer[N_IN], n)
        outputs(_weight(parameters, layer), own, out)
        activate(out, parameters[layer[BIAS] : layer[BIAS] + layer[N_OUT]], layer[ACTIVATION])


@fused
def backward(
    net: Net,
    inputs: np.ndarray,
    values: np.ndarray,
    gradients: np.ndarray,
    room: np.ndarray,
    of_parameters: np.ndarray,
) -> None:
    """Add the gradient of the parameters that follows from that of the heads' outputs.

    Parameters
    ----------
    net, inputs
        As in `forward`.
    values : (n_values * n,) float32
        As `forward` left them.
    gradients : (n_values * n,) float32
        The rows of the two heads are read; all others are written, those of the input layer too.
    room : (largest weight,) float32
        Overwritten.
    of_parameters : (P,) float32
        Added to; but for the market part of the input layer, which is the caller's to add.
    """
    n, parameters = inputs.shape[0], net.parameters
    for number in range(net.layers.shape[0] - 1, -1, -1):
        layer = net.layers[number]
        given = rows_of(gradients, layer[TO], layer[N_OUT], n)
        own = rows_of(values, layer[FROM], layer[N_IN], n)
        slope(rows_of(values, layer[TO], layer[N_OUT], n), given, layer[ACTIVATION])
        size = layer[N_OUT] * layer[N_IN]
        of_weight(given, own, room[:size].reshape(layer[N_OUT], layer[N_IN]))
        add_to(room[:size], of_parameters[layer[WEIGHT] : layer[WEIGHT] + size])
        add_row_sums(given, of_parameters[layer[BIAS] : layer[BIAS] + layer[N_OUT]])
        to = rows_of(gradients, layer[FROM], layer[N_IN], n)
        of_values(_weight(parameters, layer), given, to)
    layer = net.input_layer
    given = rows_of(gradients, 0, layer[N_OUT], n)
    slope(rows_of(values, 0, layer[N_OUT], n), given, layer[ACTIVATION])
    size = layer[N_OUT] * layer[N_IN]
    first = layer[WEIGHT] + net.n_market * layer[N_OUT]
    if net.n_market == 0:
        np.dot(given, inputs, room[:size].reshape(layer[N_OUT], layer[N_IN]))
    else:
        np.dot(inputs.T, given.T, room[:size].reshape(layer[N_IN], layer[N_OUT]))
    add_to(room[:size], of_parameters[first : first + size])
    add_row_sums(given, of_parameters[layer[BIAS] : layer[BIAS] + layer[N_OUT]])
