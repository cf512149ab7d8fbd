"""Embeddings as the first layer's inputs, and their gradients; most often they go through the layer's table instead."""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.dropout import drop
from fastlstm.engine.kernels.layer import inputs_as_operands, span, spans
from fastlstm.engine.kernels.product import line, product
from fastlstm.engine.simd.memory import at, ids_pointer, pointer

# Rows of the embedding's gradient in one atom.
CHARACTERS = 32


@inner
def embed_rows(network, like):
    """Copy the embeddings to rows of whole lines."""
    e, size = pointer(network.e, like), network.embedding
    rows = pointer(network.e_rows, like)
    for v in range(network.vocabulary):
        for k in range(size):
            at(rows, v * network.e_row)[k] = e[v * size + k]


@inner
def gather(batch, layer, network, first, last, like):
    """The first layer's inputs: each position's embedding, after dropout."""
    x, e, ids = pointer(layer.x, like), pointer(network.e, like), ids_pointer(batch.ids)
    size = network.embedding
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        for n in range(position, position + rows):
            for k in range(size):
                x[n * layer.x_row + k] = e[ids[n] * size + k]
        if network.embedding_keep:
            drop(
                batch, x, x, layer.x_row, position, rows, size, network.embedding_keep, network.embedding_key
            )
        inputs_as_operands(layer, position, rows, like)


@inner
def embedding_gradient(batch, layer, network, atom, like):
    """The gradients of some characters' embeddings; a tied output matrix has left its share there before."""
    size, first = network.embedding, atom * CHARACTERS
    de = at(pointer(network.de, like), first * size)
    rows = min(CHARACTERS, network.vocabulary - first)
    across = line(de)
    if not network.gathered:
        d_table = at(pointer(layer.d_table, like), first * layer.gates_row)
        product(de, size, d_table, layer.gates_row, 1, pointer(layer.backward_x, like), across, 4 * layer.padded * across,
                rows, 4 * layer.padded, size, network.tied, 1)  # fmt: skip
        return
    ids, dx = ids_pointer(batch.ids), pointer(layer.dx, like)
    if not network.tied:
        for k in range(rows * size):
            de[k] = 0
    for n in range(batch.positions):
        if first <= ids[n] < first + rows:
            if network.embedding_keep:
                drop(batch, dx, dx, layer.x_row, n, 1, size, network.embedding_keep, network.embedding_key)
            row, to = at(dx, n * layer.x_row), at(de, (ids[n] - first) * size)
            for k in range(size):
                to[k] += row[k]
