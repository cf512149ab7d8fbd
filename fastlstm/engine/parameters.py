"""All arrays of a model in one flat buffer, each under its own name.

Parameters, their gradients and an optimiser's moments are the same type, so that clipping, an optimiser
step or a checkpoint is one pass over one buffer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastlstm.engine.memory import LINE, aligned


class Parameters:
    """Named views of one flat buffer, in the order of `shapes`, zero at first.

    Every array begins on a cache line; the gaps are zero and stay zero under every optimiser. `spare` is one more line,
    for what travels with the buffer where parts of it are summed; `whole` is both.

    >>> p = Parameters({"W": (2, 3), "b": (2,)}, "float64")
    >>> p["b"][:] = 1
    >>> float(p.flat.sum())
    2.0
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: str | np.dtype) -> None:
        self.shapes = dict(shapes)
        self.offsets: dict[str, int] = {}
        size, step = 0, LINE // np.dtype(dtype).itemsize
        for name, shape in self.shapes.items():
            self.offsets[name] = size
            size += -(-math.prod(shape) // step) * step
        self.whole = aligned(size + step, dtype)
        self.flat, self.spare = self.whole[:size], self.whole[size:]
        self._views = {
            name: self.flat[start : start + math.prod(self.shapes[name])].reshape(self.shapes[name])
            for name, start in self.offsets.items()
        }

    def __getstate__(self) -> tuple[Any, ...]:
        """For copies: one buffer with its views, not each by itself."""
        return self.shapes, self.flat

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shapes, flat = state
        self.__init__(shapes, flat.dtype)
        self.flat[:] = flat

    def __getitem__(self, name: str) -> np.ndarray:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """The names with their views, in the buffer's order."""
        return iter(self._views.items())

    def protect(self, protected: bool) -> None:
        """Make the buffer and the views read-only, or writeable again."""
        for array in (self.flat, *self._views.values()):
            array.flags.writeable = not protected

    def like(self) -> Parameters:
        """A zero buffer of the same names, shapes and dtype."""
        return Parameters(self.shapes, self.flat.dtype)

    def copy(self) -> Parameters:
        """A buffer of the same names and values."""
        other = self.like()
        other.flat[:] = self.flat
        return other
