"""Choosing a character: counter-based random numbers, and one row of logits turned into one id.

A uniform number is a pure function of (seed, sequence, position), so a name is the same whatever the
batch, the worker or the order in which it is drawn. `mix` is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", 2014); a sequence's numbers are a SplitMix64
stream that starts at a hashed state.
"""

from __future__ import annotations

import math

import numpy as np

from fastlstm.engine.kernels.compile import inner, kernel
from fastlstm.engine.simd.memory import at, pointer

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_A, _B = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ONE, _27, _30, _31, _11 = (np.uint64(n) for n in (1, 27, 30, 31, 11))

NOTHING = -1  # what `choose` returns where the logits are not finite, or nothing may be drawn


@inner
def mix(x):
    """The 64-bit finaliser of SplitMix64."""
    x = (x ^ (x >> _30)) * _A
    x = (x ^ (x >> _27)) * _B
    return x ^ (x >> _31)


@inner
def stream_key(seed, sequence):
    """The state at which a sequence's stream of uniforms begins; both arguments are uint64."""
    return mix(mix(seed) + (sequence + _ONE) * GOLDEN)


@inner
def uniform(key, position):
    """The stream's number at a position (from 0), a float64 in [0, 1) with 53 random bits."""
    return np.float64(mix(key + (np.uint64(position) + _ONE) * GOLDEN) >> _11) * 2.0**-53


@inner
def _before(z, a, b):
    """Whether id a ranks before id b: the larger logit, at equal logits the lower id."""
    return z[a] > z[b] or (z[a] == z[b] and a < b)


@inner
def _sift(heap, size, z, parent):
    """Let the id at `parent` sink to its place among the first `size` of the heap."""
    while True:
        child = 2 * parent + 1
        if child >= size:
            return
        if child + 1 < size and _before(z, heap[child + 1], heap[child]):
            child += 1
        if not _before(z, heap[child], heap[parent]):
            return
        heap[parent], heap[child] = heap[child], heap[parent]
        parent = child


@inner
def _pop(heap, size, z):
    """Move the first-ranked id of the heap to index size - 1, the rest being a heap again; return that id."""
    heap[0], heap[size - 1] = heap[size - 1], heap[0]
    _sift(heap, size - 1, z, 0)
    return heap[size - 1]


@inner
def _truncate(z, weights, heap, V, top_k, top_p):
    """Zero the weights outside the top_k first-ranked ids, then outside the nucleus of mass top_p."""
    for i in range(V):
        heap[i] = i
    for parent in range(V // 2 - 1, -1, -1):
        _sift(heap, V, z, parent)
    left = V  # heap[:left] is a heap, heap[left:] the popped ids, the first-ranked at the very end
    if top_k < V:
        for _ in range(top_k):
            _pop(heap, left, z)
            left -= 1
        for i in range(left):
            weights[heap[i]] = 0.0
    if top_p < 1.0:
        total = 0.0
        for i in range(V):
            total += weights[i]
        mass, kept = 0.0, 0
        while kept < min(top_k, V) and (kept == 0 or mass < top_p * total):
            kept += 1
            if V - kept < left:
                _pop(heap, left, z)
                left -= 1
            mass += weights[heap[V - kept]]
        for i in range(V - kept):
            weights[heap[i]] = 0.0


@inner
def choose(logits, V, banned, temperature, top_k, top_p, u, z, weights, heap):
    """The id that the uniform number u draws from one row of V logits, or NOTHING.

    In float64, in this order: the logit of `banned` (an id, or -1) becomes -inf; temperature 0 returns the
    largest logit, at ties the lowest id; weights are exp((z - max z) / temperature); top_k keeps the largest
    k logits, at ties the lower ids (V or more keeps all); top_p keeps the shortest run of ids, ranked
    likewise, whose weights reach top_p times the sum of those left (1 keeps all); the result is the first id
    whose running sum of weights, in order of ids, exceeds u times their sum.
    Pointers: the logits, and as scratch of length V `z`, `weights` (float64) and `heap` (int32).
    """
    best = NOTHING
    for i in range(V):
        value = np.float64(logits[i])
        if not np.isfinite(value):
            return NOTHING
        z[i] = -np.inf if i == banned else value
        if i != banned and (best == NOTHING or value > z[best]):
            best = i
    if temperature == 0.0 or best == NOTHING:
        return best
    top = z[best]
    for i in range(V):
        weights[i] = math.exp((z[i] - top) / temperature)
    if top_k < V or top_p < 1.0:
        _truncate(z, weights, heap, V, top_k, top_p)
    total = 0.0
    for i in range(V):
        total += weights[i]
    target, running, chosen = u * total, 0.0, best
    for i in range(V):
        running += weights[i]
        if weights[i] > 0.0:
            chosen = i
            if running > target:
                break
    return chosen


@kernel
def choose_rows(logits, keys, position, banned, temperature, top_k, top_p, scratch, heap, chosen):
    """Fill `chosen` (B,) with an id for each row of logits (B, V); scratch (2, V), heap (V,)."""
    B, V = logits.shape
    rows, floats = pointer(logits.ctypes.data, logits), pointer(scratch.ctypes.data, scratch)
    ids = pointer(heap.ctypes.data, heap)
    for b in range(B):
        u = uniform(keys[b], position)
        chosen[b] = choose(
            at(rows, b * V), V, banned[b], temperature, top_k, top_p, u, floats, at(floats, V), ids
        )


@kernel
def stream_keys(seed, sequences, keys):
    """Fill `keys` (B,) with the keys of the sequences numbered (B,), all uint64."""
    for b in range(len(keys)):
        keys[b] = stream_key(seed, sequences[b])


@kernel
def uniforms(keys, numbers):
    """Fill `numbers` (T, B) with the first T numbers of B streams."""
    for t in range(len(numbers)):
        for b in range(len(keys)):
            numbers[t, b] = uniform(keys[b], t)
