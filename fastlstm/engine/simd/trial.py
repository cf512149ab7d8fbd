"""A trial of what multiplies pairs of bfloat16, on matrices of small whole numbers: any right way is exact."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from fastlstm.engine.simd import amx
from fastlstm.engine.simd.target import Target
from fastlstm.engine.simd.tiles import size_name, sizes

# Of the trial's matrices, in pairs: blocks, several steps at a time, and some left over.
DEPTH = 39
# Rows of a product in blocks: two, and some left over.
ROWS = 2 * amx.BLOCK + 3


def pairs_of(matrix: np.ndarray) -> np.ndarray:
    """Floats (n, 2k) that bfloat16 holds exactly, as pairs (n, k)."""
    return np.ascontiguousarray((matrix.astype(np.float32).view(np.uint32) >> 16).astype("<u2")).view("<u4")


def panels_of(matrix: np.ndarray, line: int) -> np.ndarray:
    """The same of (2k, m · line) in panels of pairs (m, k, line)."""
    return np.stack([pairs_of(panel.T).T for panel in np.split(matrix, matrix.shape[1] // line, axis=1)])


def sound(t: Target, address: Callable[[str], int]) -> bool:
    """Whether all that multiplies, called by the address of its name, computes what it should."""

    def call(name: str, *arguments: int) -> None:
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(address(name))(*arguments)

    numbers, line = np.random.default_rng(0), t.line
    width = max(t.wide(1) * t.lanes, (amx.WIDE + 1) * line)
    columns = -(-width // line) * line
    a = numbers.integers(-8, 9, (ROWS, 2 * DEPTH))
    b = numbers.integers(-8, 9, (2 * DEPTH, columns))
    rows, panels = pairs_of(a), np.ascontiguousarray(panels_of(b, line))
    start = numbers.integers(-8, 9, (ROWS, columns))
    whole = start + a @ b
    for height, vectors, cut in sizes(t):
        real = t.lanes - 1 if cut else vectors * t.lanes
        c = start.astype(np.float32)
        call(size_name(height, vectors, cut), rows.ctypes.data, DEPTH, 1, panels.ctypes.data, line, DEPTH * line,
             c.ctypes.data, columns, c.ctypes.data, columns, 0, DEPTH, 1, real)  # fmt: skip
        expected = start.copy()
        expected[:height, :real] = whole[:height, :real]
        if not np.array_equal(c, expected):
            return False
    c, done, like = start.astype(np.float32), np.zeros(1, np.int64), rows.ctypes.data
    call("configure_blocks", like)
    call("blocks", done.ctypes.data, c.ctypes.data, columns, c.ctypes.data, columns, 0, rows.ctypes.data, DEPTH,
         panels.ctypes.data, DEPTH * line, ROWS, DEPTH, columns - 1, 1, 1)  # fmt: skip
    call("release_blocks", like)
    expected, k = start.copy(), 2 * int(done[0])
    expected[:, :-1] += (a[:, :k] @ b[:k])[:, :-1]
    return np.array_equal(c, expected)
