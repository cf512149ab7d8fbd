"""Arrays that begin on a cache line."""

from __future__ import annotations

import os

import numpy as np

from fastlstm.errors import FastLSTMError

LINE = 64
"""Bytes of a cache line: arrays are aligned to it, and a packed panel is one line wide."""


def machine_memory() -> int:
    """This machine's bytes of memory, as far as the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 2**63


MEMORY = machine_memory()


def aligned(size: int, dtype: str | np.dtype) -> np.ndarray:
    """A zero array of `size` elements that begins on a cache line, with one more behind it.

    Raises FastLSTMError for more than half of the memory: there is never one array alone, and many a system grants memory
    that it has not, and ends the process when it is used.
    """
    dtype = np.dtype(dtype)
    if size * dtype.itemsize > MEMORY // 2:
        raise FastLSTMError(
            f"that needs {size * dtype.itemsize / 2**30:,.1f} GiB in one piece, and this machine has "
            f"{MEMORY / 2**30:,.1f} in all: take a smaller model, batch or window"
        )
    raw = np.zeros(size * dtype.itemsize + 2 * LINE, np.uint8)
    skip = -raw.__array_interface__["data"][0] % LINE
    return raw[skip : skip + size * dtype.itemsize].view(dtype)
