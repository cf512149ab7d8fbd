"""Arrays amid bytes that nobody may write, and that make NaN of whatever is computed from them."""

from __future__ import annotations

import numpy as np

# As float32 and float64 this is NaN, as an integer -1.
FILL = 0xFF
ROOM = 256


class Guards:
    """Places arrays, and says whether anything beside their elements has changed."""

    def __init__(self) -> None:
        self.placed: list[tuple[np.ndarray, np.ndarray]] = []

    def place(self, array: np.ndarray, *strides: int) -> np.ndarray:
        """A copy of `array`, aligned to its elements and no more; `strides` are in elements."""
        size = array.itemsize
        steps = [step * size for step in strides] or list(np.empty(array.shape, array.dtype).strides)
        extent = size + sum((n - 1) * step for n, step in zip(array.shape, steps, strict=True))
        raw = np.full(extent + 2 * ROOM + size, FILL, np.uint8)
        first = ROOM - raw.__array_interface__["data"][0] % size + size
        view = np.ndarray(array.shape, array.dtype, raw, first, steps)
        view[...] = array
        self.placed.append((raw, view))
        return view

    def check(self) -> None:
        """Fail if a byte outside the arrays has changed."""
        for raw, view in self.placed:
            rest = raw.copy()
            first = view.__array_interface__["data"][0] - raw.__array_interface__["data"][0]
            inside = np.ndarray(view.shape, view.dtype, rest, first, view.strides)
            inside.view(f"u{view.itemsize}")[...] = 2 ** (8 * view.itemsize) - 1
            changed = np.flatnonzero(rest != FILL)
            assert not changed.size, f"{view.shape} {view.dtype}: bytes {changed - first} from its first"
