"""bfloat16 in vectors: rounding to it, and pairs of it, which products take two at a time.

A vector of pairs holds two bfloat16 where one float32 would be, the first in the low half; it is loaded, stored and
broadcast like a vector of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils

from fastlstm.engine.simd.target import AMX, AVX512, PORTABLE
from fastlstm.engine.simd.vector import Code, Vector

HALF = ir.IntType(16)


class BFloat(ir.types._BaseFloatType):
    """LLVM's bfloat, which llvmlite does not know."""

    null = "0.0"
    intrinsic_name = "bf16"

    def __str__(self) -> str:
        return "bfloat"

    def format_constant(self, value: Any) -> str:
        raise NotImplementedError


BFloat._create_instance()


def splat(code: Code, number: int) -> ir.Constant:
    return ir.Constant(code.integers, [ir.Constant(code.integers.element, number)] * code.lanes)


def low(pairs: Vector) -> Vector:
    """The first of each pair in float32."""
    code = pairs.code
    bits = code.builder.bitcast(pairs.value, code.integers)
    return Vector(code, code.builder.bitcast(code.builder.shl(bits, splat(code, 16)), code.type))


def high(pairs: Vector) -> Vector:
    """The second of each pair in float32."""
    code = pairs.code
    bits = code.builder.bitcast(pairs.value, code.integers)
    return Vector(code, code.builder.bitcast(code.builder.and_(bits, splat(code, 0xFFFF0000)), code.type))


def rounded(x: Vector) -> Any:
    """The bits of x with the nearest bfloat16 in their upper half, the even one of two as near; NaN stays NaN."""
    code, builder = x.code, x.code.builder
    bits = builder.bitcast(x.value, code.integers)
    odd = builder.and_(builder.lshr(bits, splat(code, 16)), splat(code, 1))
    nearest = builder.add(bits, builder.add(odd, splat(code, 0x7FFF)))
    quiet = builder.or_(bits, splat(code, 0x00400000))
    return builder.select(builder.fcmp_unordered("uno", x.value, x.value), quiet, nearest)


def halves(x: Vector) -> Any:
    """x in bfloat16, as 16-bit integers."""
    code = x.code
    upper = code.builder.lshr(rounded(x), splat(code, 16))
    return code.builder.trunc(upper, ir.VectorType(HALF, code.lanes))


def store_halves(x: Vector, pointer: Any, offset: Any = 0) -> None:
    """Store x in bfloat16 from the `offset`-th on."""
    code = x.code
    place = code.builder.gep(pointer, [code.index(offset)], source_etype=HALF)
    code.builder.store(halves(x), place, align=2)


def load_halves(code: Code, pointer: Any, offset: Any = 0) -> Any:
    """A vector's number of bfloat16 from the `offset`-th on, each in the low half of an integer."""
    place = code.builder.gep(pointer, [code.index(offset)], source_etype=HALF)
    loaded = code.builder.load(place, typ=ir.VectorType(HALF, code.lanes), align=2)
    return code.builder.zext(loaded, code.integers)


def widened(code: Code, pointer: Any, offset: Any = 0) -> Vector:
    """A vector's number of bfloat16 in float32."""
    upper = code.builder.shl(load_halves(code, pointer, offset), splat(code, 16))
    return Vector(code, code.builder.bitcast(upper, code.type))


def joined(code: Code, first: Any, second: Any) -> Vector:
    """Pairs of bfloat16 that lie in the low halves of integers."""
    both = code.builder.or_(first, code.builder.shl(second, splat(code, 16)))
    return Vector(code, code.builder.bitcast(both, code.type))


def neighbours(first: Vector, second: Vector) -> Vector:
    """Two vectors of floats, one after the other, rounded to pairs of neighbours."""
    code = first.code
    order = ir.Constant(ir.VectorType(ir.IntType(32), 2 * code.lanes), list(range(2 * code.lanes)))
    row = code.builder.shuffle_vector(halves(first), halves(second), order)
    return Vector(code, code.builder.bitcast(row, code.type))


def dot(a: Vector, b: Vector, total: Vector) -> Vector:
    """total + a's first · b's first + a's second · b's second, by AVX512-BF16's vdpbf16ps."""
    code, builder = a.code, a.code.builder
    kind = ir.VectorType(BFloat(), 2 * code.lanes)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(code.type, [code.type, kind, kind]),
        f"llvm.x86.avx512bf16.dpbf16ps.{32 * code.lanes}",
    )
    pairs = (builder.bitcast(x.value, kind) for x in (a, b))
    return Vector(code, builder.call(function, [total.value, *pairs]))


def opaque(x: Vector) -> Vector:
    """The same vector, its origin hidden from the optimiser, which would widen an element before it is broadcast."""
    code = x.code
    width, of_x86 = code.lanes * code.bits, code.target.registers < 32
    constraint = "v" if width == 512 else "x" if of_x86 else "w"
    kind = ir.FunctionType(code.type, [code.type])
    return Vector(code, code.builder.asm(kind, "", f"={constraint},0", [x.value], side_effect=False))


class Product(NamedTuple):
    """How a sum gains a product: by `muladd` of each of the operands' parts in turn."""

    parts: tuple[Callable[[Vector], Vector], ...]
    muladd: Callable[[Vector, Vector, Vector], Vector]


def whole(x: Vector) -> Vector:
    return x


PRODUCTS = {
    "": Product((whole,), Vector.muladd),
    PORTABLE: Product((low, high), Vector.muladd),
    AVX512: Product((whole,), dot),
    AMX: Product((whole,), dot),
}
"""By what a target says of its products."""
