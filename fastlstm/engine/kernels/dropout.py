"""Dropout by counters: whether an element is kept depends on its key and its place alone."""

from __future__ import annotations

import numpy as np

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.simd.memory import at, cast, ids_pointer

# Hash of 32 bits by Chris Wellons' search for low bias ("lowbias32").
MULTIPLIER_1, MULTIPLIER_2 = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)


@inner
def random_bits(counter, key):
    """32 well-mixed bits for a counter under a key."""
    x = np.uint32(counter) ^ np.uint32(key)
    x = np.uint32((x ^ (x >> np.uint32(16))) * MULTIPLIER_1)
    x = np.uint32((x ^ (x >> np.uint32(15))) * MULTIPLIER_2)
    return np.uint32(x ^ (x >> np.uint32(16)))


@inner
def drop(batch, target, source, row, position, rows, units, keep, key):
    """target = source where kept, scaled by 1 / probability of keeping, else 0; rows of stride `row` from `position` on."""
    factor, zero = cast(4294967296.0 / keep, target), cast(0.0, target)
    limit, places = np.uint32(keep), ids_pointer(batch.places)
    for n in range(position, position + rows):
        to, of = at(target, n * row), at(source, n * row)
        # A row's bits come from a key of its own, so that counters of neighbouring rows have nothing in common.
        own = random_bits(places[n] if batch.places else n, key)
        for u in range(units):
            to[u] = of[u] * factor if random_bits(u, own) < limit else zero
