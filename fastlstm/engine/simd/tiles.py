"""The register tile: rows × vectors of a product, accumulated in registers over the whole depth.

    C[r, j] = start + sum over k of A[r, k] · B[k, j],    k in ascending order,

where start is zero or a row of another matrix, which may be C itself. Where A and B are pairs of
bfloat16, k counts pairs, and each adds two products.
A is read by broadcast with any two strides, so a transposed A costs nothing. B is read in vectors from panels one cache
line wide. C's rows are contiguous. Every element is summed in the order of k whatever the tile's size, so how a matrix is
cut into tiles never shows in a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlstm.engine.simd.memory import intrinsic
from fastlstm.engine.simd.pairs import PRODUCTS, opaque
from fastlstm.engine.simd.target import Target, target
from fastlstm.engine.simd.vector import (
    INDEX,
    POINTER,
    Code,
    Routine,
    Vector,
    arguments,
    declare,
    operand_bits,
)

# a, its row and depth strides; b, its depth and panel strides; c, its row stride; start, its row stride, and int32 numbers
# of its rows (0: they are in order); depth; whether to start from there; and, where the last vector is cut, how many of
# its lanes are real.
PARAMETERS = "piipiisisipiii"


class Sums:
    """The accumulators of one tile: rows × vectors sums over k, and where A and B lie."""

    def __init__(self, code: Code, rows: int, vectors: int, a: Any, a_row: Any, a_k: Any, b: Any, b_k: Any,
                 b_panel: Any) -> None:  # fmt: skip
        self.code, self.rows, self.vectors = code, rows, vectors
        self.product = PRODUCTS[code.target.product]
        self.a, self.a_row, self.a_k, self.b_k = a, a_row, a_k, b_k
        self.line, self.per_panel = code.target.line, code.target.line // code.lanes
        # Pointers and offsets are opaque: the optimiser would derive each from the last, in one long chain of sums,
        # or hoist so many of their sums that the accumulators spill.
        self.a_rows = [code.opaque(code.at(a, code.times(a_row, r))) for r in range(rows)]
        self.panels = [
            code.opaque(code.at(b, code.times(b_panel, p))) for p in range(-(-vectors // self.per_panel))
        ]

    def over(self, depth: Any, sums: list[Vector]) -> list[Vector]:
        """The sums after `depth` more k: in runs of steps where strides allow it, then one by one."""
        code, builder, unroll = self.code, self.code.builder, self.code.target.unroll
        done = code.index(0)

        def runs(steps: Callable[..., list[Any]], condition: Any, places: list[Any]) -> None:
            nonlocal done, sums
            left = builder.and_(builder.sub(depth, done), code.index(-unroll))
            count = builder.select(condition, left, code.index(0))
            sums = code.loop(count, [*places, *sums], steps, unroll)[len(places) :]
            done = builder.add(done, count)

        if unroll > 1:
            is_row = builder.icmp_signed("==", self.a_k, code.index(1))
            is_packed = builder.icmp_signed("==", self.b_k, code.index(self.line))
            runs(self.packed_steps, builder.and_(is_row, is_packed), [code.index(0), code.index(0)])
            if self.rows > 3 and not code.paired:
                # Pairs are neighbours in a row, never in a column. Fewer rows are seldom columns of A, and wide tiles
                # would need a register for each of their panels.
                is_column = builder.icmp_signed("==", self.a_row, code.index(1))
                runs(self.transposed_steps, is_column, [self.a, *self.panels])
        offsets = [code.opaque(builder.mul(done, stride)) for stride in (self.a_k, self.b_k)]
        return code.loop(builder.sub(depth, done), [*offsets, *sums], self.step)[2:]

    def packed_steps(self, _: Any, carried: list[Any]) -> list[Any]:
        """Several steps through rows of A and a packed B: what lies between them is constant."""
        code, unroll = self.code, self.code.target.unroll
        a_offset, b_offset, *sums = carried
        for k in range(unroll):
            code.fence()
            sums = self.add(
                sums, self.in_rows(code.plus(a_offset, k)), self.in_panels(code.plus(b_offset, k * self.line))
            )
        a_next, b_next = code.plus(a_offset, unroll), code.plus(b_offset, unroll * self.line)
        return [code.opaque(a_next), code.opaque(b_next), *sums]

    def transposed_steps(self, _: Any, carried: list[Any]) -> list[Any]:
        """Several steps through columns of A: its rows lie side by side, and so a constant apart."""
        code, unroll = self.code, self.code.target.unroll
        a, panels, sums = (
            carried[0],
            carried[1 : -self.rows * self.vectors],
            carried[-self.rows * self.vectors :],
        )
        for k in range(unroll):
            code.fence()
            column = code.at(a, code.times(self.a_k, k))
            offset = code.times(self.b_k, k)
            sums = self.add(
                sums, lambda r, column=column: code.broadcast(column, r), self.in_panels(offset, panels)
            )
        places = [code.at(a, code.times(self.a_k, unroll))]
        places += [code.at(panel, code.times(self.b_k, unroll)) for panel in panels]
        return [*map(code.opaque, places), *sums]

    def step(self, _: Any, carried: list[Any]) -> list[Any]:
        """One step of any strides."""
        code = self.code
        a_offset, b_offset, *sums = carried
        sums = self.add(sums, self.in_rows(a_offset), self.in_panels(b_offset))
        a_next, b_next = code.builder.add(a_offset, self.a_k), code.builder.add(b_offset, self.b_k)
        return [code.opaque(a_next), code.opaque(b_next), *sums]

    def in_rows(self, offset: Any) -> Callable[[int], Vector]:
        """A's element of row r at an offset, in all lanes."""
        return lambda r: self.code.broadcast(self.a_rows[r], offset)

    def in_panels(self, offset: Any, panels: list[Any] | None = None) -> Callable[[int], Vector]:
        """B's vector j at an offset within the panels."""
        panels = panels or self.panels
        return lambda j: self.code.load(
            self.code.at(panels[j // self.per_panel], offset), j % self.per_panel * self.code.lanes
        )

    def add(
        self, sums: list[Vector], a_of: Callable[[int], Vector], b_of: Callable[[int], Vector]
    ) -> list[Vector]:
        """The sums after one more k."""
        for part in self.product.parts:
            sums = self.add_part(sums, self.part_of(part, a_of), self.part_of(part, b_of))
        return sums

    def part_of(
        self, part: Callable[[Vector], Vector], of: Callable[[int], Vector]
    ) -> Callable[[int], Vector]:
        """One part of each of A's elements or B's vectors."""

        def loaded(i: int) -> Vector:
            if len(self.product.parts) > 1:
                # What is loaded ahead, or once for both parts, would need registers that are taken.
                self.code.fence()
                return part(opaque(of(i)))
            return part(of(i))

        return loaded

    def add_part(
        self, sums: list[Vector], a_of: Callable[[int], Vector], b_of: Callable[[int], Vector]
    ) -> list[Vector]:
        """`add` for one part of the operands: the fewer of A's elements and B's vectors are kept in registers."""
        sums, vectors, muladd = list(sums), self.vectors, self.product.muladd
        if self.rows > vectors:
            line = [b_of(j) for j in range(vectors)]
            for r in range(self.rows):
                scalar = a_of(r)
                for j in range(vectors):
                    sums[r * vectors + j] = muladd(scalar, line[j], sums[r * vectors + j])
        else:
            scalars = [a_of(r) for r in range(self.rows)]
            for j in range(vectors):
                vector = b_of(j)
                for r in range(self.rows):
                    sums[r * vectors + j] = muladd(scalars[r], vector, sums[r * vectors + j])
        return sums


def write_tile(rows: int, vectors: int, cut: bool) -> Any:
    """The body of one tile: rows × vectors accumulators; `cut` masks C's only vector."""

    def write(code: Code, a: Any, a_row: Any, a_k: Any, b: Any, b_k: Any, b_panel: Any, c: Any, c_row: Any, start: Any,
              start_row: Any, numbers: Any, depth: Any, load: Any, real: Any) -> None:  # fmt: skip
        products = Sums(code, rows, vectors, a, a_row, a_k, b, b_k, b_panel)
        c_rows = [code.at(c, code.times(c_row, r)) for r in range(rows)]
        mask = lane_mask(code, real) if cut else None

        def started() -> list[Vector]:
            starts = start_rows(code, start, start_row, numbers, [code.index(r) for r in range(rows)])
            if mask is not None:
                return [masked_load(code, row, mask) for row in starts]
            return [code.load(row, j * code.lanes) for row in starts for j in range(vectors)]

        sums = products.over(depth, code.choose(load, started, [code.constant(0.0)] * (rows * vectors)))
        for r, row in enumerate(c_rows):
            for j in range(vectors):
                if mask is not None:
                    masked_store(code, sums[r], row, mask)
                else:
                    code.store(sums[r * vectors + j], row, j * code.lanes)

    return write


def start_rows(code: Code, start: Any, start_row: Any, numbers: Any, rows: list[Any]) -> list[Any]:
    """Where sums of these rows start: rows of `start`, by their int32 `numbers` if there are any."""
    builder, i32 = code.builder, ir.IntType(32)

    def numbered() -> list[Any]:
        places = [builder.gep(numbers, [row], source_etype=i32) for row in rows]
        return [builder.sext(builder.load(place, typ=i32, align=4), INDEX) for place in places]

    found = code.choose(builder.ptrtoint(numbers, INDEX), numbered, rows)
    return [code.at(start, builder.mul(row, start_row)) for row in found]


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
    return {size_name(*size): Routine(PARAMETERS, write_tile(*size), (t.bits,)) for size in sizes(t)}


@intrinsic
def tile(typingctx: Any, *kinds: types.Type) -> Any:
    """Run the tile of rows × vectors, cut or not (one of `sizes`): these three, then what PARAMETERS says."""
    bits = operand_bits(kinds)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        parts = cgutils.unpack_tuple(builder, values[0])
        rows, vectors, cut, *rest = arguments(context, builder, parts, kinds)
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

    return types.void(types.StarArgTuple(kinds)), generate
