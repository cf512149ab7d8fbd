"""The recurrence of one LSTM layer, forward and backward, for a group of rows or with the units dealt to the workers.

Rows are sequences, and a group of rows goes through all its steps alone: nothing here depends on other rows.
"""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.exchange import give_outputs, take_inputs, take_output_gradients
from fastlstm.engine.kernels.layer import UNITS, active_rows, inputs_backward, inputs_forward, inputs_span
from fastlstm.engine.kernels.product import line, product, product_from, steps
from fastlstm.engine.kernels.single import add_shares, leave_share
from fastlstm.engine.kernels.states import give_gradients, give_states, last_step, take_gradients, take_states
from fastlstm.engine.kernels.tickets import claim, finish, wait
from fastlstm.engine.simd.memory import at, ids_pointer, operand, pointer
from fastlstm.engine.simd.routines import lstm_cell, lstm_cell_backward


@inner
def forward_step(batch, layer, s, first, last, unit, units, like):
    """Step s of the recurrence for the rows first..last and so many units.

    The gates hold the inputs' share; that of ids, a row of the table each, is what their sums start from.
    """
    gates, h, c = pointer(layer.gates, like), pointer(layer.h, like), pointer(layer.c, like)
    states, panels = operand(layer.h_operand, like), operand(layer.forward_h, like)
    across, padded, depth = line(gates), layer.padded, steps(states, layer.hidden)
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
        there = depth if part == 0 or layer.carried else 0
        for gate in range(parts if there or layer.table else 0):
            column = gate * padded + unit
            target = at(gates, position * layer.gates_row + column)
            begin, numbers = target, ids_pointer(0)
            if layer.table:
                begin = at(pointer(layer.table, like), column)
                numbers = at(ids_pointer(batch.ids), position)
            product_from(begin, layer.gates_row, numbers, target, layer.gates_row,
                         at(states, source * layer.h_operand_row), layer.h_operand_row, 1, at(panels, column * depth),
                         across, depth * across, high - low, there, width, 1, 0)  # fmt: skip
        for r in range(high - low):
            n = batch.rows + position + r
            lstm_cell(at(gates, (position + r) * layer.gates_row + unit), at(c, (source + r) * layer.h_row + unit),
                      at(c, n * layer.h_row + unit), at(h, n * layer.h_row + unit),
                      at(states, n * layer.h_operand_row + steps(states, unit)), padded, units)  # fmt: skip


@inner
def backward_step(batch, layer, s, first, last, unit, units, like):
    """Step s backwards, for the rows first..last and so many units.

    From the gates come the gradients of their arguments, and dc becomes that of the cell states before; those of the
    step after are complete. The gradients of outputs are there, or are the caller's for rows that go on to a step after.
    A single row of many units takes dh from shares that the step after has left, and leaves its own.
    """
    gates, c, d_gates = pointer(layer.gates, like), pointer(layer.c, like), operand(layer.d_gates, like)
    dh, dc = at(pointer(layer.dh, like), unit), at(pointer(layer.dc, like), unit)
    across, padded, four = line(gates), layer.padded, steps(d_gates, 4 * layer.padded)
    start = ids_pointer(batch.start)
    t = batch.steps - 1 - s if layer.step > 0 else s
    rows = active_rows(batch, t, first, last)
    before, after = t - layer.step, t + layer.step
    position = start[t] + first
    goes_on = min(rows, active_rows(batch, after, first, last))
    if goes_on and layer.shares:
        add_shares(layer, at(dh, position * layer.h_row), s - 1, unit, units, like)
    elif goes_on:
        target = at(dh, position * layer.h_row)
        begin, begin_row, numbers = target, layer.h_row, ids_pointer(0)
        if layer.dout and not batch.split:
            if layer.hidden < padded:
                take_output_gradients(batch, layer, t, first, goes_on, like)
            else:
                place = t * batch.rows if layer.order else position
                begin, begin_row = at(pointer(layer.dout, like), place * layer.width_out), layer.width_out
                if layer.order:
                    numbers = at(ids_pointer(layer.order), first)
        product_from(begin, begin_row, numbers, target, layer.h_row,
                     at(d_gates, (start[after] + first) * layer.d_gates_row), layer.d_gates_row, 1,
                     at(operand(layer.backward_h, like), four * unit), across, four * across,
                     goes_on, four, units, 1, 0)  # fmt: skip
    carried = min(rows, active_rows(batch, before, first, last))
    for r in range(rows):
        source = (batch.rows + start[before] if r < carried else 0) + first + r
        n = position + r
        lstm_cell_backward(at(gates, n * layer.gates_row + unit), at(c, source * layer.h_row + unit),
                           at(c, (batch.rows + n) * layer.h_row + unit), at(dh, n * layer.h_row),
                           at(dc, (first + r) * layer.h_row),
                           at(d_gates, n * layer.d_gates_row + steps(d_gates, unit)), padded, units)  # fmt: skip
    if layer.shares and rows and (carried or layer.dh0):
        leave_share(layer, at(d_gates, position * layer.d_gates_row), s, unit, units, like)


