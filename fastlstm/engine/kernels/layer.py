"""One LSTM layer's packing and its inputs: the share of the gates' arguments that does not wait for the step before."""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.operands import as_operands, pack_columns, pack_rows
from fastlstm.engine.kernels.product import line, product, product_from, steps
from fastlstm.engine.simd.memory import at, ids_pointer, operand, pointer
from fastlstm.engine.simd.routines import add, copy

# Rows of a product over many positions at a time: they stay in the L2 cache while the panels pass.
SPAN = 120
# Units of a weight gradient's atom.
UNITS = 64


@inner
def blocks(layer, like):
    """How many lines of units a layer has: the atoms of its packing."""
    return layer.padded // line(pointer(layer.w_h, like))


@inner
def pack_block(layer, block, like):
    """Pack everything that belongs to the units of one line: panels, transposed panels, bias, table columns."""
    w_h, w_x = pointer(layer.w_h, like), pointer(layer.w_x, like)
    b_h, b_x = pointer(layer.b_h, like), pointer(layer.b_x, like)
    across, hidden, padded = line(w_h), layer.hidden, layer.padded
    first = block * across
    units = min(across, hidden - first)
    for gate in range(4):
        row = gate * hidden + first
        panel = gate * (padded // across) + block
        column = gate * padded + first
        bias = at(pointer(layer.bias, like), column)
        for u in range(units):
            bias[u] = 0
            if layer.b_h:
                bias[u] += b_h[row + u]
            if layer.b_x:
                bias[u] += b_x[row + u]
        rows_h, rows_x = at(w_h, row * layer.w_h_row), at(w_x, row * layer.w_x_row)
        forward_h, forward_x = operand(layer.forward_h, like), operand(layer.forward_x, like)
        depth, depth_x = steps(forward_h, hidden), steps(forward_x, layer.width)
        pack_columns(at(forward_h, panel * depth * across), rows_h, layer.w_h_row, units, hidden)
        if layer.forward_x:
            pack_columns(at(forward_x, panel * depth_x * across), rows_x, layer.w_x_row, units, layer.width)
        whole, four = 4 * padded * across, steps(forward_h, 4 * padded) * across
        if layer.backward_h:
            target = at(operand(layer.backward_h, like), steps(forward_h, column) * across)
            pack_rows(target, four, rows_h, layer.w_h_row, units, hidden)
        if layer.backward_x and layer.table:
            target = at(pointer(layer.backward_x, like), column * across)
            pack_rows(target, whole, rows_x, layer.w_x_row, units, layer.width)
        elif layer.backward_x:
            target = at(operand(layer.backward_x, like), steps(forward_x, column) * across)
            pack_rows(target, four, rows_x, layer.w_x_row, units, layer.width)
        if layer.table:
            table = at(pointer(layer.table, like), column)
            table_x = at(pointer(layer.table_x, like), panel * layer.width * across)
            if layer.table_x != layer.forward_x:
                pack_columns(table_x, rows_x, layer.w_x_row, units, layer.width)
            if layer.e:
                product_from(bias, 0, ids_pointer(0), table, layer.gates_row, pointer(layer.e, like), layer.width, 1,
                             table_x, across, 0, layer.vocabulary, layer.width, across, 1, 0)  # fmt: skip
            else:
                for v in range(layer.vocabulary):
                    copy(at(table, v * layer.gates_row), bias, across)
                    add(at(table, v * layer.gates_row), at(table_x, v * across), across)


@inner
def spans(batch, first, last):
    """How many runs of consecutive positions the rows first..last are made of."""
    if first == 0 and last == batch.rows:
        return -(-batch.positions // SPAN)
    return batch.steps


@inner
def span(batch, first, last, i):
    """The first position and the length of run i; the length may be 0."""
    if first == 0 and last == batch.rows:
        return i * SPAN, min(SPAN, batch.positions - i * SPAN)
    start = ids_pointer(batch.start)
    active = start[i + 1] - start[i]
    return start[i] + first, max(0, min(last, active) - first)


@inner
def active_rows(batch, t, first, last):
    """How many of the rows first..last are active at step t; 0 outside the sequence."""
    if t < 0 or t >= batch.steps:
        return 0
    start = ids_pointer(batch.start)
    return max(0, min(last, start[t + 1] - start[t]) - first)


@inner
def dense_inputs(batch, layer, like):
    """The layer's inputs as operands, a row for each position."""
    return at(operand(layer.x_operand, like), batch.rows * layer.x_operand_row if layer.states_below else 0)


@inner
def inputs_as_operands(layer, position, rows, like):
    """Make operands of the dense inputs of positions in a row."""
    x, across = pointer(layer.x, like), line(pointer(layer.x, like))
    whole = -(-layer.width // across) * across
    for n in range(position, position + rows):
        as_operands(
            at(operand(layer.x_operand, like), n * layer.x_operand_row), at(x, n * layer.x_row), whole
        )


@inner
def inputs_span(batch, layer, position, rows, unit, units, like):
    """The arguments of so many units' gates from the dense inputs of positions in a row: bias + x · W_xᵀ."""
    gates, bias = pointer(layer.gates, like), pointer(layer.bias, like)
    forward_x, x = operand(layer.forward_x, like), dense_inputs(batch, layer, like)
    across, padded, depth = line(gates), layer.padded, steps(x, layer.width)
    parts, width = (1, 4 * padded) if units == padded else (4, units)
    for gate in range(parts if rows else 0):
        column = gate * padded + unit
        product_from(at(bias, column), 0, ids_pointer(0), at(gates, position * layer.gates_row + column), layer.gates_row,
                     at(x, position * layer.x_operand_row), layer.x_operand_row, 1, at(forward_x, column * depth), across,
                     depth * across, rows, depth, width, 1, 0)  # fmt: skip


@inner
def inputs_first(batch, layer):
    """Whether dense inputs are multiplied before the recurrence, many rows at a time.

    That is for a single group, whose steps have few rows. Of several, each takes a step's while its rows are in the cache;
    and ids are looked up by the recurrence.
    """
    return batch.groups == 1 and not layer.table


@inner
def inputs_forward(batch, layer, first, last, unit, units, like):
    """`inputs_span` for all positions of the rows first..last, where that comes first."""
    for i in range(spans(batch, first, last) if inputs_first(batch, layer) else 0):
        position, rows = span(batch, first, last, i)
        inputs_span(batch, layer, position, rows, unit, units, like)


@inner
def inputs_span_backward(batch, layer, position, rows, column, columns, like):
    """So many columns of dx = gradients of the gates' arguments · W_x, for positions in a row."""
    d_gates = operand(layer.d_gates, like)
    across, four = line(d_gates), steps(d_gates, 4 * layer.padded)
    # Whole lines: dx may be the gradients of the layer below, whose padding an earlier NaN may have filled.
    whole = -(-columns // across) * across
    if rows:
        dx = at(pointer(layer.dx, like), position * layer.x_row + column)
        product(dx, layer.x_row, at(d_gates, position * layer.d_gates_row), layer.d_gates_row, 1,
                at(operand(layer.backward_x, like), four * column), across, four * across,
                rows, four, whole, layer.more, 0)  # fmt: skip


@inner
def inputs_backward(batch, layer, first, last, column, columns, like):
    """`inputs_span_backward` for all positions of the rows first..last."""
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        inputs_span_backward(batch, layer, position, rows, column, columns, like)
