"""The programs of a single layer between arrays of the caller's: forward, backward, and packing alone."""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner, kernel
from fastlstm.engine.kernels.embedding import embed_rows, embedding_atoms, table_embedding_gradient
from fastlstm.engine.kernels.gradients import gradient_atoms, weight_gradients
from fastlstm.engine.kernels.layer import (
    active_rows,
    blocks,
    inputs_as_operands,
    inputs_forward,
    inputs_span,
    inputs_span_backward,
    pack_block,
    span,
    spans,
)
from fastlstm.engine.kernels.product import prepare, restore
from fastlstm.engine.kernels.recurrence import (
    backward_units,
    forward_units,
    recurrence_backward,
    recurrence_forward,
)
from fastlstm.engine.kernels.states import copy_units
from fastlstm.engine.kernels.tickets import draw, enter, finish, leave, wait
from fastlstm.engine.simd.memory import at, ids_pointer, pointer


@inner
def move_rows(batch, layer, outside, outside_row, inside, inside_row, units, t, first, rows, outwards):
    """Copy so many rows of step t, from row `first` on, between the caller's (T, B, ·) or (N, ·) array and positions.

    The caller's padded steps stay as they are; our rows' padding becomes zero, a NaN of an earlier call may stand there.
    """
    start, order = ids_pointer(batch.start), ids_pointer(layer.order)
    for r in range(first, first + rows):
        place = t * batch.rows + order[r] if layer.order else start[t] + r
        theirs, ours = at(outside, place * outside_row), at(inside, (start[t] + r) * inside_row)
        source, target = (ours, theirs) if outwards else (theirs, ours)
        copy_units(target, source, units)
        for u in range(units, 0 if outwards else inside_row):
            ours[u] = 0


@inner
def pack_phase(layer, like, board, ticket, end):
    """Pack the layer's panels, unless that is done."""
    begin, end = end, end + (0 if layer.packed else blocks(layer, like))
    while ticket < end:
        pack_block(layer, ticket - begin, like)
        ticket = finish(board)
    end += 1 if layer.e_rows and not layer.packed else 0
    if ticket < end:
        embed_rows(layer, like)
        ticket = finish(board)
    wait(board, end)
    return ticket, end


@inner
def move_states(batch, layer, outside, inside, first, last, outwards, like):
    """`move_rows` of all steps of the rows first..last, between rows as wide as the states and `width_out`."""
    for t in range(batch.steps):
        rows = active_rows(batch, t, first, last)
        move_rows(batch, layer, pointer(outside, like), layer.width_out, inside, layer.h_row, layer.hidden, t, first, rows,
                  outwards)  # fmt: skip


@inner
def move_inputs(batch, layer, outside, inside, position, rows, outwards, like):
    """`move_rows` of positions in a row, between rows as wide as the inputs."""
    start = ids_pointer(batch.start)
    for t in range(batch.steps):
        first = max(position, start[t])
        here = min(position + rows, start[t + 1]) - first
        if here > 0:
            move_rows(batch, layer, pointer(outside, like), layer.width, pointer(inside, like), layer.x_row, layer.width, t,
                      first - start[t], here, outwards)  # fmt: skip


@inner
def give_outputs(batch, layer, first, last, like):
    if layer.out:
        h = at(pointer(layer.h, like), batch.rows * layer.h_row)
        move_states(batch, layer, layer.out, h, first, last, 1, like)


@inner
def input_spans(batch, layer):
    """How many atoms dense inputs are dealt in; ids are looked up row by row, with the recurrence."""
    return 0 if layer.table else spans(batch, 0, batch.rows)


@inner
def run_forward(batch, layer, like, board):
    ticket, end = pack_phase(layer, like, board, draw(board), 0)
    bounds = ids_pointer(batch.bounds)
    if batch.split:
        end += 1
        if ticket < end:
            if layer.x_in:
                move_inputs(batch, layer, layer.x_in, layer.x, 0, batch.positions, 0, like)
                inputs_as_operands(layer, 0, batch.positions, like)
            ticket = finish(board)
        ticket, end = forward_units(batch, layer, board, ticket, end, like)
        end += 1
        if ticket < end:
            give_outputs(batch, layer, 0, batch.rows, like)
            ticket = finish(board)
        wait(board, end)
        return
    begin, end = end, end + input_spans(batch, layer)
    while ticket < end:
        position, rows = span(batch, 0, batch.rows, ticket - begin)
        if layer.x_in:
            move_inputs(batch, layer, layer.x_in, layer.x, position, rows, 0, like)
            inputs_as_operands(layer, position, rows, like)
        inputs_span(batch, layer, position, rows, 0, layer.padded, like)
        ticket = finish(board)
    wait(board, end)
    begin, end = end, end + batch.groups
    while ticket < end:
        first, last = bounds[ticket - begin], bounds[ticket - begin + 1]
        if layer.table:
            inputs_forward(batch, layer, first, last, 0, layer.padded, like)
        recurrence_forward(batch, layer, first, last, like)
        give_outputs(batch, layer, first, last, like)
        ticket = finish(board)
    wait(board, end)


@inner
def run_backward(batch, layer, like, board):
    bounds = ids_pointer(batch.bounds)
    ticket, end = draw(board), 0
    if batch.split:
        end += 1
        if ticket < end:
            move_states(batch, layer, layer.dout, pointer(layer.dh, like), 0, batch.rows, 0, like)
            ticket = finish(board)
        ticket, end = backward_units(batch, layer, board, ticket, end, like)
        end += 1
        if ticket < end:
            if layer.dx:
                move_inputs(batch, layer, layer.dx_out, layer.dx, 0, batch.positions, 1, like)
            ticket = finish(board)
    else:
        begin, end = end, end + batch.groups
        while ticket < end:
            first, last = bounds[ticket - begin], bounds[ticket - begin + 1]
            move_states(batch, layer, layer.dout, pointer(layer.dh, like), first, last, 0, like)
            recurrence_backward(batch, layer, first, last, like)
            ticket = finish(board)
        wait(board, end)
        begin, end = end, end + (spans(batch, 0, batch.rows) if layer.dx else 0)
        while ticket < end:
            position, rows = span(batch, 0, batch.rows, ticket - begin)
            inputs_span_backward(batch, layer, position, rows, 0, layer.width, like)
            move_inputs(batch, layer, layer.dx_out, layer.dx, position, rows, 1, like)
            ticket = finish(board)
    begin, end = end, end + (gradient_atoms(layer) if layer.dw_h else 0)
    while ticket < end:
        weight_gradients(batch, layer, ticket - begin, like)
        ticket = finish(board)
    wait(board, end)
    begin, end = end, end + (embedding_atoms(layer) if layer.de else 0)
    while ticket < end:
        table_embedding_gradient(layer, ticket - begin, 0, like)
        ticket = finish(board)
    wait(board, end)


@kernel
def forward_program(batch, layer, like, board, patience):
    """Pack, then inputs and recurrence of every group. Arrays of one record each."""
    if enter(board):
        saved = prepare(like)
        run_forward(batch[0], layer[0], like, board)
        restore(like, saved)
    leave(board, patience)


@kernel
def backward_program(batch, layer, like, board, patience):
    """The recurrence backwards with dx, then the weights' gradients where they are asked for."""
    if enter(board):
        saved = prepare(like)
        run_backward(batch[0], layer[0], like, board)
        restore(like, saved)
    leave(board, patience)


@kernel
def pack_program(layer, like, board, patience):
    """Pack a layer's panels, and its table where it has one."""
    if enter(board):
        pack_phase(layer[0], like, board, draw(board), 0)
    leave(board, patience)
