"""Where activations live: arrays that are allocated once, aligned, zero in their padding, and used again and again."""

from __future__ import annotations

import math
from typing import NoReturn

import numpy as np

from fastlstm.engine.kernels.records import address
from fastlstm.engine.memory import LINE, aligned


def whole_lines(size: int, dtype: np.dtype) -> int:
    """`size` elements rounded up to whole cache lines."""
    line = LINE // dtype.itemsize
    return -(-size // line) * line


def row_stride(size: int, dtype: np.dtype) -> int:
    """Elements from row to row: an odd number of cache lines, so that a column's elements spread over all cache sets."""
    line = LINE // dtype.itemsize
    return (-(-size // line) | 1) * line


class Uncopied:
    """What holds addresses: a copy of it would write into the original's memory."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")


class Arena:
    """Named arrays that only grow; a grown or reshaped one starts from zero again.

    Rows keep their stride, so the padding past their real units stays zero from batch to batch. Operands of products are
    floats of the same dtype or, if `paired`, pairs of bfloat16; `operands` is what they are elements of.
    """

    def __init__(self, dtype: str | np.dtype, paired: bool = False) -> None:
        self.dtype, self.paired = np.dtype(dtype), paired
        self.operands = np.dtype(np.uint32) if paired else self.dtype
        self.arrays: dict[str, np.ndarray] = {}
        self.bytes = 0

    def steps(self, size: int) -> int:
        """The elements that `size` operands in a row, or in a panel's column, are."""
        return -(-size // 2) if self.paired else size

    def operand_row(self, size: int) -> int:
        """`row_stride` of so many operands, in elements."""
        return row_stride(self.steps(size), self.operands)

    def take(self, name: str, *shape: int, dtype: str | np.dtype | None = None) -> np.ndarray:
        """The array `name` of at least this shape's rows; all dimensions but the first are as asked for."""
        kind = np.dtype(dtype or self.dtype)
        have = self.arrays.get(name)
        if have is not None and have.shape[1:] == shape[1:] and have.shape[0] >= shape[0]:
            return have
        array = aligned(math.prod(shape), kind).reshape(shape)
        self.bytes += array.nbytes - (0 if have is None else have.nbytes)
        self.arrays[name] = array
        return array

    def address(self, name: str, *shape: int, dtype: str | np.dtype | None = None) -> int:
        """Where `take` of the same arguments begins."""
        return address(self.take(name, *shape, dtype=dtype))
