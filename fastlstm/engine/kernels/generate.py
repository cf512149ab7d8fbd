"""The programs of generation: packing, reading characters, and drawing sequences to their ends.

Rows are sequences, and a row's arithmetic is its own: it doesn't depend on how many rows there are, where a
row lies or who computes it. Letters: L layers, S rows side by side, V characters, T steps, P prefixes,
N sequences.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm.engine.kernels.choose import NOTHING, choose, uniform
from fastlstm.engine.kernels.compile import inner, kernel
from fastlstm.engine.kernels.head import pack_head
from fastlstm.engine.kernels.layer import blocks, pack_block
from fastlstm.engine.kernels.product import line, product, product_from
from fastlstm.engine.kernels.records import record
from fastlstm.engine.kernels.tickets import draw, enter, leave
from fastlstm.engine.simd.memory import at, floats_pointer, flush_denormals, ids_pointer, pointer, restore
from fastlstm.engine.simd.routines import copy, lstm_cell

# Rows that are advanced together: enough to read the weights seldom, few enough to stay in the L2 cache.
SLOTS = 48
# Sequences whose characters one worker chooses at a time.
CHOICES = 128

# Rows of sequences, in memory of whole cache lines.
ROWS = record(
    "h", "c", "apart",  # (L, S, Hp) and the elements from layer to layer
    "logits",  # (S, Vp)
    "gates",  # (SLOTS, 4Hp): scratch
    "before",  # (Hp): scratch
    "z", "weights",  # float64 (V): scratch
    "heap",  # int32 (V): scratch
)  # fmt: skip

ENDED = -1  # in place of a character, or of an origin: the sequence has no more
FAILED = -1  # in place of a length: the logits were not finite


@kernel
def pack_program(layers, head, like):
    """Pack all layers and the output layer; ids go through the first one's table."""
    for l in range(len(layers)):
        for block in range(blocks(layers[l], like)):
            pack_block(layers[l], block, like)
    pack_head(head[0], layers[0].hidden, like)


@kernel
def same(a, b):
    """Whether two float arrays hold the same numbers; NaN is like nothing."""
    different = 0
    for i in range(len(a)):
        different |= a[i] != b[i]
    return different == 0


@inner
def advance(layers, head, rows, ids, t, first, count, like):
    """Feed ids[t, first …] to `count` rows from `first` on: their h and c move on and their logits follow."""
    gates, before = pointer(rows.gates, like), pointer(rows.before, like)
    across, below = line(gates), gates
    for l in range(len(layers)):
        layer = layers[l]
        place, whole = l * rows.apart + first * layer.h_row, 4 * layer.padded
        h, c = at(pointer(rows.h, like), place), at(pointer(rows.c, like), place)
        if l == 0:
            for r in range(count):
                copy(at(gates, r * layer.gates_row), at(pointer(layer.table, like), ids[t, first + r] * layer.gates_row),
                     whole)  # fmt: skip
        else:
            product_from(pointer(layer.bias, like), 0, ids_pointer(0), gates, layer.gates_row, below, layer.h_row, 1,
                         pointer(layer.forward_x, like), across, layer.width * across,
                         count, layer.width, whole, 1, 0)  # fmt: skip
        product(gates, layer.gates_row, h, layer.h_row, 1,
                pointer(layer.forward_h, like), across, layer.hidden * across,
                count, layer.hidden, whole, 1, 0)  # fmt: skip
        for r in range(count):
            copy(before, at(c, r * layer.h_row), layer.padded)
            lstm_cell(at(gates, r * layer.gates_row), before, at(c, r * layer.h_row), at(h, r * layer.h_row),
                      at(h, r * layer.h_row), layer.padded, layer.padded)  # fmt: skip
        below = h
    logits = at(pointer(rows.logits, like), first * head.logits_row)
    product_from(pointer(head.bias, like), 0, ids_pointer(0), logits, head.logits_row, below, layers[0].h_row, 1,
                 pointer(head.forward, like), across, layers[0].hidden * across,
                 count, layers[0].hidden, head.padded, 1, 0)  # fmt: skip


@kernel
def read_program(layers, head, rows, ids, active, logits, like):
    """Feed ids (T, B), at step t to the first active[t] rows, and fill logits (B, V) with each row's last.

    Returns whether all ids were the vocabulary's; if not, nothing is changed. `active` (T,) never increases.
    """
    T, B = ids.shape
    for t in range(T):
        for b in range(active[t]):
            if ids[t, b] < 0 or ids[t, b] >= head[0].vocabulary:
                return False
    saved = flush_denormals()
    for t in range(T):
        for first in range(0, active[t], SLOTS):
            advance(layers, head[0], rows[0], ids, t, first, min(SLOTS, active[t] - first), like)
    restore(saved)
    last = pointer(rows[0].logits, like)
    for b in range(B):
        for v in range(head[0].vocabulary):
            logits[b, v] = last[b * head[0].logits_row + v]
    return True


