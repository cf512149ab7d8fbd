"""The output layer: logits, softmax cross-entropy over the real positions, and their gradients."""

from __future__ import annotations

import math

import numpy as np

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.layer import UNITS, span, spans
from fastlstm.engine.kernels.product import line, pack_columns, pack_rows, product
from fastlstm.engine.simd.memory import at, cast, floats_pointer, ids_pointer, pointer
from fastlstm.engine.simd.routines import add, copy, scale, softmax

# What stands for minus infinity in the padding of the logits: no NaN can come of it.
LOWEST = -1e30


@inner
def pack_head(head, hidden, like):
    """Pack the output matrix for logits and for the gradients of the hidden states."""
    w, b = pointer(head.w, like), pointer(head.b, like)
    across = line(w)
    bias = pointer(head.bias, like)
    for v in range(head.padded):
        bias[v] = b[v] if v < head.vocabulary else LOWEST
    for first in range(0, head.vocabulary, across):
        rows = min(across, head.vocabulary - first)
        panel = at(pointer(head.forward, like), first * hidden)
        pack_columns(panel, at(w, first * head.w_row), head.w_row, rows, hidden)
    if head.backward:
        target = pointer(head.backward, like)
        pack_rows(target, head.vocabulary * across, w, head.w_row, head.vocabulary, hidden)


@inner
def logits_forward(batch, head, layer, first, last, like):
    """Logits of the rows first..last from the last layer's outputs."""
    logits, out = pointer(head.logits, like), outputs(batch, layer, like)
    across = line(logits)
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        for n in range(position, position + rows):
            copy(at(logits, n * head.logits_row), pointer(head.bias, like), head.padded)
        if rows:
            product(at(logits, position * head.logits_row), head.logits_row,
                    at(out, position * layer.h_row), layer.h_row, 1,
                    pointer(head.forward, like), across, layer.hidden * across,
                    rows, layer.hidden, head.vocabulary, 1, 0)  # fmt: skip


@inner
def outputs(batch, layer, like):
    """What the next layer sees of this one, a row for each position."""
    if layer.dropped:
        return pointer(layer.dropped, like)
    return at(pointer(layer.h, like), batch.rows * layer.h_row)


@inner
def loss_rows(batch, head, group, first, last, like):
    """Logits become (probabilities − one-hot of the target) / divisor; each position's loss and whether argmax is right."""
    logits = pointer(head.logits, like)
    losses, correct = floats_pointer(head.losses), ids_pointer(head.correct)
    targets = ids_pointer(batch.targets)
    result = at(pointer(head.stats, like), group * line(logits))
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        for n in range(position, position + rows):
            row = at(logits, n * head.logits_row)
            target = targets[n]
            logit = row[target]
            softmax(row, result, head.padded)
            losses[n] = math.log(np.float64(result[1])) + np.float64(result[0]) - np.float64(logit)
            hit = 1 if logit == result[0] else 0
            if hit:
                # The first of equals counts as the argmax.
                for v in range(target):
                    if row[v] == row[target]:
                        hit = 0
                        break
            correct[n] = hit
            result[1] = 1 / (result[1] * head.divisor)
            scale(row, at(result, 1), head.padded)
            row[target] -= cast(1 / head.divisor, row)


@inner
def head_backward(batch, head, layer, first, last, like):
    """The gradients of the last layer's outputs from those of the logits."""
    dh, logits = pointer(layer.dh, like), pointer(head.logits, like)
    across = line(dh)
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        if rows:
            product(at(dh, position * layer.h_row), layer.h_row,
                    at(logits, position * head.logits_row), head.logits_row, 1,
                    pointer(head.backward, like), across, head.vocabulary * across,
                    rows, head.vocabulary, layer.padded, 0, 0)  # fmt: skip


@inner
def head_atoms(layer):
    """How many atoms the output matrix's gradient has: so many columns each."""
    return -(-layer.hidden // UNITS)


@inner
def head_gradients(batch, head, layer, atom, like):
    """dW of one atom's columns, and with the first atom db, summed over all positions in their order."""
    logits, out = pointer(head.logits, like), outputs(batch, layer, like)
    across, first = line(logits), atom * UNITS
    product(at(pointer(head.dw, like), first), head.w_row, logits, 1, head.logits_row, at(out, first), layer.h_row, across,
            head.vocabulary, batch.positions, min(UNITS, layer.hidden - first), 0, 1)  # fmt: skip
    if atom == 0:
        db_row, db = pointer(head.db_row, like), pointer(head.db, like)
        for v in range(head.padded):
            db_row[v] = 0
        for n in range(batch.positions):
            add(db_row, at(logits, n * head.logits_row), head.padded)
        for v in range(head.vocabulary):
            db[v] = db_row[v]
