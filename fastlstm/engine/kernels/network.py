"""The whole training step as one program: pack, groups of rows, weight gradients, norm, update."""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner, kernel
from fastlstm.engine.kernels.dropout import drop
from fastlstm.engine.kernels.embedding import (
    embed_rows,
    embedding_atoms,
    gather,
    gathered_embedding_gradient,
    table_embedding_gradient,
)
from fastlstm.engine.kernels.gradients import gradient_atoms, weight_gradients
from fastlstm.engine.kernels.head import (
    contrast_rows,
    head_atoms,
    head_backward,
    head_gradients,
    logits_forward,
    loss_rows,
    pack_head,
)
from fastlstm.engine.kernels.layer import blocks, inputs_backward, inputs_forward, pack_block, span, spans
from fastlstm.engine.kernels.operands import as_operands
from fastlstm.engine.kernels.optimizer import run_update
from fastlstm.engine.kernels.product import prepare, restore
from fastlstm.engine.kernels.recurrence import (
    backward_units,
    forward_units,
    recurrence_backward,
    recurrence_forward,
)
from fastlstm.engine.kernels.tickets import draw, enter, finish, leave, wait
from fastlstm.engine.simd.memory import (
    at,
    floats_pointer,
    ids_pointer,
    operand,
    pointer,
)


@inner
def drop_rows(batch, layer, target, source, operands, keep, first, last, like):
    """Dropout of a layer's outputs, which become operands too, or of their gradients (0), for the rows first..last."""
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        drop(batch, target, source, layer.h_row, position, rows, layer.hidden, keep, layer.key)
        for n in range(position, position + rows if operands else position):
            place = at(operand(operands, like), n * layer.h_operand_row)
            as_operands(place, at(target, n * layer.h_row), layer.padded)


@inner
def layer_inputs(batch, layers, l, network, first, last, like):
    """What layer l needs before its own inputs: gathered embeddings, or nothing."""
    if l == 0 and network.gathered:
        gather(batch, layers[0], network, first, last, like)


@inner
def layer_outputs(batch, layer, network, first, last, like):
    """Dropout of a layer's states, where there is any."""
    if layer.dropped:
        h, dropped = at(pointer(layer.h, like), batch.rows * layer.h_row), pointer(layer.dropped, like)
        drop_rows(batch, layer, dropped, h, layer.dropped_operand, network.keep, first, last, like)


@inner
def output_gradients(batch, layer, network, first, last, like):
    """Dropout's share in the gradients of a layer's outputs."""
    if layer.dropped:
        dh = pointer(layer.dh, like)
        drop_rows(batch, layer, dh, dh, 0, network.keep, first, last, like)


@inner
def finish_rows(batch, layers, head, network, group, first, last, like):
    """The rows first..last from the top layer's states to the losses, and back."""
    top = layers[network.layers - 1]
    logits_forward(batch, head, top, first, last, like)
    if network.losses:
        loss_rows(batch, head, group, first, last, like)
        if head.pairs:
            contrast_rows(batch, head, group, first, last, like)
    if network.backward:
        head_backward(batch, head, top, first, last, like)


@inner
def run_group(batch, layers, head, network, group, first, last, like):
    """The rows first..last from ids to losses, and down to the gradients of every gate's argument."""
    for l in range(network.layers):
        layer_inputs(batch, layers, l, network, first, last, like)
        inputs_forward(batch, layers[l], first, last, 0, layers[l].padded, like)
        recurrence_forward(batch, layers[l], first, last, like)
        layer_outputs(batch, layers[l], network, first, last, like)
    finish_rows(batch, layers, head, network, group, first, last, like)
    for below in range(network.layers if network.backward else 0):
        layer = layers[network.layers - 1 - below]
        output_gradients(batch, layer, network, first, last, like)
        recurrence_backward(batch, layer, first, last, like)
        if layer.dx:
            inputs_backward(batch, layer, first, last, 0, layer.width, like)


@inner
def run_units(batch, layers, head, network, board, ticket, end, who, like):
    """As `run_group` for all rows, with the units dealt to the workers: for few rows and many units."""
    for l in range(network.layers):
        end += 1
        if ticket < end:
            layer_inputs(batch, layers, l, network, 0, batch.rows, like)
            ticket = finish(board)
        ticket, end = forward_units(batch, layers[l], board, ticket, end, who, like)
        end += 1
        if ticket < end:
            layer_outputs(batch, layers[l], network, 0, batch.rows, like)
            ticket = finish(board)
        wait(board, end)
    end += 1
    if ticket < end:
        finish_rows(batch, layers, head, network, 0, 0, batch.rows, like)
        ticket = finish(board)
    for below in range(network.layers if network.backward else 0):
        layer = layers[network.layers - 1 - below]
        wait(board, end)
        end += 1
        if ticket < end:
            output_gradients(batch, layer, network, 0, batch.rows, like)
            ticket = finish(board)
        ticket, end = backward_units(batch, layer, board, ticket, end, who, like)
    return ticket, end


