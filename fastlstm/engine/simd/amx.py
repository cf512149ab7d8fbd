"""Products of pairs by AMX: blocks of 16 rows × 16 pairs, each times 16 columns of a panel, in registers of their own.

A block's sums begin at zero, are left in memory and added to C from there, so nothing past C's rows and columns is touched,
and a row's sums do not depend on how many others there are.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlstm.engine.memory import LINE
from fastlstm.engine.simd.memory import call_void, intrinsic
from fastlstm.engine.simd.target import AMX, BF16
from fastlstm.engine.simd.tiles import lane_mask, masked_load, masked_store, start_rows
from fastlstm.engine.simd.vector import INDEX, POINTER, Code, Vector, arguments, declare, routine

BLOCK = 16  # rows of a register, and their pairs or sums
DEPTH = 256  # most pairs at a time
WIDE = 4  # panels at a time
# Rows of A that are no whole block are copied, with a stride that spreads them over all cache sets.
COPY_ROW = DEPTH + BLOCK
# Registers: WIDE of sums, one of A, and as many of B as are left.
OF_A, OF_B = WIDE, (5, 6, 7)
# c, its row stride; start, its row stride and the numbers of its rows, as in a tile; a, its row stride; b, its panel
# stride; rows, depth, columns; load and exact as in `product`.
PARAMETERS = "psisippipiiiiii"


@cache
def permitted() -> bool:
    """Whether this process may use AMX: Linux gives room for the state of the registers when asked, and may refuse."""
    if sys.platform != "linux":
        return False
    arch_prctl, request, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(*map(ctypes.c_long, (arch_prctl, request, tile_data))) == 0


def number(n: int) -> ir.Constant:
    """A register's."""
    return ir.Constant(ir.IntType(8), n)


@routine("p", BF16)
def configure_blocks(code: Code, like: Any) -> None:
    """Give this thread's AMX registers their shape: once before products, until `release_blocks`."""
    if code.target.product != AMX:
        return
    shape = bytearray(LINE)
    shape[0] = 1  # the palette; then bytes of a row, 16 bits each, and rows
    for n in range(8):
        shape[16 + 2 * n], shape[48 + n] = 4 * BLOCK, BLOCK
    kind = ir.VectorType(ir.IntType(8), LINE)
    place = code.builder.alloca(kind)
    code.builder.store(ir.Constant(kind, [*map(number, shape)]), place, align=1)
    call_void(code.builder, "llvm.x86.ldtilecfg", untyped(code, place))


@routine("p", BF16)
def release_blocks(code: Code, like: Any) -> None:
    """Leave the registers without a state that the system would have to keep."""
    if code.target.product == AMX:
        call_void(code.builder, "llvm.x86.tilerelease")


@routine(PARAMETERS, BF16)
def blocks(code: Code, done: Any, c: Any, c_row: Any, start: Any, start_row: Any, numbers: Any, a: Any, a_row: Any, b: Any,
           b_panel: Any, rows: Any, depth: Any, columns: Any, load: Any, exact: Any) -> None:  # fmt: skip
    """C = [start +] A · B over whole blocks of the depth; done[0] is how many pairs that is: none if this CPU has no AMX."""
    builder = code.builder
    if code.target.product != AMX:
        builder.store(code.index(0), done)
        return
    whole = builder.and_(depth, code.index(-BLOCK))
    builder.store(whole, done)
    copy = room(code, BLOCK * COPY_ROW)
    sums = room(code, BLOCK * WIDE * BLOCK)
    full = builder.and_(rows, code.index(-BLOCK))

    def copied(r: Any, _: list[Any]) -> list[Any]:
        source = code.at(a, builder.mul(builder.add(full, r), a_row))
        target = code.at(copy, code.times(r, COPY_ROW))

        def body(k: Any, _: list[Any]) -> list[Any]:
            code.store(code.load(source, k), target, k)
            return []

        code.loop(whole, [], body, step=code.lanes)
        return []

    code.loop(builder.sub(rows, full), [], copied)

    def several(first: Any, panels: int) -> Any:
        def body(j: Any, _: list[Any]) -> list[Any]:
            column = builder.add(first, j)
            b_here = code.at(b, builder.mul(builder.udiv(column, code.index(BLOCK)), b_panel))
            real = builder.sub(columns, column)

            def of_rows(r: Any, _: list[Any]) -> list[Any]:
                is_full = builder.icmp_signed("<", r, full)
                a_here = builder.select(is_full, code.at(a, builder.mul(r, a_row)), copy)
                multiply(code, sums, a_here, builder.select(is_full, a_row, code.index(COPY_ROW)), b_here, b_panel,
                         whole, panels)  # fmt: skip
                left = builder.sub(rows, r)
                height = builder.select(is_full, code.index(BLOCK), left)

                def begin(i: Any) -> Any:
                    return start_rows(code, code.at(start, column), start_row, numbers, [builder.add(r, i)])[
                        0
                    ]

                add_up(code, code.at(c, builder.add(builder.mul(r, c_row), column)), c_row, begin, sums, height,
                       load, panels, real if panels == 1 else None, exact)  # fmt: skip
                return []

            code.loop(rows, [], of_rows, step=BLOCK)
            return []

        return body

    wide = builder.and_(columns, code.index(-WIDE * BLOCK))
    code.loop(wide, [], several(code.index(0), WIDE), step=WIDE * BLOCK)
    code.loop(builder.sub(columns, wide), [], several(wide, 1), step=BLOCK)


