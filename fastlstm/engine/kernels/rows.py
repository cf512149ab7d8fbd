"""What vectors are in truth: rows of an embedding, or a few that come again and again."""

from __future__ import annotations

import numpy as np

from fastlstm.engine.kernels.compile import inner, kernel

# After so many rows it is known whether there is much to gain: not where all but a few are different.
TRIED, ALL_BUT = 128, 0.9


@kernel
def are_rows(x, e, ids):
    """Whether x[n] is e[ids[n]] for every n; a NaN is like nothing. x (N, I) and e (V, I) are floats, ids (N,) int32."""
    for n in range(len(ids)):
        if not 0 <= ids[n] < len(e):
            return False
        different = 0
        for k in range(x.shape[1]):
            different |= x[n, k] != e[ids[n], k]
        if different:
            return False
    return True


@inner
def same_bits(a, b):
    """Whether two rows of integers are equal."""
    different = 0
    for i in range(len(a)):
        different |= a[i] ^ b[i]
    return different == 0


@kernel
def number_rows(x, slots, ids, first):
    """Number the different rows of x (N, I), by their bits: row n is x[first[ids[n]]]. Returns how many there are.

    It gives up, and returns 0, where there are more than there is room for in `first`, or so many among the first ones that
    this is to be expected. x has unsigned integers in the floats' place; ids (N,) and first (U,) are int32, and so are the
    `slots`, a power of two and more than U.
    """
    slots[:] = -1
    count = 0
    for n in range(len(ids)):
        mixed = np.uint32(0)
        for i in range(x.shape[1]):
            bits = x[n, i] ^ x[n, i] >> 15 ^ x[n, i] >> 47
            mixed += np.uint32(bits) * np.uint32(2 * i * 0x9E3779B1 + 0x85EBCA6B)
        slot = np.int64(mixed ^ mixed >> np.uint32(16)) & len(slots) - 1
        while slots[slot] >= 0 and not same_bits(x[n], x[first[slots[slot]]]):
            slot = slot + 1 & len(slots) - 1
        if slots[slot] < 0:
            if count == len(first) or (n == TRIED and count > ALL_BUT * TRIED):
                return 0
            slots[slot], first[count] = count, n
            count += 1
        ids[n] = slots[slot]
    return count
