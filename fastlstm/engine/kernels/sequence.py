"""The programs of a single layer between arrays of the caller's: forward, backward, and packing alone.

A layer has one direction or two; both have the same shape and read the same inputs, and each has a record.
"""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner, kernel
from fastlstm.engine.kernels.embedding import embed_rows, embedding_atoms, table_embedding_gradient
from fastlstm.engine.kernels.exchange import (
    give_input_gradients,
    give_outputs,
    take_inputs,
    take_output_gradients,
)
from fastlstm.engine.kernels.gradients import gradient_atoms, weight_gradients
from fastlstm.engine.kernels.layer import (
    active_rows,
    blocks,
    inputs_first,
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
from fastlstm.engine.kernels.tickets import draw, enter, finish, leave, wait
from fastlstm.engine.simd.memory import ids_pointer


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
def rows_among(batch, t, position, rows):
    """The first of the rows of step t among positions in a row, and how many they are."""
    start = ids_pointer(batch.start)
    first = max(position, start[t])
    return first - start[t], max(0, min(position + rows, start[t + 1]) - first)


@inner
def run_units_forward(batch, layers, board, ticket, end, who, like):
    """After packing, with the units dealt to the workers: one direction after the other."""
    for d in range(len(layers)):
        end += 1
        if ticket < end:
            for t in range(batch.steps):
                take_inputs(batch, layers[d], t, 0, active_rows(batch, t, 0, batch.rows), like)
            ticket = finish(board)
        ticket, end = forward_units(batch, layers[d], board, ticket, end, who, like)
        end += 1
        if ticket < end:
            for t in range(batch.steps):
                give_outputs(batch, layers[d], t, 0, active_rows(batch, t, 0, batch.rows), like)
            ticket = finish(board)
    wait(board, end)


@inner
def run_forward(batch, layers, like, board, who):
    ticket, end = pack_phase(layers, like, board, draw(board), 0)
    if batch.split:
        run_units_forward(batch, layers, board, ticket, end, who, like)
        return
    each = spans(batch, 0, batch.rows) if inputs_first(batch, layers[0]) else 0
    begin, end = end, end + len(layers) * each
    while ticket < end:
        layer = layers[(ticket - begin) // each]
        position, rows = span(batch, 0, batch.rows, (ticket - begin) % each)
        for t in range(batch.steps):
            first, count = rows_among(batch, t, position, rows)
            take_inputs(batch, layer, t, first, count, like)
        inputs_span(batch, layer, position, rows, 0, layer.padded, like)
        ticket = finish(board)
    wait(board, end)
    begin, end, bounds = end, end + len(layers) * batch.groups, ids_pointer(batch.bounds)
    while ticket < end:
        layer, group = layers[(ticket - begin) // batch.groups], (ticket - begin) % batch.groups
        first, last = bounds[group], bounds[group + 1]
        recurrence_forward(batch, layer, first, last, like)
        ticket = finish(board)
    wait(board, end)


@inner
def run_units_backward(batch, layers, board, ticket, end, who, like):
    """The recurrences backwards with dx, with the units dealt to the workers: one direction after the other."""
    for d in range(len(layers)):
        layer = layers[d]
        end += 1
        if ticket < end:
            for t in range(batch.steps):
                take_output_gradients(batch, layer, t, 0, active_rows(batch, t, 0, batch.rows), like)
            ticket = finish(board)
        ticket, end = backward_units(batch, layer, board, ticket, end, who, like)
    end += 1
    if ticket < end:
        for t in range(batch.steps):
            give_input_gradients(batch, layers[0], t, 0, active_rows(batch, t, 0, batch.rows), like)
        ticket = finish(board)
    return ticket, end


@inner
def run_groups_backward(batch, layers, board, ticket, end, like):
    """The recurrences backwards, a group of rows and a direction at a time, and then dx."""
    begin, end, bounds = end, end + len(layers) * batch.groups, ids_pointer(batch.bounds)
    while ticket < end:
        layer, group = layers[(ticket - begin) // batch.groups], (ticket - begin) % batch.groups
        first, last = bounds[group], bounds[group + 1]
        recurrence_backward(batch, layer, first, last, like)
        ticket = finish(board)
    wait(board, end)
    begin, end = end, end + (spans(batch, 0, batch.rows) if layers[0].dx else 0)
    while ticket < end:
        position, rows = span(batch, 0, batch.rows, ticket - begin)
        for d in range(len(layers)):
            inputs_span_backward(batch, layers[d], position, rows, 0, layers[d].width, like)
        for t in range(batch.steps):
            first, count = rows_among(batch, t, position, rows)
            give_input_gradients(batch, layers[0], t, first, count, like)
        ticket = finish(board)
    return ticket, end


@inner
def run_backward(batch, layers, like, board, who):
    if batch.split:
        ticket, end = run_units_backward(batch, layers, board, draw(board), 0, who, like)
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
    who = enter(board)
    if who:
        saved = prepare(like)
        run_forward(batch[0], layers, like, board, who)
        restore(like, saved)
    leave(board, patience)


@kernel
def backward_program(batch, layers, like, board, patience):
    """The recurrence backwards with dx, then the weights' gradients where they are asked for."""
    who = enter(board)
    if who:
        saved = prepare(like)
        run_backward(batch[0], layers, like, board, who)
        restore(like, saved)
    leave(board, patience)


@kernel
def pack_program(layers, like, board, patience):
    """Pack a layer's panels, and its table where it has one."""
    if enter(board):
        pack_phase(layers, like, board, draw(board), 0)
    leave(board, patience)