@inner
def clear(array, count):
    for i in range(count):
        array[i] = 0


@inner
def add_state(to_h, to_c, layer, b, like):
    """Add row b's gradients of a layer's initial states."""
    dh, dc = at(pointer(layer.dh0, like), b * layer.h_row), at(pointer(layer.dc, like), b * layer.h_row)
    for u in range(layer.hidden):
        to_h[u] += dh[u]
        to_c[u] += dc[u]


@inner
def state_gradients(batch, layers, network, like):
    """The gradients of learned initial states, and of those of each condition's values: sums over the rows in order."""
    dh0, dc0 = pointer(network.dh0, like), pointer(network.dc0, like)
    dgiven_h, dgiven_c = pointer(network.dgiven_h, like), pointer(network.dgiven_c, like)
    given, L, H = ids_pointer(network.given), network.layers, layers[0].hidden
    if network.dh0:
        clear(dh0, L * H)
        clear(dc0, L * H)
    clear(dgiven_h, network.values * L * H)
    clear(dgiven_c, network.values * L * H)
    fresh = ids_pointer(network.fresh)
    for l in range(L):
        for b in range(batch.rows):
            if network.fresh and not fresh[b]:
                continue
            if network.dh0:
                add_state(at(dh0, l * H), at(dc0, l * H), layers[l], b, like)
            for j in range(network.columns):
                place = (given[b * network.columns + j] * L + l) * H
                add_state(at(dgiven_h, place), at(dgiven_c, place), layers[l], b, like)


@inner
def summarize(batch, head, network):
    """The mean loss and how many argmaxes are right, summed over positions in their order; of pairs, the first rows'."""
    losses, correct = floats_pointer(head.losses), ids_pointer(head.correct)
    total, hits, every = 0.0, 0, 2 if head.pairs else 1
    for n in range(0, batch.positions, every):
        total += losses[n]
        hits += correct[n]
    results = floats_pointer(network.results)
    results[0] = total / (batch.positions // every)
    results[1] = hits


@inner
def run_network(batch, layers, head, network, like, board, who):
    """All phases; see `tickets` for how workers share them."""
    bounds = ids_pointer(batch.bounds)
    end, ticket = 0, draw(board)
    if not network.packed:
        for l in range(network.layers):
            begin, end = end, end + blocks(layers[l], like)
            while ticket < end:
                pack_block(layers[l], ticket - begin, like)
                ticket = finish(board)
        end += 1
        if ticket < end:
            pack_head(head, layers[network.layers - 1].hidden, like)
            if layers[0].e_rows:
                embed_rows(layers[0], like)
            ticket = finish(board)
        wait(board, end)
    if batch.split:
        ticket, end = run_units(batch, layers, head, network, board, ticket, end, who, like)
    else:
        begin, end = end, end + batch.groups
        while ticket < end:
            group = ticket - begin
            run_group(batch, layers, head, network, group, bounds[group], bounds[group + 1], like)
            ticket = finish(board)
    if not network.backward:
        if network.losses:
            end += 1
            if ticket < end:
                wait(board, end - 1)
                summarize(batch, head, network)
                ticket = finish(board)
        wait(board, end)
        return

    wait(board, end)
    top = layers[network.layers - 1]
    for l in range(network.layers):
        begin, end = end, end + gradient_atoms(layers[l])
        while ticket < end:
            weight_gradients(batch, layers[l], ticket - begin, like)
            ticket = finish(board)
    begin, end = end, end + head_atoms(top)
    while ticket < end:
        head_gradients(batch, head, top, ticket - begin, like)
        ticket = finish(board)
    end += 1
    if ticket < end:
        summarize(batch, head, network)
        if network.learned:
            state_gradients(batch, layers, network, like)
        ticket = finish(board)

    wait(board, end)
    if layers[0].e:
        begin, end = end, end + embedding_atoms(layers[0])
        while ticket < end:
            if network.gathered:
                gathered_embedding_gradient(batch, layers[0], network, ticket - begin, like)
            else:
                table_embedding_gradient(layers[0], ticket - begin, network.tied, like)
            ticket = finish(board)
        wait(board, end)
    if network.pieces:
        run_update(network, like, board, ticket, end)


@kernel
def network_program(batch, layers, head, network, like, board, patience):
    """Forward, and as the records ask: losses, gradients, an update. Arrays of one record each, `layers` of L."""
    who = enter(board)
    if who:
        saved = prepare(like)
        run_network(batch[0], layers, head[0], network[0], like, board, who)
        restore(like, saved)
    leave(board, patience)
