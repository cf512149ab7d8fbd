"""Arrays that begin on a cache line."""

from __future__ import annotations

import numpy as np

LINE = 64
"""Bytes of a cache line: arrays are aligned to it, and a packed panel is one line wide."""


def aligned(size: int, dtype: str | np.dtype) -> np.ndarray:
    """A zero array of `size` elements that begins on a cache line, with one more behind it."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + 2 * LINE, np.uint8)
    skip = -raw.__array_interface__["data"][0] % LINE
    return raw[skip : skip + size * dtype.itemsize].view(dtype)