def room(code: Code, size: int) -> Any:
    """So many elements on the stack."""
    array = code.builder.alloca(ir.ArrayType(code.real, size))
    array.align = LINE
    return untyped(code, array)


def untyped(code: Code, pointer: Any) -> Any:
    """A pointer without the type that llvmlite gives an address on the stack."""
    return code.builder.inttoptr(code.builder.ptrtoint(pointer, INDEX), POINTER)


def multiply(
    code: Code, sums: Any, a: Any, a_row: Any, b: Any, b_panel: Any, depth: Any, panels: int
) -> None:
    """sums (16, panels · 16) = 16 rows of A · so many panels of B."""
    builder, row = code.builder, code.index(4 * BLOCK)
    stride, here = (
        code.times(a_row, 4),
        [code.opaque(code.at(b, code.times(b_panel, n))) for n in range(panels)],
    )
    for n in range(panels):
        call_void(builder, "llvm.x86.tilezero", number(n))

    def body(_: Any, carried: list[Any]) -> list[Any]:
        a_offset, b_offset = carried
        call_void(builder, "llvm.x86.tileloadd64", number(OF_A), code.at(a, a_offset), stride)
        for n in range(panels):
            of_b = number(OF_B[n % len(OF_B)])
            call_void(builder, "llvm.x86.tileloadd64", of_b, code.at(here[n], b_offset), row)
            call_void(builder, "llvm.x86.tdpbf16ps", number(n), number(OF_A), of_b)
        return [code.opaque(code.plus(a_offset, BLOCK)), code.opaque(code.plus(b_offset, BLOCK * BLOCK))]

    # Addresses are opaque, as in the tiles: each would be a register of its own, or on the stack.
    code.loop(depth, [code.index(0), code.index(0)], body, step=BLOCK)
    for n in range(panels):
        place = code.at(sums, n * BLOCK)
        call_void(builder, "llvm.x86.tilestored64", number(n), place, code.index(4 * WIDE * BLOCK))


def add_up(code: Code, c: Any, c_row: Any, begin: Callable[[Any], Any], sums: Any, height: Any, load: Any, panels: int,
           real: Any, exact: Any) -> None:  # fmt: skip
    """So many rows of C = [where each begins +] the sums; of a single panel only the `real` columns, if `exact`."""
    builder, mask = code.builder, None
    if real is not None:
        is_exact = builder.icmp_signed("!=", exact, code.index(0))
        mask = lane_mask(code, builder.select(is_exact, real, code.index(BLOCK)))

    def row(r: Any, _: list[Any]) -> list[Any]:
        to, own = code.at(c, builder.mul(r, c_row)), code.at(sums, code.times(r, WIDE * BLOCK))

        def before() -> list[Vector]:
            if mask is not None:
                return [masked_load(code, begin(r), mask)]
            row = begin(r)
            return [code.load(row, n * BLOCK) for n in range(panels)]

        for n, start in enumerate(code.choose(load, before, [code.constant(0.0)] * panels)):
            total = start + code.load(own, n * BLOCK)
            if mask is not None:
                masked_store(code, total, to, mask)
            else:
                code.store(total, to, n * BLOCK)
        return []

    code.loop(height, [], row)


@intrinsic
def multiply_blocks(typingctx: Any, c: Any, c_row: Any, start: Any, start_row: Any, numbers: Any, a: Any, a_row: Any,
                    b: Any, b_panel: Any, rows: Any, depth: Any, columns: Any, load: Any, exact: Any) -> Any:  # fmt: skip
    """Call `blocks`; returns how many pairs of the depth it has done."""
    kinds = (c, c_row, start, start_row, numbers, a, a_row, b, b_panel, rows, depth, columns, load, exact)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        done = cgutils.alloca_once(builder, INDEX)
        function = declare(builder.module, "blocks", PARAMETERS, BF16)
        builder.call(function, [builder.bitcast(done, POINTER), *arguments(context, builder, values, kinds)])
        return builder.load(done)

    return types.int64(*kinds), generate
