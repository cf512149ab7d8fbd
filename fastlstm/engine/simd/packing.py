"""Rows of operands made into other rows of operands: copied, transposed, rounded, or joined to pairs.

Every count is a whole number of cache lines.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastlstm.engine.simd.pairs import halves, joined, load_halves, neighbours, store_halves
from fastlstm.engine.simd.target import BF16
from fastlstm.engine.simd.vector import EVERY, Code, Vector, routine


def transposed(code: Code, rows: list[Vector]) -> list[Vector]:
    """The columns of a square of `lanes` vectors."""
    builder, lanes = code.builder, code.lanes
    half, values = lanes // 2, [row.value for row in rows]
    # log2(lanes) rounds: in each, rows i and i + half are interleaved into rows 2i and 2i + 1.
    low = [lane // 2 + (lane % 2) * lanes for lane in range(lanes)]
    high = [index + half for index in low]
    kind = ir.VectorType(ir.IntType(32), lanes)
    for _ in range(lanes.bit_length() - 1):
        mixed = []
        for i in range(half):
            for order in (low, high):
                mixed.append(builder.shuffle_vector(values[i], values[i + half], ir.Constant(kind, order)))
        values = mixed
    return [Vector(code, value) for value in values]


@routine("ppii", *EVERY)
def transpose(code: Code, block: Any, source: Any, source_row: Any, block_row: Any) -> None:
    """block[j, i] = source[i, j] for a square of lanes × lanes elements, rows `block_row` and `source_row` apart.

    A square of pairs is made of twice as many columns, rounded.
    """
    rows = []
    for i in range(code.lanes):
        row = code.at(source, code.times(source_row, i))
        rows.append(neighbours(code.load(row), code.load(row, code.lanes)) if code.paired else code.load(row))
    for j, column in enumerate(transposed(code, rows)):
        code.store(column, block, code.times(block_row, j))


@routine("ppi", BF16)
def round_row(code: Code, row: Any, source: Any, count: Any) -> None:
    """row = source, rounded."""

    def body(u: Any, _: list[Any]) -> list[Any]:
        store_halves(code.load(source, u), row, u)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("pppi", BF16)
def round_rows(code: Code, pairs: Any, first: Any, second: Any, count: Any) -> None:
    """pairs[u] = (first[u], second[u]), rounded."""

    def body(u: Any, _: list[Any]) -> list[Any]:
        rows = (code.builder.zext(halves(code.load(row, u)), code.integers) for row in (first, second))
        code.store(joined(code, *rows), pairs, u)
        return []

    code.loop(count, [], body, step=code.lanes)


def kept(code: Code, condition: Any, value: Any) -> Any:
    """The integers of a vector where the condition holds, else zeros."""
    return code.builder.select(condition, value, ir.Constant(code.integers, None))


@routine("pppiiiii", BF16)
def join_rows(code: Code, panels: Any, first: Any, second: Any, both: Any, count: Any, step: Any, columns: Any,
              panel: Any) -> None:  # fmt: skip
    """panels[p, k, u] = (first[u], second[u]) of rows in bfloat16, whose columns go to panels that lie `panel` apart.

    Of `count` such pairs of rows each lies `step` on; zeros take the place of the second rows unless `both`.
    """
    builder, line = code.builder, code.target.line
    two = builder.icmp_signed("!=", both, code.index(0))

    def rows(k: Any, _: list[Any]) -> list[Any]:
        here = [code.at(row, builder.mul(k, step)) for row in (first, second)]

        def columns_of(u: Any, place: list[Any]) -> list[Any]:
            for v in range(0, line, code.lanes):
                one, other = (load_halves(code, row, code.plus(u, v)) for row in here)
                code.store(joined(code, one, kept(code, two, other)), panels, code.plus(place[0], v))
            return [builder.add(place[0], panel)]

        code.loop(columns, [code.times(k, line)], columns_of, step=line)
        return []

    code.loop(count, [], rows)


@routine("ppiii", BF16)
def join_columns(code: Code, block: Any, source: Any, source_row: Any, rows: Any, block_row: Any) -> None:
    """block[j, i] = (source[2i, j], source[2i + 1, j]) for lanes × lanes pairs, of `rows` real rows in bfloat16."""
    builder = code.builder

    def halves_of(i: int) -> Any:
        real = builder.icmp_signed("<", code.index(i), rows)
        place = builder.select(real, code.times(source_row, i), code.index(0))
        return kept(code, real, load_halves(code, code.at(source, place)))

    pairs = [joined(code, halves_of(2 * i), halves_of(2 * i + 1)) for i in range(code.lanes)]
    for j, column in enumerate(transposed(code, pairs)):
        code.store(column, block, code.times(block_row, j))
