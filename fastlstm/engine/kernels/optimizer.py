"""Clipping and optimiser steps over pieces of the flat buffers."""

from __future__ import annotations

import math

from fastlstm.engine.kernels.compile import inner, kernel
from fastlstm.engine.kernels.tickets import draw, enter, finish, leave, wait
from fastlstm.engine.simd.memory import (
    at,
    floats_pointer,
    flush_denormals,
    integers_pointer,
    pointer,
    restore,
)
from fastlstm.engine.simd.routines import adam, approach, clip, momentum, squares

# Elements of the flat buffer that one atom updates.
PIECE = 4096
# Elements of a piece's scratch: room for Adam's nine coefficients, in whole cache lines of both float types.
COEFFICIENTS = 16
SGD, ADAM = 0, 1
# The numbers of one rule, float64; a piece has the number of its own.
(
    KIND,
    CLIP_VALUE,
    CLIP_NORM,
    RATE,
    MOMENTUM,
    BETA1,
    BETA2,
    EPSILON,
    DECAY,
    CORRECTION1,
    CORRECTION2,
    AVERAGE,
    NUMBERS,
) = range(13)


@inner
def rule(network, i):
    """The numbers that piece i is updated by."""
    return at(floats_pointer(network.numbers), integers_pointer(network.piece)[3 * i + 2] * NUMBERS)


@inner
def square_piece(network, i, like):
    """Clip one piece of the gradients by value; leave its sum of squares."""
    piece, numbers = integers_pointer(network.piece), rule(network, i)
    scratch = at(pointer(network.coefficients, like), i * COEFFICIENTS)
    g, count = at(pointer(network.g, like), piece[3 * i]), piece[3 * i + 1]
    if numbers[CLIP_VALUE] < math.inf:
        scratch[0] = numbers[CLIP_VALUE]
        clip(g, scratch, count)
    squares(scratch, g, count)
    floats_pointer(network.partial)[i] = scratch[0]


@inner
def gradient_norm(network):
    """The global norm, from the pieces' sums in their order."""
    partial, total = floats_pointer(network.partial), 0.0
    for i in range(network.pieces):
        total += partial[i]
    return math.sqrt(total)


@inner
def update_piece(network, i, norm, like):
    """Move one piece of the parameters, and their running mean after them."""
    piece, numbers = integers_pointer(network.piece), rule(network, i)
    offset, count = piece[3 * i], piece[3 * i + 1]
    p, g = at(pointer(network.p, like), offset), at(pointer(network.g, like), offset)
    m = at(pointer(network.m, like), offset)
    k = at(pointer(network.coefficients, like), i * COEFFICIENTS)
    rate = numbers[RATE]
    limit = numbers[CLIP_NORM]
    k[0] = min(1.0, limit / (norm + 1e-6)) if limit else 1.0
    decay = 1 - rate * numbers[DECAY]
    if numbers[KIND] == ADAM:
        k[1], k[2] = numbers[BETA1], 1 - numbers[BETA1]
        k[3], k[4] = numbers[BETA2], 1 - numbers[BETA2]
        k[5] = 1 / math.sqrt(numbers[CORRECTION2])
        k[6] = numbers[EPSILON]
        k[7] = rate / numbers[CORRECTION1]
        k[8] = decay
        adam(p, g, m, at(pointer(network.v, like), offset), k, count)
    else:
        k[1], k[2] = numbers[MOMENTUM], rate
        k[3] = decay
        momentum(p, g, m, k, count)
    if network.average:
        k[0] = numbers[AVERAGE]
        approach(at(pointer(network.average, like), offset), p, k, count)


@inner
def run_update(network, like, board, ticket, end):
    """Two phases from ticket `end` on: the norm, then the update, unless loss or norm is not finite."""
    results = floats_pointer(network.results)
    begin, end = end, end + network.pieces
    while ticket < end:
        square_piece(network, ticket - begin, like)
        ticket = finish(board)
    wait(board, end)
    norm = gradient_norm(network)
    begin, end = end, end + network.pieces
    while ticket < end:
        if ticket == begin:
            results[2] = norm
        if math.isfinite(norm) and math.isfinite(results[0]):
            update_piece(network, ticket - begin, norm, like)
        ticket = finish(board)
    wait(board, end)


@kernel
def update_program(network, like, board, patience):
    """An optimiser's step by itself."""
    if enter(board):
        saved = flush_denormals()
        run_update(network[0], like, board, draw(board), 0)
        restore(saved)
    leave(board, patience)
