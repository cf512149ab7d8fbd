"""A trial of the tiles that multiply pairs of bfloat16, on matrices of small whole numbers: any right way is exact."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from fastlstm.engine.simd.target import Target
from fastlstm.engine.simd.tiles import size_name, sizes

# Of the trial's matrices, in pairs: several steps at a time, and some left over.
DEPTH = 7


def pairs_of(matrix: np.ndarray) -> np.ndarray:
    """Floats (n, 2k) that bfloat16 holds exactly, as pairs (n, k)."""
    return np.ascontiguousarray((matrix.astype(np.float32).view(np.uint32) >> 16).astype("<u2")).view("<u4")


def panels_of(matrix: np.ndarray, line: int) -> np.ndarray:
    """The same of (2k, m · line) in panels of pairs (m, k, line)."""
    return np.stack([pairs_of(panel.T).T for panel in np.split(matrix, matrix.shape[1] // line, axis=1)])


def sound(t: Target, address: Callable[[str], int]) -> bool:
    """Whether every tile, called by the address of its name, computes what it should."""
    numbers, line = np.random.default_rng(0), t.line
    width = t.wide(1) * t.lanes
    columns = -(-width // line) * line
    a = numbers.integers(-8, 9, (t.rows, 2 * DEPTH))
    b = numbers.integers(-8, 9, (2 * DEPTH, columns))
    rows, panels, start = (
        pairs_of(a),
        np.ascontiguousarray(panels_of(b, line)),
        numbers.integers(-8, 9, (t.rows, columns)),
    )
    whole = start + a @ b
    for height, vectors, cut in sizes(t):
        real = t.lanes - 1 if cut else vectors * t.lanes
        c = start.astype(np.float32)
        arguments = (rows.ctypes.data, DEPTH, 1, panels.ctypes.data, line, DEPTH * line, c.ctypes.data, columns, DEPTH, 1,
                     real)  # fmt: skip
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(address(size_name(height, vectors, cut)))(
            *arguments
        )
        expected = start.copy()
        expected[:height, :real] = whole[:height, :real]
        if not np.array_equal(c, expected):
            return False
    return True
