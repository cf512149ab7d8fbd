"""How matrices are made operands of a product: packed in panels and, where operands are pairs of bfloat16, rounded.

Of each part there are two: floats stay what they are, and pairs are made of neighbours in the depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlstm.engine.kernels.compile import either, inner
from fastlstm.engine.kernels.product import lanes, line
from fastlstm.engine.memory import LINE
from fastlstm.engine.simd.memory import PAIR, at, intrinsic
from fastlstm.engine.simd.packing import round_row, round_rows, transpose
from fastlstm.engine.simd.pairs import halves, joined
from fastlstm.engine.simd.routines import copy
from fastlstm.engine.simd.target import BF16, target
from fastlstm.engine.simd.vector import Code, Vector


@intrinsic
def pair(typingctx: Any, first: Any, second: Any) -> Any:
    """Two float32 rounded to a pair."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = Code(builder, target(BF16)._replace(lanes=1))
        numbers = (Vector(code, builder.bitcast(value, code.type)) for value in values)
        both = joined(code, *(builder.zext(halves(number), code.integers) for number in numbers))
        return builder.bitcast(both.value, ir.IntType(32))

    return PAIR(types.float32, types.float32), generate


def scratch(size: int) -> Any:
    """A function that returns where `size` pairs are on its caller's stack."""

    @intrinsic
    def place(typingctx: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            array = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(32), size))
            array.align = LINE
            return builder.bitcast(array, context.get_value_type(types.CPointer(PAIR)))

        return types.CPointer(PAIR)(), generate

    return place


@inner
def keep_floats(row, source, units):
    """Nothing: the floats are operands themselves."""


@inner
def round_units(row, source, units):
    """Write whole lines of floats as operands, unless they are that."""
    round_row(row, source, units)


as_operands = either(keep_floats, round_units)


@inner
def pack_columns(panel, source, source_row, rows, depth):
    """panel[k, r] = source[r, k] for `rows` <= line rows: a panel of the transposed matrix."""
    size, across = lanes(panel), line(panel)
    squares = rows // size * size
    whole = depth // size * size if squares else 0
    for k in range(0, whole, size):
        for r in range(0, squares, size):
            transpose(at(panel, k * across + r), at(source, r * source_row + k), source_row, across)
    for k in range(depth):
        for r in range(squares if k < whole else 0, rows):
            panel[k * across + r] = source[r * source_row + k]


@inner
def pack_columns_in_pairs(panel, source, source_row, rows, depth):
    """`pack_columns` in pairs of the depth; what an odd one lacks is zero."""
    size, across = lanes(panel), line(panel)
    squares = rows // size * size
    whole = depth // (2 * size) * size if squares else 0
    for k in range(0, whole, size):
        for r in range(0, squares, size):
            transpose(at(panel, k * across + r), at(source, r * source_row + 2 * k), source_row, across)
    for k in range((depth + 1) // 2):
        for r in range(squares if k < whole else 0, rows):
            here = at(source, r * source_row + 2 * k)
            panel[k * across + r] = pair(here[0], here[1] if 2 * k + 1 < depth else np.float32(0))


pack_columns = either(pack_columns, pack_columns_in_pairs)


@inner
def pack_rows(panels, panel_size, source, source_row, rows, columns):
    """Spread rows of `columns` elements over the same rows of consecutive panels, a panel at a time.

    Row by row each line would go to another page, and all of them to a few sets of the caches.
    """
    across = line(panels)
    for j in range(0, columns, across):
        panel = at(panels, j // across * panel_size)
        for r in range(rows):
            row = at(source, r * source_row + j)
            if j + across <= columns:
                copy(at(panel, r * across), row, across)
            else:
                for i in range(columns - j):
                    panel[r * across + i] = row[i]


@inner
def pack_rows_in_pairs(panels, panel_size, source, source_row, rows, columns):
    """`pack_rows` in pairs of rows; what an odd one lacks is zero."""
    across = line(panels)
    for j in range(0, columns, across):
        panel = at(panels, j // across * panel_size)
        for r in range(0, rows, 2):
            to, row = at(panel, r // 2 * across), at(source, r * source_row + j)
            if j + across <= columns and r + 1 < rows:
                round_rows(to, row, at(row, source_row), across)
            else:
                for i in range(min(across, columns - j)):
                    to[i] = pair(row[i], row[source_row + i] if r + 1 < rows else np.float32(0))


pack_rows = either(pack_rows, pack_rows_in_pairs)
