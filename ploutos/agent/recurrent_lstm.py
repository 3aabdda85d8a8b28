"""A `torch.nn.LSTM` over packed sequences, forward and back. In: rows of inputs. Out: rows.

The same numbers as torch's own, to rounding, without padding, without gradients that nobody asked
for, and with the weights' gradients as one product each. Steps that many sequences do are products
of torch's BLAS, the rest is done by the compiled walk (`ploutos.agent.recurrent_cell`).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ploutos.agent.recurrent_cell import FEW, step_cells, step_cells_back, walk, walk_back
from ploutos.agent.recurrent_minibatches import Sequences

States = tuple[torch.Tensor, ...]
# Values of a cache line, and the width from which a copy costs less than crossing lines does.
ALIGNED, WIDE = 16, 512


class _Weights(NamedTuple):
    """One layer's parameters; biases are None where the LSTM has none."""

    inputs: nn.Parameter
    hidden: nn.Parameter
    input_bias: nn.Parameter | None
    hidden_bias: nn.Parameter | None


class Layer(NamedTuple):
    """What the way back through a layer needs.

    inputs (R, I). gates (R, 4H): what they gave. hidden, cell (n + R, H): states, those that the
    sequences start from first.
    """

    inputs: torch.Tensor
    gates: torch.Tensor
    hidden: torch.Tensor
    cell: torch.Tensor

    @property
    def outputs(self) -> torch.Tensor:
        """The (R, H) hidden states after each row."""
        return self.hidden[self.hidden.shape[0] - self.gates.shape[0] :]


def is_plain(lstm: nn.Module) -> bool:
    """Tell whether an LSTM is one that this module computes: float32 on the CPU, no extras."""
    return (
        type(lstm) is nn.LSTM
        and not (lstm.bidirectional or lstm.proj_size or lstm.dropout or lstm.batch_first)
        and all(p.device.type == "cpu" and p.dtype == torch.float32 for p in lstm.parameters())
    )


@torch.no_grad()
def run(lstm: nn.LSTM, inputs: torch.Tensor, sequences: Sequences, states: States) -> list[Layer]:
    """Run an LSTM over packed sequences and return its layers; the last one's outputs are its.

    Parameters
    ----------
    lstm : nn.LSTM
        One that `is_plain`.
    inputs : (R, I) float32
        In the order of `sequences.rows`.
    sequences : Sequences
        n of them.
    states : pair of (layers, n, H)
        Hidden and cell states before the first steps, already cleared where an episode begins.
    """
    layers: list[Layer] = []
    for weights, before, cell_before in zip(_layers(lstm), *states, strict=True):
        layer = _enter(weights, inputs, before, cell_before)
        _walk(weights.hidden.detach(), layer, sequences.counts)
        layers.append(layer)
        inputs = layer.outputs
    return layers


@torch.no_grad()
def run_back(
    lstm: nn.LSTM,
    layers: list[Layer],
    gradient: torch.Tensor,
    sequences: Sequences,
    *,
    needs_inputs: bool,
) -> torch.Tensor | None:
    """Write the gradients of an LSTM's parameters; return that of its inputs if they need one.

    Parameters
    ----------
    lstm, sequences
        As in `run`.
    layers : list of Layer
        What `run` returned; used up.
    gradient : (R, H)
        Of the outputs.
    needs_inputs : bool
        Whether the inputs' gradient is wanted; without it a third of the work is saved.
    """
    previous = torch.from_numpy(sequences.previous)
    of_inputs: torch.Tensor | None = gradient
    for number, (weights, layer) in reversed(
        list(enumerate(zip(_layers(lstm), layers, strict=True)))
    ):
        if of_inputs is None:
            raise ValueError("expected a gradient of every layer's outputs")
        _walk_back(weights.hidden.detach(), layer, of_inputs, sequences.counts)
        _write(weights.inputs, layer.gates, layer.inputs)
        _write(weights.hidden, layer.gates, layer.hidden[previous])
        for bias in (weights.input_bias, weights.hidden_bias):
            if bias is not None and bias.requires_grad:
                bias.grad = layer.gates.sum(0)
        wanted = number > 0 or needs_inputs
        of_inputs = layer.gates @ weights.inputs if wanted else None
    return of_inputs


