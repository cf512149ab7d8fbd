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
def embed_rows(layer, like):
    """Copy the embedding to rows of whole lines."""
    e, rows = pointer(layer.e, like), pointer(layer.e_rows, like)
    for v in range(layer.vocabulary):
        for k in range(layer.width):
            rows[v * layer.x_row + k] = e[v * layer.width + k]


@inner
def gather(batch, layer, network, first, last, like):
    """The first layer's inputs: each position's embedding, after dropout."""
    x, e, ids = pointer(layer.x, like), pointer(layer.e, like), ids_pointer(batch.ids)
    size = layer.width
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
def embedding_atoms(layer):
    """In how many atoms the embedding's gradient is computed."""
    return -(-layer.vocabulary // CHARACTERS)


@inner
def table_embedding_gradient(layer, atom, more, like):
    """The gradients of some characters' embeddings, from the table's; with `more`, they are added to what is there."""
    size, first = layer.width, atom * CHARACTERS
    de, d_table = (
        at(pointer(layer.de, like), first * size),
        at(pointer(layer.d_table, like), first * layer.gates_row),
    )
    across, four = line(de), 4 * layer.padded
    product(de, size, d_table, layer.gates_row, 1, pointer(layer.backward_x, like), across, four * across,
            min(CHARACTERS, layer.vocabulary - first), four, size, more, 1)  # fmt: skip


@inner
def gathered_embedding_gradient(batch, layer, network, atom, like):
    """As `table_embedding_gradient`, from dx; a tied output matrix has left its share there before."""
    size, first = layer.width, atom * CHARACTERS
    de = at(pointer(layer.de, like), first * size)
    rows = min(CHARACTERS, layer.vocabulary - first)
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
