"""Rows of one step between arrays of the caller's, (T, B, ·) or (N, ·), and a layer's positions.

The caller's padded steps stay as they are. Our rows' padding becomes zero: a NaN of an earlier call may stand there.
"""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.layer import inputs_as_operands
from fastlstm.engine.kernels.states import copy_units
from fastlstm.engine.simd.memory import at, ids_pointer, pointer


@inner
def move_rows(batch, layer, outside, outside_row, inside, inside_row, units, t, first, rows, outwards):
    """Copy so many rows of step t, from row `first` on, to or from the caller."""
    start, order = ids_pointer(batch.start), ids_pointer(layer.order)
    for r in range(first, first + rows):
        place = t * batch.rows + order[r] if layer.order else start[t] + r
        theirs, ours = at(outside, place * outside_row), at(inside, (start[t] + r) * inside_row)
        source, target = (ours, theirs) if outwards else (theirs, ours)
        copy_units(target, source, units)
        for u in range(units, 0 if outwards else inside_row):
            ours[u] = 0


@inner
def take_inputs(batch, layer, t, first, rows, like):
    """Inputs, as operands, unless they are a layer's."""
    if layer.x_in:
        move_rows(batch, layer, pointer(layer.x_in, like), layer.width, pointer(layer.x, like), layer.x_row, layer.width,
                  t, first, rows, 0)  # fmt: skip
        inputs_as_operands(layer, ids_pointer(batch.start)[t] + first, rows, like)


@inner
def give_outputs(batch, layer, t, first, rows, like):
    """Outputs, where they are wanted."""
    if layer.out:
        h = at(pointer(layer.h, like), batch.rows * layer.h_row)
        move_rows(batch, layer, pointer(layer.out, like), layer.width_out, h, layer.h_row, layer.hidden, t, first, rows,
                  1)  # fmt: skip


@inner
def take_output_gradients(batch, layer, t, first, rows, like):
    """Gradients of the outputs, unless they are there."""
    if layer.dout:
        move_rows(batch, layer, pointer(layer.dout, like), layer.width_out, pointer(layer.dh, like), layer.h_row,
                  layer.hidden, t, first, rows, 0)  # fmt: skip


@inner
def give_input_gradients(batch, layer, t, first, rows, like):
    """Gradients of the inputs, where the caller wants them."""
    if layer.dx_out:
        move_rows(batch, layer, pointer(layer.dx_out, like), layer.width, pointer(layer.dx, like), layer.x_row, layer.width,
                  t, first, rows, 1)  # fmt: skip
