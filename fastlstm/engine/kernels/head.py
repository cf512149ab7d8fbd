"""The output layer: logits, softmax cross-entropy over the real positions, and their gradients."""

from __future__ import annotations

import math

import numpy as np

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.gradients import position_sums
from fastlstm.engine.kernels.layer import UNITS, span, spans
from fastlstm.engine.kernels.operands import as_operands, pack_columns, pack_rows
from fastlstm.engine.kernels.product import line, product, product_from, steps
from fastlstm.engine.simd.memory import at, cast, floats_pointer, ids_pointer, operand, pointer
from fastlstm.engine.simd.routines import add, scale, softmax

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
        forward = operand(head.forward, like)
        panel = at(forward, first * steps(forward, hidden))
        pack_columns(panel, at(w, first * head.w_row), head.w_row, rows, hidden)
    if head.backward:
        target = operand(head.backward, like)
        pack_rows(target, steps(target, head.vocabulary) * across, w, head.w_row, head.vocabulary, hidden)


@inner
def logits_forward(batch, head, layer, first, last, like):
    """Logits of the rows first..last from the last layer's outputs."""
    logits, out = pointer(head.logits, like), outputs(batch, layer, like)
    across, depth = line(logits), steps(out, layer.hidden)
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        if rows:
            product_from(pointer(head.bias, like), 0, ids_pointer(0),
                         at(logits, position * head.logits_row), head.logits_row,
                         at(out, position * layer.h_operand_row), layer.h_operand_row, 1,
                         operand(head.forward, like), across, depth * across,
                         rows, depth, head.padded, 1, 0)  # fmt: skip


@inner
def outputs(batch, layer, like):
    """What the next layer sees of this one, operands, a row for each position."""
    if layer.dropped:
        return operand(layer.dropped_operand, like)
    return at(operand(layer.h_operand, like), batch.rows * layer.h_operand_row)


@inner
def loss_rows(batch, head, group, first, last, like):
    """Logits become (probabilities − one-hot of the target) / divisor; each position's loss and whether argmax is right."""
    logits, d_logits = pointer(head.logits, like), operand(head.d_logits, like)
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
            if head.d_logits:
                as_operands(at(d_logits, n * head.d_logits_row), row, head.padded)


@inner
def contrast_rows(batch, head, group, first, last, like):
    """Scale the gradients of rows first..last, pairs of one name under its own value and under another one.

    A pair's loss is −log p(own) + weight · softplus(−d) with d = log p(own) − log p(other) + its log-odds beforehand; so its
    rows' own gradients count 1 + s and −s times, where s = weight / (1 + exp(d)).
    """
    logits, d_logits = pointer(head.logits, like), operand(head.d_logits, like)
    losses, pairs, start = floats_pointer(head.losses), floats_pointer(head.pairs), ids_pointer(batch.start)
    factors = at(pointer(head.stats, like), group * line(logits))
    for b in range(first, last, 2):
        odds, steps_here = pairs[b + 1], 0
        for t in range(batch.steps):
            n = start[t] + b
            if n < start[t + 1]:
                odds += losses[n + 1] - losses[n]
                steps_here += 1
        share = pairs[b] / (1 + math.exp(odds))
        factors[0] = 1 + share
        factors[1] = -share
        for t in range(steps_here):
            for side in range(2):
                n = start[t] + b + side
                row = at(logits, n * head.logits_row)
                scale(row, at(factors, side), head.padded)
                if head.d_logits:
                    as_operands(at(d_logits, n * head.d_logits_row), row, head.padded)


@inner
def head_backward(batch, head, layer, first, last, like):
    """The gradients of the last layer's outputs from those of the logits."""
    dh, d_logits = pointer(layer.dh, like), operand(head.d_logits, like)
    across, depth = line(dh), steps(d_logits, head.vocabulary)
    for i in range(spans(batch, first, last)):
        position, rows = span(batch, first, last, i)
        if rows:
            product(at(dh, position * layer.h_row), layer.h_row,
                    at(d_logits, position * head.d_logits_row), head.d_logits_row, 1,
                    operand(head.backward, like), across, depth * across,
                    rows, depth, layer.padded, 0, 0)  # fmt: skip


@inner
def head_atoms(layer):
    """How many atoms the output matrix's gradient has: so many columns each."""
    return -(-layer.hidden // UNITS)


@inner
def head_gradients(batch, head, layer, atom, like):
    """dW of one atom's columns, and with the first atom db, summed over all positions in their order."""
    d_logits, out, first = operand(head.d_logits, like), outputs(batch, layer, like), atom * UNITS
    position_sums(batch, layer, at(pointer(head.dw, like), first), head.w_row, d_logits, head.d_logits_row,
                  at(out, steps(out, first)), layer.h_operand_row, head.vocabulary,
                  min(UNITS, layer.hidden - first))  # fmt: skip
    if atom == 0:
        logits = pointer(head.logits, like)
        db_row, db = pointer(head.db_row, like), pointer(head.db, like)
        for v in range(head.padded):
            db_row[v] = 0
        for n in range(batch.positions):
            add(db_row, at(logits, n * head.logits_row), head.padded)
        for v in range(head.vocabulary):
            db[v] = db_row[v]
