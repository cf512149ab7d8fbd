"""The programs of a single layer between arrays of the caller's: forward, backward, and packing alone."""

from __future__ import annotations

from fastlstm.kernels.compile import inner, kernel
from fastlstm.kernels.gradients import gradient_atoms, weight_gradients
from fastlstm.kernels.layer import (
    active_rows,
    backward_rows,
    backward_units,
    blocks,
    forward_rows,
    forward_units,
    pack_block,
)
from fastlstm.kernels.tickets import draw, enter, finish, leave, wait
from fastlstm.simd.memory import at, flush_denormals, ids_pointer, pointer, restore


@inner
def move_rows(batch, layer, outside, inside, inside_row, outside_row, units, first, last, outwards):
    """Copy rows first..last between the caller's (T, B, ·) or (N, ·) array and positions.

    What has no real element on the other side becomes zero: the caller's padded steps, our rows' padded units.
    """
    start, order = ids_pointer(batch.start), ids_pointer(layer.order)
    for t in range(batch.steps):
        rows = active_rows(batch, t, first, last)
        for r in range(last - first if outwards and layer.order else rows):
            place = t * batch.rows + order[first + r] if layer.order else start[t] + first + r
            theirs = at(outside, place * outside_row)
            ours = at(inside, (start[t] + first + r) * inside_row)
            if not outwards:
                for u in range(units):
                    ours[u] = theirs[u]
                for u in range(units, inside_row):
                    ours[u] = 0
            elif r < rows:
                for u in range(units):
                    theirs[u] = ours[u]
            else:
                for u in range(units):
                    theirs[u] = 0


@inner
def pack_phase(layer, like, board, ticket, end, vocabulary):
    """Pack the layer's panels, unless that is done."""
    begin, end = end, end + (0 if layer.packed else blocks(layer, like))
    while ticket < end:
        pack_block(layer, ticket - begin, vocabulary, 0, 0, like)
        ticket = finish(board)
    wait(board, end)
    return ticket, end


@inner
def take_inputs(batch, layer, first, last, like):
    if layer.x_in:
        move_rows(batch, layer, pointer(layer.x_in, like), pointer(layer.x, like), layer.x_row, layer.width, layer.width,
                  first, last, 0)  # fmt: skip


@inner
def give_outputs(batch, layer, first, last, like):
    if layer.out:
        h = at(pointer(layer.h, like), batch.rows * layer.h_row)
        move_rows(batch, layer, pointer(layer.out, like), h, layer.h_row, layer.width_out, layer.hidden,
                  first, last, 1)  # fmt: skip


@inner
def take_gradients(batch, layer, first, last, like):
    move_rows(batch, layer, pointer(layer.dout, like), pointer(layer.dh, like), layer.h_row, layer.width_out, layer.hidden,
              first, last, 0)  # fmt: skip


@inner
def give_gradients(batch, layer, first, last, like):
    if layer.dx_out:
        move_rows(batch, layer, pointer(layer.dx_out, like), pointer(layer.dx, like), layer.x_row, layer.width, layer.width,
                  first, last, 1)  # fmt: skip


@inner
def run_forward(batch, layer, like, board):
    ticket, end = pack_phase(layer, like, board, draw(board), 0, layer.width)
    bounds = ids_pointer(batch.bounds)
    if batch.split:
        end += 1
        if ticket < end:
            take_inputs(batch, layer, 0, batch.rows, like)
            ticket = finish(board)
        ticket, end = forward_units(batch, layer, board, ticket, end, like)
        end += 1
        if ticket < end:
            give_outputs(batch, layer, 0, batch.rows, like)
            ticket = finish(board)
    else:
        begin, end = end, end + batch.groups
        while ticket < end:
            first, last = bounds[ticket - begin], bounds[ticket - begin + 1]
            take_inputs(batch, layer, first, last, like)
            forward_rows(batch, layer, first, last, like)
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
            take_gradients(batch, layer, 0, batch.rows, like)
            ticket = finish(board)
        ticket, end = backward_units(batch, layer, board, ticket, end, like)
        end += 1
        if ticket < end:
            give_gradients(batch, layer, 0, batch.rows, like)
            ticket = finish(board)
    else:
        begin, end = end, end + batch.groups
        while ticket < end:
            first, last = bounds[ticket - begin], bounds[ticket - begin + 1]
            take_gradients(batch, layer, first, last, like)
            backward_rows(batch, layer, first, last, like)
            give_gradients(batch, layer, first, last, like)
            ticket = finish(board)
    wait(board, end)
    begin, end = end, end + (gradient_atoms(layer) if layer.dw_h else 0)
    while ticket < end:
        weight_gradients(batch, layer, ticket - begin, layer.width, 0, 0, 0, like)
        ticket = finish(board)
    wait(board, end)


@kernel
def forward_program(batch, layer, like, board, patience):
    """Pack, then inputs and recurrence of every group. Arrays of one record each."""
    if enter(board):
        saved = flush_denormals()
        run_forward(batch[0], layer[0], like, board)
        restore(saved)
    leave(board, patience)


@kernel
def backward_program(batch, layer, like, board, patience):
    """The recurrence backwards with dx, then the weights' gradients where they are asked for."""
    if enter(board):
        saved = flush_denormals()
        run_backward(batch[0], layer[0], like, board)
        restore(saved)
    leave(board, patience)


@kernel
def pack_program(layer, like, board, patience):
    """Pack a layer's panels, and its table where it has one."""
    if enter(board):
        pack_phase(layer[0], like, board, draw(board), 0, layer[0].width)
    leave(board, patience)