@inner
def start_gradient(batch, layer, first, last, unit, units, like):
    """dh0 of the rows first..last for so many units, from the gradients of their first steps' gates."""
    d_gates = operand(layer.d_gates, like)
    start, across, four = ids_pointer(batch.start), line(d_gates), steps(d_gates, 4 * layer.padded)
    for s in range(batch.steps):
        t = s if layer.step > 0 else batch.steps - 1 - s
        rows = active_rows(batch, t, first, last)
        low = min(rows, active_rows(batch, t - layer.step, first, last))
        if low < rows:
            dh0 = at(pointer(layer.dh0, like), (first + low) * layer.h_row + unit)
            if layer.shares:
                for u in range(units):
                    dh0[u] = 0
                add_shares(layer, dh0, batch.steps - 1 - s, unit, units, like)
                continue
            gradients = at(d_gates, (start[t] + first + low) * layer.d_gates_row)
            product(dh0, layer.h_row, gradients, layer.d_gates_row, 1,
                    at(operand(layer.backward_h, like), four * unit), across, four * across,
                    rows - low, four, units, 0, 0)  # fmt: skip


@inner
def recurrence_forward(batch, layer, first, last, like):
    """The rows first..last through all their steps."""
    start = ids_pointer(batch.start)
    take_states(batch, layer, first, last, 0, layer.padded, like)
    for s in range(batch.steps):
        t = s if layer.step > 0 else batch.steps - 1 - s
        rows = active_rows(batch, t, first, last)
        if batch.groups > 1 and not layer.table:
            take_inputs(batch, layer, t, first, rows, like)
            inputs_span(batch, layer, start[t] + first, rows, 0, layer.padded, like)
        forward_step(batch, layer, s, first, last, 0, layer.padded, like)
        give_outputs(batch, layer, t, first, rows, like)
    give_states(batch, layer, first, last, 0, layer.padded, like)


@inner
def recurrence_backward(batch, layer, first, last, like):
    """The rows first..last backwards through all their steps, then dh0 where it is asked for."""
    t = batch.steps - 1
    for r in range(first, last):
        t = last_step(batch, layer, r, t)
        take_output_gradients(batch, layer, t, r, 1 if t >= 0 else 0, like)
    take_gradients(batch, layer, first, last, 0, layer.padded, like)
    for s in range(batch.steps):
        backward_step(batch, layer, s, first, last, 0, layer.padded, like)
    if layer.dh0:
        start_gradient(batch, layer, first, last, 0, layer.padded, like)
    give_gradients(batch, layer, first, last, 0, layer.padded, like)


@inner
def unit_atoms(layer):
    """Into how many atoms a step's units are split."""
    return -(-layer.padded // UNITS)


@inner
def unit_range(size, atom):
    """The first of an atom's units, and how many they are."""
    return atom * UNITS, min(UNITS, size - atom * UNITS)


@inner
def forward_units(batch, layer, board, ticket, end, who, like):
    """All rows forward with the units dealt to the workers: a phase for the inputs, then one for each step."""
    for s in range(-1, batch.steps):
        wait(board, end)
        begin, end = end, end + unit_atoms(layer)
        while ticket < end:
            atom = claim(board, unit_atoms(layer), ticket - begin, s % 2, end, who)
            unit, units = unit_range(layer.padded, atom)
            if s < 0:
                take_states(batch, layer, 0, batch.rows, unit, units, like)
                inputs_forward(batch, layer, 0, batch.rows, unit, units, like)
            else:
                forward_step(batch, layer, s, 0, batch.rows, unit, units, like)
            if s == batch.steps - 1:
                give_states(batch, layer, 0, batch.rows, unit, units, like)
            ticket = finish(board)
    wait(board, end)
    return ticket, end


@inner
def backward_units(batch, layer, board, ticket, end, who, like):
    """All rows backwards with the units dealt to the workers, then dh0 and dx where they are asked for."""
    for s in range(batch.steps + 1):
        wait(board, end)
        begin, end = end, end + unit_atoms(layer)
        while ticket < end:
            atom = claim(board, unit_atoms(layer), ticket - begin, (batch.steps + s) % 2, end, who)
            unit, units = unit_range(layer.padded, atom)
            if s == 0:
                take_gradients(batch, layer, 0, batch.rows, unit, units, like)
            if s < batch.steps:
                backward_step(batch, layer, s, 0, batch.rows, unit, units, like)
            elif layer.dh0:
                start_gradient(batch, layer, 0, batch.rows, unit, units, like)
                give_gradients(batch, layer, 0, batch.rows, unit, units, like)
            ticket = finish(board)
    begin, end = end, end + (-(-layer.width // UNITS) if layer.dx else 0)
    while ticket < end:
        column, columns = unit_range(layer.width, ticket - begin)
        inputs_backward(batch, layer, 0, batch.rows, column, columns, like)
        ticket = finish(board)
    wait(board, end)
    return ticket, end
