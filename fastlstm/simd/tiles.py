"""The register tile: rows × vectors of a product, accumulated in registers over the whole depth.

    C[r, j] = start + sum over k of A[r, k] · B[k, j],    k in ascending order,

where start is zero or what C holds. A is read by broadcast with any two strides, so a transposed A costs
nothing. B is read in vectors from panels one cache line wide. C's rows are contiguous. Every element is summed in
the order of k whatever the tile's size, so how a matrix is cut into tiles never shows in a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlstm.simd.memory import intrinsic
from fastlstm.simd.target import Target, target
from fastlstm.simd.vector import (
    INDEX,
    POINTER,
    Code,
    Routine,
    Vector,
    arguments,
    declare,
    pointer_bits,
)

# a, its row and depth strides; b, its depth and panel strides; c, its row stride; depth; whether to start from c;
# and, where the last vector is cut, how many of its lanes are real.
PARAMETERS = "piipiipiiii"
UNCUT = 0


def write_tile(rows: int, vectors: int, cut: bool) -> Any:
    """The body of one tile: rows × vectors accumulators; `cut` masks C's only vector."""

    def write(code: Code, a: Any, a_row: Any, a_k: Any, b: Any, b_k: Any, b_panel: Any, c: Any, c_row: Any,
              depth: Any, load: Any, real: Any) -> None:  # fmt: skip
        builder, lanes, unroll = code.builder, code.lanes, code.target.unroll
        per_panel = code.target.line // lanes
        # Pointers and offsets are opaque: the optimiser would derive each from the last, in one long chain of sums,
        # or hoist so many of their sums that the accumulators spill.
        a_rows = [code.opaque(code.at(a, builder.mul(a_row, code.index(r)))) for r in range(rows)]
        c_rows = [code.at(c, builder.mul(c_row, code.index(r))) for r in range(rows)]
        panels = [
            code.opaque(code.at(b, builder.mul(b_panel, code.index(p))))
            for p in range(-(-vectors // per_panel))
        ]
        mask = lane_mask(code, real) if cut else None
        zero = code.constant(0.0)

        def started() -> list[Vector]:
            if mask is not None:
                return [masked_load(code, row, mask) for row in c_rows]
            return [code.load(row, j * lanes) for row in c_rows for j in range(vectors)]

        sums = code.choose(load, started, [zero] * (rows * vectors))

        def accumulate(
            sums: list[Vector], a_of: Callable[[int], Vector], b_of: Callable[[int], Vector]
        ) -> list[Vector]:
            """The sums after one more k, with its element of A for each row and its vectors of B."""
            sums = list(sums)
            if rows > vectors:
                line = [b_of(j) for j in range(vectors)]
                for r in range(rows):
                    scalar = a_of(r)
                    for j in range(vectors):
                        sums[r * vectors + j] = scalar.muladd(line[j], sums[r * vectors + j])
            else:
                scalars = [a_of(r) for r in range(rows)]
                for j in range(vectors):
                    vector = b_of(j)
                    for r in range(rows):
                        sums[r * vectors + j] = scalars[r].muladd(vector, sums[r * vectors + j])
            return sums

        def in_panel(panels: list[Any], offset: Any) -> Callable[[int], Vector]:
            return lambda j: code.load(code.at(panels[j // per_panel], offset), j % per_panel * lanes)

        def packed_steps(_: Any, carried: list[Any]) -> list[Any]:
            """Several steps through rows of A and a packed B: what lies between them is constant."""
            a_offset, b_offset, *sums = carried
            for k in range(unroll):
                code.fence()
                here = builder.add(a_offset, code.index(k))
                sums = accumulate(
                    sums,
                    lambda r, here=here: code.broadcast(a_rows[r], here),
                    in_panel(panels, builder.add(b_offset, code.index(k * line))),
                )
            a_next, b_next = (
                builder.add(o, code.index(unroll * n)) for o, n in ((a_offset, 1), (b_offset, line))
            )
            return [code.opaque(a_next), code.opaque(b_next), *sums]

        def transposed_steps(_: Any, carried: list[Any]) -> list[Any]:
            """Several steps through columns of A: its rows lie side by side, and so a constant apart."""
            a_here, *rest = carried
            panels, sums = rest[: -rows * vectors], rest[-rows * vectors :]
            for k in range(unroll):
                code.fence()
                column, offset = (builder.mul(stride, code.index(k)) for stride in (a_k, b_k))
                column = code.at(a_here, column)
                sums = accumulate(
                    sums, lambda r, column=column: code.broadcast(column, r), in_panel(panels, offset)
                )
            a_next, b_next = (builder.mul(stride, code.index(unroll)) for stride in (a_k, b_k))
            return [
                code.opaque(code.at(p, n)) for p, n in ((a_here, a_next), *((p, b_next) for p in panels))
            ] + sums

        def step(_: Any, carried: list[Any]) -> list[Any]:
            a_offset, b_offset, *sums = carried
            sums = accumulate(sums, lambda r: code.broadcast(a_rows[r], a_offset), in_panel(panels, b_offset))
            return [code.opaque(builder.add(a_offset, a_k)), code.opaque(builder.add(b_offset, b_k)), *sums]

        def several(steps: Callable[..., list[Any]], condition: Any, places: list[Any]) -> None:
            """Run `steps` over what is left of the depth in whole runs of them, if the condition holds."""
            nonlocal done, sums
            left = builder.and_(builder.sub(depth, done), code.index(-unroll))
            count = builder.select(condition, left, code.index(0))
            sums = code.loop(count, [*places, *sums], steps, unroll)[len(places) :]
            done = builder.add(done, count)

        done, line = code.index(0), code.target.line
        if unroll > 1:
            is_row = builder.icmp_signed("==", a_k, code.index(1))
            is_packed = builder.icmp_signed("==", b_k, code.index(line))
            several(packed_steps, builder.and_(is_row, is_packed), [code.index(0), code.index(0)])
            if rows > 3:
                # Fewer rows are seldom columns of A, and wide tiles would need a register for each of their panels.
                several(transposed_steps, builder.icmp_signed("==", a_row, code.index(1)), [a, *panels])
        offsets = [code.opaque(builder.mul(done, stride)) for stride in (a_k, b_k)]
        _, _, *sums = code.loop(builder.sub(depth, done), [*offsets, *sums], step)
        for r, row in enumerate(c_rows):
            for j in range(vectors):
                if mask is not None:
                    masked_store(code, sums[r], row, mask)
                else:
                    code.store(sums[r * vectors + j], row, j * lanes)

    return write


def lane_mask(code: Code, real: Any) -> Any:
    """True in the first `real` lanes."""
    builder = code.builder
    wide = ir.VectorType(INDEX, code.lanes)
    first = builder.insert_element(ir.Constant(wide, ir.Undefined), real, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), code.lanes), [0] * code.lanes)
    limit = builder.shuffle_vector(first, first, order)
    return builder.icmp_signed("<", ir.Constant(wide, list(range(code.lanes))), limit)


def masked_load(code: Code, pointer: Any, mask: Any) -> Vector:
    name = f"llvm.masked.load.v{code.lanes}f{code.bits}.p0"
    kinds = [POINTER, ir.IntType(32), mask.type, code.type]
    function = cgutils.get_or_insert_function(code.builder.module, ir.FunctionType(code.type, kinds), name)
    align = ir.Constant(ir.IntType(32), code.bits // 8)
    return Vector(code, code.builder.call(function, [pointer, align, mask, code.constant(0.0).value]))


def masked_store(code: Code, vector: Vector, pointer: Any, mask: Any) -> None:
    name = f"llvm.masked.store.v{code.lanes}f{code.bits}.p0"
    kinds = [code.type, POINTER, ir.IntType(32), mask.type]
    function = cgutils.get_or_insert_function(
        code.builder.module, ir.FunctionType(ir.VoidType(), kinds), name
    )
    align = ir.Constant(ir.IntType(32), code.bits // 8)
    code.builder.call(function, [vector.value, pointer, align, mask])


def sizes(t: Target) -> list[tuple[int, int, bool]]:
    """All (rows, vectors, cut) that `tile` can be asked for on a target."""
    full = {(r, v, False) for r in range(1, t.rows + 1) for v in range(1, t.vectors + 1)}
    wide = {(r, t.wide(r) >> n, False) for r in range(1, 4) for n in range(3) if t.wide(r) >> n > t.vectors}
    cut = {(r, 1, True) for r in range(1, t.rows + 1)}
    return sorted(full | wide | cut)


def size_code(rows: int, vectors: int, cut: int) -> int:
    return (rows * 64 + vectors) * 2 + cut


def size_name(rows: int, vectors: int, cut: bool) -> str:
    return f"tile{rows}x{vectors}{'cut' if cut else ''}"


def tiles(t: Target) -> dict[str, Routine]:
    """All tiles of a target, by name."""
    return {size_name(*size): Routine(PARAMETERS, write_tile(*size)) for size in sizes(t)}


@intrinsic
def tile(typingctx: Any, rows: Any, vectors: Any, cut: Any, a: Any, a_row: Any, a_k: Any, b: Any, b_k: Any, b_panel: Any,
         c: Any, c_row: Any, depth: Any, load: Any, real: Any) -> Any:  # fmt: skip
    """Run the tile of rows × vectors (one of `sizes`); pointers a, b and c, everything else an integer."""
    bits = pointer_bits(c)
    kinds = (rows, vectors, cut, a, a_row, a_k, b, b_k, b_panel, c, c_row, depth, load, real)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows, vectors, cut, *rest = arguments(context, builder, values, kinds)
        number = builder.add(builder.mul(rows, INDEX(64)), vectors)
        number = builder.add(builder.mul(number, INDEX(2)), cut)
        after = builder.append_basic_block("done")
        switch = builder.switch(number, after)
        for size in sizes(target(bits)):
            case = builder.append_basic_block(size_name(*size))
            switch.add_case(INDEX(size_code(*size)), case)
            builder.position_at_end(case)
            builder.call(declare(builder.module, size_name(*size), PARAMETERS, bits), rest)
            builder.branch(after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(*kinds), generate
