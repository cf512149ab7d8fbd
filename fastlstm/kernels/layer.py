"""One LSTM layer over a batch: packing, inputs, the recurrence forward and backward, and its weights' gradients.

Rows are sequences, and a group of rows goes through all its steps alone: nothing here depends on other rows.
"""

from __future__ import annotations

from fastlstm.kernels.compile import inner
from fastlstm.kernels.product import line, pack_columns, pack_rows, product
from fastlstm.kernels.tickets import finish, wait
from fastlstm.simd.memory import at, ids_pointer, pointer
from fastlstm.simd.routines import add, copy, lstm_cell, lstm_cell_backward

# Rows of a product over many positions at a time: they stay in the L2 cache while the panels pass.
SPAN = 120
# Units of a weight gradient's atom.
UNITS = 64


@inner
def blocks(layer, like):
    """How many lines of units a layer has: the atoms of its packing."""
    return layer.padded // line(pointer(layer.w_h, like))


@inner
def pack_block(layer, block, vocabulary, e, embedding, like):
    """Pack everything that belongs to the units of one line: panels, transposed panels, bias, table columns."""
    w_h, w_x, b = pointer(layer.w_h, like), pointer(layer.w_x, like), pointer(layer.b, like)
    across, hidden, padded = line(w_h), layer.hidden, layer.padded
    first = block * across
    units = min(across, hidden - first)
    for gate in range(4):
        row = gate * hidden + first
        panel = gate * (padded // across) + block
        column = gate * padded + first
        bias = at(pointer(layer.bias, like), column)
        for u in range(units):
            bias[u] = b[row + u]
        forward_h = at(pointer(layer.forward_h, like), panel * hidden * across)
        pack_columns(forward_h, at(w_h, row * layer.w_h_row), layer.w_h_row, units, hidden)
        forward_x = at(pointer(layer.forward_x, like), panel * layer.width * across)
        pack_columns(forward_x, at(w_x, row * layer.w_x_row), layer.w_x_row, units, layer.width)
        if layer.backward_h:
            target = at(pointer(layer.backward_h, like), column * across)
            pack_rows(target, 4 * padded * across, at(w_h, row * layer.w_h_row), layer.w_h_row, units, hidden)
        if layer.backward_x:
            target = at(pointer(layer.backward_x, like), column * across)
            pack_rows(
                target, 4 * padded * across, at(w_x, row * layer.w_x_row), layer.w_x_row, units, layer.width
            )
        if layer.table:
            table = at(pointer(layer.table, like), column)
            for v in range(vocabulary):
                copy(at(table, v * layer.gates_row), bias, across)
            if embedding:
                product(table, layer.gates_row, pointer(e, like), embedding, 1, forward_x, across, 0,
                        vocabulary, embedding, across, 1, 0)  # fmt: skip
            else:
                for v in range(vocabulary):
                    add(at(table, v * layer.gates_row), at(forward_x, v * across), across)


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
    """The layer's inputs, a row for each position."""
    return at(pointer(layer.x, like), batch.rows * layer.x_row if layer.states_below else 0)


@inner
def inputs_span(batch, layer, position, rows, unit, units, like):
    """The arguments of so many units' gates from the inputs of positions in a row: table rows, or bias + x · W_xᵀ."""
    gates, bias, ids = pointer(layer.gates, like), pointer(layer.bias, like), ids_pointer(batch.ids)
    across, padded = line(gates), layer.padded
    parts, width = (1, 4 * padded) if units == padded else (4, units)
    for gate in range(parts if rows else 0):
        column = gate * padded + unit
        target = at(gates, position * layer.gates_row + column)
        for n in range(rows):
            if layer.table:
                source = at(pointer(layer.table, like), ids[position + n] * layer.gates_row + column)
            else:
                source = at(bias, column)
            copy(at(target, n * layer.gates_row), source, width)
        if not layer.table:
            panel = at(pointer(layer.forward_x, like), column * layer.width)
            product(target, layer.gates_row, at(dense_inputs(batch, layer, like), position * layer.x_row), layer.x_row, 1,
                    panel, across, layer.width * across, rows, layer.width, width, 1, 0)  # fmt: skip


@inner
def inputs_forward(batch, layer, first, last, unit, units, like):
    """`inputs_span` for all positions of the rows first..last."""
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        inputs_span(batch, layer, position, rows, unit, units, like)


@inner
def forward_step(batch, layer, s, first, last, unit, units, like):
    """Step s of the recurrence for the rows first..last and so many units; the gates hold the inputs' share."""
    gates, h, c = pointer(layer.gates, like), pointer(layer.h, like), pointer(layer.c, like)
    across, padded = line(gates), layer.padded
    start = ids_pointer(batch.start)
    t = s if layer.step > 0 else batch.steps - 1 - s
    rows = active_rows(batch, t, first, last)
    before = t - layer.step
    carried = min(rows, active_rows(batch, before, first, last))
    parts, width = (1, 4 * padded) if units == padded else (4, units)
    for part in range(2):
        # Rows that go on from the step before, then rows that begin.
        low, high = (0, carried) if part == 0 else (carried, rows)
        if high == low:
            continue
        source = (batch.rows + start[before] + first if part == 0 else first) + low
        position = start[t] + first + low
        for gate in range(parts if part == 0 or layer.carried else 0):
            column = gate * padded + unit
            product(at(gates, position * layer.gates_row + column), layer.gates_row,
                    at(h, source * layer.h_row), layer.h_row, 1,
                    at(pointer(layer.forward_h, like), column * layer.hidden), across, layer.hidden * across,
                    high - low, layer.hidden, width, 1, 0)  # fmt: skip
        for r in range(high - low):
            n = batch.rows + position + r
            lstm_cell(at(gates, (position + r) * layer.gates_row + unit), at(c, (source + r) * layer.h_row + unit),
                      at(c, n * layer.h_row + unit), at(h, n * layer.h_row + unit), padded, units)  # fmt: skip


@inner
def backward_step(batch, layer, s, first, last, unit, units, like):
    """Step s backwards, for the rows first..last and so many units.

    dh and dc become the gradients of the gates' arguments; those of the step after are complete.
    """
    gates, c = pointer(layer.gates, like), pointer(layer.c, like)
    dh, dc = at(pointer(layer.dh, like), unit), at(pointer(layer.dc, like), unit)
    across, padded = line(gates), layer.padded
    back = at(pointer(layer.backward_h, like), 4 * padded * unit)
    start = ids_pointer(batch.start)
    t = batch.steps - 1 - s if layer.step > 0 else s
    rows = active_rows(batch, t, first, last)
    before, after = t - layer.step, t + layer.step
    position = start[t] + first
    goes_on = min(rows, active_rows(batch, after, first, last))
    if goes_on:
        product(at(dh, position * layer.h_row), layer.h_row,
                at(gates, (start[after] + first) * layer.gates_row), layer.gates_row, 1,
                back, across, 4 * padded * across, goes_on, 4 * padded, units, 1, 0)  # fmt: skip
    if layer.dh_n:
        for r in range(goes_on, rows):
            add(
                at(dh, (position + r) * layer.h_row),
                at(pointer(layer.dh_n, like), (first + r) * layer.h_row + unit),
                units,
            )
    carried = min(rows, active_rows(batch, before, first, last))
    for r in range(rows):
        source = (batch.rows + start[before] if r < carried else 0) + first + r
        n = position + r
        lstm_cell_backward(at(gates, n * layer.gates_row + unit), at(c, source * layer.h_row + unit),
                           at(c, (batch.rows + n) * layer.h_row + unit), at(dh, n * layer.h_row),
                           at(dc, (first + r) * layer.h_row), padded, units)  # fmt: skip


@inner
def start_gradient(batch, layer, first, last, unit, units, like):
    """dh0 of the rows first..last for so many units, from the gradients of their first steps' gates."""
    gates = pointer(layer.gates, like)
    start, across = ids_pointer(batch.start), line(gates)
    for s in range(batch.steps):
        t = s if layer.step > 0 else batch.steps - 1 - s
        rows = active_rows(batch, t, first, last)
        low = min(rows, active_rows(batch, t - layer.step, first, last))
        if low < rows:
            dh0 = at(pointer(layer.dh0, like), (first + low) * layer.h_row + unit)
            product(dh0, layer.h_row, at(gates, (start[t] + first + low) * layer.gates_row), layer.gates_row, 1,
                    at(pointer(layer.backward_h, like), 4 * layer.padded * unit), across, 4 * layer.padded * across,
                    rows - low, 4 * layer.padded, units, 0, 0)  # fmt: skip


@inner
def inputs_span_backward(batch, layer, position, rows, column, columns, like):
    """So many columns of dx = gradients of the gates' arguments · W_x, for positions in a row."""
    gates = pointer(layer.gates, like)
    across, padded = line(gates), layer.padded
    # Whole lines: dx may be the gradients of the layer below, whose padding an earlier NaN may have filled.
    whole = -(-columns // across) * across
    if rows:
        dx = at(pointer(layer.dx, like), position * layer.x_row + column)
        product(dx, layer.x_row, at(gates, position * layer.gates_row), layer.gates_row, 1,
                at(pointer(layer.backward_x, like), 4 * padded * column), across, 4 * padded * across,
                rows, 4 * padded, whole, 0, 0)  # fmt: skip


@inner
def inputs_backward(batch, layer, first, last, column, columns, like):
    """`inputs_span_backward` for all positions of the rows first..last."""
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        inputs_span_backward(batch, layer, position, rows, column, columns, like)


@inner
def recurrence_forward(batch, layer, first, last, like):
    """The rows first..last through all their steps; the gates hold the inputs' share."""
    for s in range(batch.steps):
        forward_step(batch, layer, s, first, last, 0, layer.padded, like)


@inner
def recurrence_backward(batch, layer, first, last, like):
    """The rows first..last backwards through all their steps, then dh0 where it is asked for."""
    for s in range(batch.steps):
        backward_step(batch, layer, s, first, last, 0, layer.padded, like)
    if layer.dh0:
        start_gradient(batch, layer, first, last, 0, layer.padded, like)


@inner
def unit_atoms(layer):
    """Into how many atoms a step's units are split."""
    return -(-layer.padded // UNITS)


@inner
def unit_range(size, atom):
    """The first of an atom's units, and how many they are."""
    return atom * UNITS, min(UNITS, size - atom * UNITS)


@inner
def forward_units(batch, layer, board, ticket, end, like):
    """All rows forward with the units dealt to the workers: a phase for the inputs, then one for each step."""
    for s in range(-1, batch.steps):
        wait(board, end)
        begin, end = end, end + unit_atoms(layer)
        while ticket < end:
            unit, units = unit_range(layer.padded, ticket - begin)
            if s < 0:
                inputs_forward(batch, layer, 0, batch.rows, unit, units, like)
            else:
                forward_step(batch, layer, s, 0, batch.rows, unit, units, like)
            ticket = finish(board)
    wait(board, end)
    return ticket, end


@inner
def backward_units(batch, layer, board, ticket, end, like):
    """All rows backwards with the units dealt to the workers, then dh0 and dx where they are asked for."""
    for s in range(batch.steps + 1):
        wait(board, end)
        begin, end = end, end + unit_atoms(layer)
        while ticket < end:
            unit, units = unit_range(layer.padded, ticket - begin)
            if s < batch.steps:
                backward_step(batch, layer, s, 0, batch.rows, unit, units, like)
            elif layer.dh0:
                start_gradient(batch, layer, 0, batch.rows, unit, units, like)
            ticket = finish(board)
    begin, end = end, end + (-(-layer.width // UNITS) if layer.dx else 0)
    while ticket < end:
        column, columns = unit_range(layer.width, ticket - begin)
        inputs_backward(batch, layer, 0, batch.rows, column, columns, like)
        ticket = finish(board)
    wait(board, end)
    return ticket, end
