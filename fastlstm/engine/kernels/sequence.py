"""The programs of a single layer between arrays of the caller's: forward, backward, and packing alone.

A layer has one direction or two; both have the same shape and read the same inputs, and each has a record.
"""

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
def pack_phase(layers, like, board, ticket, end):
    """Pack the layers' panels, unless that is done."""
    each = 0 if layers[0].packed else blocks(layers[0], like)
    begin, end = end, end + len(layers) * each
    while ticket < end:
        atom = ticket - begin
        pack_block(layers[atom // each], atom % each, like)
        ticket = finish(board)
    end += 1 if layers[0].e_rows and each else 0
    if ticket < end:
        for d in range(len(layers)):
            embed_rows(layers[d], like)
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
def take_inputs(batch, layer, position, rows, like):
    """The caller's inputs of positions in a row, as operands."""
    if layer.x_in:
        move_inputs(batch, layer, layer.x_in, layer.x, position, rows, 0, like)
        inputs_as_operands(layer, position, rows, like)


@inner
def run_units_forward(batch, layers, board, ticket, end, like):
    """After packing, with the units dealt to the workers: one direction after the other."""
    for d in range(len(layers)):
        end += 1
        if ticket < end:
            take_inputs(batch, layers[d], 0, batch.positions, like)
            ticket = finish(board)
        ticket, end = forward_units(batch, layers[d], board, ticket, end, like)
        end += 1
        if ticket < end:
            give_outputs(batch, layers[d], 0, batch.rows, like)
            ticket = finish(board)
    wait(board, end)


@inner
def run_forward(batch, layers, like, board):
    ticket, end = pack_phase(layers, like, board, draw(board), 0)
    if batch.split:
        run_units_forward(batch, layers, board, ticket, end, like)
        return
    # Ids are looked up row by row, with the recurrence.
    each = 0 if layers[0].table else spans(batch, 0, batch.rows)
    begin, end = end, end + len(layers) * each
    while ticket < end:
        layer = layers[(ticket - begin) // each]
        position, rows = span(batch, 0, batch.rows, (ticket - begin) % each)
        take_inputs(batch, layer, position, rows, like)
        inputs_span(batch, layer, position, rows, 0, layer.padded, like)
        ticket = finish(board)
    wait(board, end)
    begin, end, bounds = end, end + len(layers) * batch.groups, ids_pointer(batch.bounds)
    while ticket < end:
        layer, group = layers[(ticket - begin) // batch.groups], (ticket - begin) % batch.groups
        first, last = bounds[group], bounds[group + 1]
        if layer.table:
            inputs_forward(batch, layer, first, last, 0, layer.padded, like)
        recurrence_forward(batch, layer, first, last, like)
        give_outputs(batch, layer, first, last, like)
        ticket = finish(board)
    wait(board, end)


@inner
def run_units_backward(batch, layers, board, ticket, end, like):
    """The recurrences backwards with dx, with the units dealt to the workers: one direction after the other."""
    for d in range(len(layers)):
        layer = layers[d]
        end += 1
        if ticket < end:
            move_states(batch, layer, layer.dout, pointer(layer.dh, like), 0, batch.rows, 0, like)
            ticket = finish(board)
        ticket, end = backward_units(batch, layer, board, ticket, end, like)
    end += 1
    if ticket < end:
        if layers[0].dx:
            move_inputs(batch, layers[0], layers[0].dx_out, layers[0].dx, 0, batch.positions, 1, like)
        ticket = finish(board)
    return ticket, end


@inner
def run_groups_backward(batch, layers, board, ticket, end, like):
    """The recurrences backwards, a group of rows and a direction at a time, and then dx."""
    begin, end, bounds = end, end + len(layers) * batch.groups, ids_pointer(batch.bounds)
    while ticket < end:
        layer, group = layers[(ticket - begin) // batch.groups], (ticket - begin) % batch.groups
        first, last = bounds[group], bounds[group + 1]
        move_states(batch, layer, layer.dout, pointer(layer.dh, like), first, last, 0, like)
        recurrence_backward(batch, layer, first, last, like)
        ticket = finish(board)
    wait(board, end)
    begin, end = end, end + (spans(batch, 0, batch.rows) if layers[0].dx else 0)
    while ticket < end:
        position, rows = span(batch, 0, batch.rows, ticket - begin)
        for d in range(len(layers)):
            inputs_span_backward(batch, layers[d], position, rows, 0, layers[d].width, like)
        move_inputs(batch, layers[0], layers[0].dx_out, layers[0].dx, position, rows, 1, like)
        ticket = finish(board)
    return ticket, end


@inner
def run_backward(batch, layers, like, board):
    if batch.split:
        ticket, end = run_units_backward(batch, layers, board, draw(board), 0, like)
    else:
        ticket, end = run_groups_backward(batch, layers, board, draw(board), 0, like)
    each = gradient_atoms(layers[0]) if layers[0].dw_h else 0
    begin, end = end, end + len(layers) * each
    while ticket < end:
        atom = ticket - begin
        weight_gradients(batch, layers[atom // each], atom % each, like)
        ticket = finish(board)
    wait(board, end)
    begin, end = end, end + (embedding_atoms(layers[0]) if layers[0].de else 0)
    while ticket < end:
        for d in range(len(layers)):
            table_embedding_gradient(layers[d], ticket - begin, layers[d].more, like)
        ticket = finish(board)
    wait(board, end)


@kernel
def forward_program(batch, layers, like, board, patience):
    """Pack, then inputs and recurrence of every group. Arrays of one record, and of one for each direction."""
    if enter(board):
        saved = prepare(like)
        run_forward(batch[0], layers, like, board)
        restore(like, saved)
    leave(board, patience)


@kernel
def backward_program(batch, layers, like, board, patience):
    """The recurrence backwards with dx, then the weights' gradients where they are asked for."""
    if enter(board):
        saved = prepare(like)
        run_backward(batch[0], layers, like, board)
        restore(like, saved)
    leave(board, patience)


@kernel
def pack_program(layers, like, board, patience):
    """Pack a layer's panels, and its table where it has one."""
    if enter(board):
        pack_phase(layers, like, board, draw(board), 0)
    leave(board, patience)
