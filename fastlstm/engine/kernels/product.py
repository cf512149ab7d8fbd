"""The one product of the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from fastlstm.engine.kernels.compile import either, inner
from fastlstm.engine.simd import amx, memory
from fastlstm.engine.simd.memory import at, flush_denormals, ids_pointer, intrinsic, is_null, operand
from fastlstm.engine.simd.target import BF16, Target, target
from fastlstm.engine.simd.tiles import tile
from fastlstm.engine.simd.vector import operand_bits

# So many steps of the depth are summed in registers before the next columns: a panel of them stays in the L1 cache.
DEPTH = amx.DEPTH
# So few rows take longer in blocks.
FEW = 3


def of_target(value: Callable[[Target], int]) -> Any:
    """A function of a pointer that is a constant of its element type's target."""

    @intrinsic
    def constant(typingctx: Any, like: Any) -> Any:
        number = value(target(operand_bits([like])))

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return ir.IntType(64)(number)

        return types.int64(like), generate

    return constant


lanes = of_target(lambda t: t.lanes)
line = of_target(lambda t: t.line)
tile_rows = of_target(lambda t: t.rows)
tile_vectors = of_target(lambda t: t.vectors)
in_blocks = of_target(lambda t: int(t.blocks))
in_pairs = of_target(lambda t: int(t.bits == BF16))
wide_1 = of_target(lambda t: t.wide(1))
wide_2 = of_target(lambda t: t.wide(2))
wide_3 = of_target(lambda t: t.wide(3))


@inner
def steps(like, n):
    """How many elements of the type of pointer `like` n operands in a row are: half as many where they are pairs."""
    return (n + in_pairs(like)) >> in_pairs(like)


@inner
def tile_width(like, rows):
    """Vectors of the widest tile for so many rows."""
    if rows == 1:
        return wide_1(like)
    if rows == 2:
        return wide_2(like)
    if rows == 3:
        return wide_3(like)
    return tile_vectors(like)


@inner
def prepare(like):
    """Make this thread ready for a program of products; `restore` takes what this returns."""
    return flush_denormals()


@inner
def prepare_for_pairs(like):
    """`prepare` with registers for blocks of pairs."""
    amx.configure_blocks(operand(like.ctypes.data, like))
    return flush_denormals()


@inner
def restore(like, saved):
    """Leave the thread as `prepare` found it."""
    memory.restore(saved)


@inner
def restore_after_pairs(like, saved):
    """`restore` of these registers too."""
    amx.release_blocks(operand(like.ctypes.data, like))
    memory.restore(saved)


prepare = either(prepare, prepare_for_pairs)
restore = either(restore, restore_after_pairs)


@inner
def no_blocks(c, c_row, start, start_row, numbers, a, a_row, b, b_panel, rows, depth, columns, load, exact):
    """None: floats."""
    return 0


@inner
def blocks_of_pairs(
    c, c_row, start, start_row, numbers, a, a_row, b, b_panel, rows, depth, columns, load, exact
):
    """A product over as much of the depth as the library multiplies in blocks: how many pairs that is."""
    if in_blocks(a) and rows > FEW:
        return amx.multiply_blocks(
            c, c_row, start, start_row, numbers, a, a_row, b, b_panel, rows, depth, columns, load, exact
        )
    return 0


in_whole_blocks = either(no_blocks, blocks_of_pairs)


@inner
def product(c, c_row, a, a_row, a_k, b, b_k, b_panel, rows, depth, columns, load, exact):
    """C = [C +] A · B: `product_from` C itself, where it is to `load` that."""
    product_from(
        c, c_row, ids_pointer(0), c, c_row, a, a_row, a_k, b, b_k, b_panel, rows, depth, columns, load, exact
    )


@inner
def product_from(
    start, start_row, numbers, c, c_row, a, a_row, a_k, b, b_k, b_panel, rows, depth, columns, load, exact
):
    """C (rows, columns) = [start +] A · B, summed over depth in ascending order.

    Start has a row for each of C's, `start_row` apart (0: one for all), or has them where the int32 `numbers` of C's rows
    say, unless that is a null pointer. It may be C, and is read in whole vectors unless `exact`.
    A and B are floats as C is, or pairs of bfloat16 that are neighbours in the depth, which counts pairs then.
    A has row and depth strides a_row and a_k; B lies in panels of `line` columns, b_panel apart, of depth stride b_k
    (a plain matrix has b_panel = line). Pairs are neighbours: a_k is 1 and b_k the line. Without `exact`, C has room up to a
    whole vector; with it, nothing is touched past its columns. B is always read in whole vectors.
    """
    size = lanes(c)
    per_panel = line(c) // size
    full = columns // size if exact else -(-columns // size)
    rest = columns % size if exact else 0
    width = tile_width(c, rows)
    parts = max(1, -(-rows // tile_rows(c)))
    # Heights as equal as can be; a division takes as long as a few steps of a small tile.
    lower, higher = (rows, 0) if parts == 1 else (rows // parts, rows % parts)
    # A single row streams through B: the longer its way through each panel, the better.
    most = max(depth, 1) if rows == 1 else DEPTH
    for k in range(0, max(depth, 1), most):
        now = min(most, depth - k)
        go_on = 1 if load or k else 0
        if k:
            start, start_row, numbers = c, c_row, ids_pointer(0)
        blocked = in_whole_blocks(
            c, c_row, start, start_row, numbers, at(a, k * a_k), a_row, at(b, k * b_k), b_panel, rows, now, columns,
            go_on, exact,
        )  # fmt: skip
        if blocked:
            go_on, start, start_row, numbers = 1, c, c_row, ids_pointer(0)
        first, now = k + blocked, now - blocked
        j = full + rest if blocked and not now else 0
        while j < full or (j == full and rest):
            vectors = width
            while vectors > full - j and vectors > tile_vectors(c):
                vectors //= 2
            vectors = min(vectors, full - j)
            cut = 0
            if j == full:
                vectors = cut = 1
            b_here = at(b, (j // per_panel) * b_panel + (j % per_panel) * size + first * b_k)
            done = 0
            for part in range(parts):
                height = lower + (1 if part < higher else 0)
                a_here = at(a, done * a_row + first * a_k)
                c_here, start_here = at(c, done * c_row + j * size), at(start, j * size)
                numbers_here = numbers
                if is_null(numbers):
                    start_here = at(start_here, done * start_row)
                else:
                    numbers_here = at(numbers, done)
                tile(
                    height,
                    vectors,
                    cut,
                    a_here,
                    a_row,
                    a_k,
                    b_here,
                    b_k,
                    b_panel,
                    c_here,
                    c_row,
                    start_here,
                    start_row,
                    numbers_here,
                    now,
                    go_on,
                    rest,
                )
                done += height
            j += vectors