class Job(NamedTuple):
    """What is to be drawn, and where to, of N sequences."""

    ids: np.ndarray  # int32 (N, longest): filled
    lengths: np.ndarray  # int64 (N), zero at first: the characters drawn, or FAILED
    origins: np.ndarray  # int64 (N): the row of `start` that a sequence goes on from, or ENDED
    keys: np.ndarray  # uint64 (N): its stream of uniform numbers
    shortest: np.ndarray  # int64 (N): before so many drawn characters the end mark is ruled out
    longest: np.ndarray  # int64 (N): and after so many the sequence is cut
    end: int  # the end mark's id, -1 where there is none
    stop: np.ndarray  # int32 (S): ids that end a sequence
    temperature: float
    top_k: int
    top_p: float


@inner
def next_character(job, n, row, V, rows):
    """Choose sequence n's next character from a row of logits and write it down; ENDED where it has none."""
    position = job.lengths[n]
    if position == job.longest[n]:
        return ENDED
    banned = job.end if position < job.shortest[n] else -1
    chosen = choose(row, V, banned, job.temperature, job.top_k, job.top_p, uniform(job.keys[n], position),
                    floats_pointer(rows.z), floats_pointer(rows.weights), ids_pointer(rows.heap))  # fmt: skip
    if chosen == NOTHING:
        job.lengths[n] = FAILED
        return ENDED
    if chosen == job.end:
        return ENDED
    job.ids[n, position] = chosen
    job.lengths[n] = position + 1
    return ENDED if position + 1 == job.longest[n] or stops(job, n, position + 1) else chosen


@inner
def stops(job, n, length):
    """Whether sequence n, of so many characters, ends with the stop text."""
    S, same = len(job.stop), 0
    while same < S <= length and job.ids[n, length - S + same] == job.stop[same]:
        same += 1
    return S > 0 and same == S


@inner
def move(layers, to, slot, source, row, like):
    """Copy a row's states from one memory to another."""
    for l in range(len(layers)):
        there, here = l * to.apart + slot * layers[l].h_row, l * source.apart + row * layers[l].h_row
        copy(at(pointer(to.h, like), there), at(pointer(source.h, like), here), layers[l].padded)
        copy(at(pointer(to.c, like), there), at(pointer(source.c, like), here), layers[l].padded)


@inner
def run_rows(layers, head, start, rows, job, fed, sequences, worker, like, board):
    """Draw sequences until none is left: as soon as one ends, the next takes its row."""
    slots, N, V = fed.shape[1], len(job.lengths), head.vocabulary
    begun, logits = pointer(start.logits, like), pointer(rows.logits, like)
    count, n = 0, draw(board)
    while True:
        while count < slots and n < N:
            origin = job.origins[n]
            chosen = ENDED
            if origin != ENDED:
                chosen = next_character(job, n, at(begun, origin * head.logits_row), V, rows)
            if chosen != ENDED:
                move(layers, rows, count, start, origin, like)
                fed[worker, count], sequences[worker, count] = chosen, n
                count += 1
            n = draw(board)
        if count == 0:
            return
        advance(layers, head, rows, fed, worker, 0, count, like)
        for r in range(count - 1, -1, -1):
            chosen = next_character(job, sequences[worker, r], at(logits, r * head.logits_row), V, rows)
            fed[worker, r] = chosen
            if chosen == ENDED:
                # The last row, which has chosen already, takes its place.
                count -= 1
                if r < count:
                    move(layers, rows, r, rows, count, like)
                    fed[worker, r], sequences[worker, r] = fed[worker, count], sequences[worker, count]


@kernel
def choose_program(head, start, rows, job, alive, chosen, like, numbers, board, patience):
    """Write down the next character of each sequence in `alive`; `chosen` gets it too, or ENDED."""
    if enter(board):
        worker, first = draw(numbers), draw(board) * CHOICES
        logits = pointer(start[0].logits, like)
        while first < len(alive):
            for i in range(first, min(first + CHOICES, len(alive))):
                row = at(logits, job.origins[alive[i]] * head[0].logits_row)
                chosen[i] = next_character(job, alive[i], row, head[0].vocabulary, rows[worker])
            first = draw(board) * CHOICES
    leave(board, patience)


@kernel
def extend_program(layers, head, start, rows, parents, ids, like, numbers, board, patience):
    """Row r of `rows` becomes row parents[r] of `start` after ids[0, r]. The records in `rows`, one for each worker,
    are of the same states and logits and of scratch of their own."""
    if enter(board):
        worker, first = draw(numbers), draw(board) * SLOTS
        saved = flush_denormals()
        while first < len(parents):
            count = min(SLOTS, len(parents) - first)
            for r in range(first, first + count):
                move(layers, rows[worker], r, start[0], parents[r], like)
            advance(layers, head[0], rows[worker], ids, 0, first, count, like)
            first = draw(board) * SLOTS
        restore(saved)
    leave(board, patience)


@kernel
def generate_program(layers, head, start, rows, job, fed, sequences, like, numbers, board, patience):
    """Draw all sequences of a job.

    `start` holds the states and logits that sequences go on from, `rows` a record for each worker, `fed` and
    `sequences` (workers, S) the ids and numbers of the sequences in its rows; `numbers` numbers the workers.
    """
    if enter(board):
        worker = draw(numbers)
        saved = flush_denormals()
        run_rows(layers, head[0], start[0], rows[worker], job, fed, sequences, worker, like, board)
        restore(saved)
    leave(board, patience)