@torch.no_grad()
def step(lstm: nn.LSTM, inputs: torch.Tensor, states: States) -> tuple[torch.Tensor, States]:
    """Do one step for n environments.

    Parameters
    ----------
    lstm : nn.LSTM
        One that `is_plain`.
    inputs : (n, I) float32
        One row per environment.
    states : pair of (layers, n, H)
        Before the step, already cleared where an episode begins.

    Returns
    -------
    (n, H), pair of (layers, n, H)
        Outputs, and the states after the step.
    """
    hidden, cell, counts = [], [], np.array([inputs.shape[0]])
    for weights, before, cell_before in zip(_layers(lstm), *states, strict=True):
        layer = _enter(weights, inputs, before, cell_before)
        _walk(weights.hidden.detach(), layer, counts)
        inputs = layer.outputs
        hidden.append(inputs)
        cell.append(layer.cell[inputs.shape[0] :])
    return inputs, (torch.stack(hidden), torch.stack(cell))


def _layers(lstm: nn.LSTM) -> list[_Weights]:
    return [
        _Weights(
            getattr(lstm, f"weight_ih_l{number}"),
            getattr(lstm, f"weight_hh_l{number}"),
            getattr(lstm, f"bias_ih_l{number}", None),
            getattr(lstm, f"bias_hh_l{number}", None),
        )
        for number in range(lstm.num_layers)
    ]


def _enter(
    weights: _Weights, inputs: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
) -> Layer:
    """Return a layer with all that goes into its gates but the recurrent part."""
    n, size = hidden.shape
    rows = inputs.shape[0]
    gates = torch.empty(rows, 4 * size)
    if weights.input_bias is None or weights.hidden_bias is None:
        torch.mm(inputs, weights.inputs.T, out=gates)
    else:
        bias = weights.input_bias + weights.hidden_bias
        torch.addmm(bias, inputs, weights.inputs.T, out=gates)
    states = torch.empty(2, n + rows, size)
    states[0, :n], states[1, :n] = hidden, cell
    return Layer(inputs, gates, states[0], states[1])


def _walk(weight: torch.Tensor, layer: Layer, counts: np.ndarray) -> None:
    """Do all steps of a layer; see `ploutos.agent.recurrent_cell.walk`."""
    _, gates, hidden, cell = layer
    own_gates, own_hidden, own_cell = gates.numpy(), hidden.numpy(), cell.numpy()
    before, at, after = 0, 0, int(counts[0])
    many = counts[counts > FEW].tolist()
    for count in many:
        own, last = gates[at : at + count], hidden[before : before + count]
        torch.addmm(own, last, weight.T, out=own)
        step_cells(
            own_gates[at : at + count],
            own_cell[before : before + count],
            own_cell[after : after + count],
            own_hidden[after : after + count],
        )
        before, at, after = after, at + count, after + count
    if len(many) < counts.size:
        walk(weight.numpy(), own_gates, own_hidden, own_cell, counts, len(many))


def _walk_back(
    weight: torch.Tensor, layer: Layer, gradient: torch.Tensor, counts: np.ndarray
) -> None:
    """Write the gradient of what went into a layer's gates over its gates."""
    _, gates, _, cell = layer
    n = int(counts[0])
    of_hidden = torch.cat([gradient.new_zeros(n, gradient.shape[1]), gradient])
    own_gates, own_cell, own_hidden = gates.numpy(), cell.numpy(), of_hidden.numpy()
    many = counts[counts > FEW].tolist()
    of_cell = walk_back(weight.numpy(), own_gates, own_cell, own_hidden, counts, len(many))
    at = sum(many)
    for t, count in reversed(list(enumerate(many))):
        at -= count
        after = n + at
        before = after - many[t - 1] if t else 0
        step_cells_back(
            own_gates[at : at + count],
            own_cell[before : before + count],
            own_cell[after : after + count],
            own_hidden[after : after + count],
            of_cell[:count],
        )
        if t:
            earlier = of_hidden[before : before + count]
            torch.addmm(earlier, gates[at : at + count], weight, out=earlier)


def _write(parameter: nn.Parameter, gates: torch.Tensor, inputs: torch.Tensor) -> None:
    """Write `gates.T @ inputs` as a parameter's gradient, into the memory of the one before."""
    if not parameter.requires_grad:
        return
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter)
    width = inputs.shape[1]
    if width < WIDE or width % ALIGNED == 0:
        torch.mm(gates.T, inputs, out=parameter.grad)
        return
    # A BLAS writes rows that begin anywhere a third slower than rows that begin at cache lines.
    room = torch.empty(parameter.shape[0], width + -width % ALIGNED)[:, :width]
    parameter.grad.copy_(torch.mm(gates.T, inputs, out=room))
