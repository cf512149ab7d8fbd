"""A small vector language: Python that writes LLVM IR for one function.

`Code` is the function being written, `Vector` a value of one register with operators. Nothing is left to the
compiler's discretion: a product and a sum are fused where `muladd` says so and nowhere else, so that results
depend on the target alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlstm.engine.simd.memory import PAIR, intrinsic
from fastlstm.engine.simd.target import BF16, Target

POINTER = ir.PointerType()
INDEX = ir.IntType(64)


class Vector:
    """One register of `lanes` elements in a function being written."""

    def __init__(self, code: Code, value: Any) -> None:
        self.code, self.value = code, value

    def _with(self, operation: str, other: Vector, **flags: Any) -> Vector:
        return Vector(self.code, getattr(self.code.builder, operation)(self.value, other.value, **flags))

    def __add__(self, other: Vector) -> Vector:
        return self._with("fadd", other)

    def __sub__(self, other: Vector) -> Vector:
        return self._with("fsub", other)

    def __mul__(self, other: Vector) -> Vector:
        return self._with("fmul", other)

    def __truediv__(self, other: Vector) -> Vector:
        return self._with("fdiv", other)

    def muladd(self, factor: Vector, summand: Vector) -> Vector:
        """self × factor + summand, in one rounding where the target has FMA."""
        return self.code.call("llvm.fmuladd", self, factor, summand)

    def sqrt(self) -> Vector:
        return self.code.call("llvm.sqrt", self)

    def absolute(self) -> Vector:
        return self.code.call("llvm.fabs", self)

    def copysign(self, sign: Vector) -> Vector:
        return self.code.call("llvm.copysign", self, sign)

    def where(self, relation: str, bound: Vector, other: Vector) -> Vector:
        """self where `self relation bound` is false, else other; a NaN in self compares false and stays."""
        mask = self.code.builder.fcmp_ordered(relation, self.value, bound.value)
        return Vector(self.code, self.code.builder.select(mask, other.value, self.value))

    def maximum(self, other: Vector) -> Vector:
        """The larger of both; a NaN in either is kept."""
        builder = self.code.builder
        mask = builder.fcmp_unordered(">", self.value, other.value)
        larger = builder.select(mask, self.value, other.value)
        ordered = builder.fcmp_ordered("ord", other.value, other.value)
        return Vector(self.code, builder.select(ordered, larger, other.value))

    def clamp(self, low: float, high: float) -> Vector:
        """Values below low become low, above high become high; NaN stays NaN."""
        low_, high_ = self.code.constant(low), self.code.constant(high)
        return self.where("<", low_, low_).where(">", high_, high_)

    def fold(self, operation: Callable[[Vector, Vector], Vector]) -> Any:
        """The lanes combined in a fixed order, halves first, as a scalar."""
        code, value, lanes = self.code, self, self.code.lanes
        while lanes > 1:
            lanes //= 2
            order = ir.Constant(
                ir.VectorType(ir.IntType(32), code.lanes),
                [(i + lanes) % code.lanes for i in range(code.lanes)],
            )
            other = code.builder.shuffle_vector(value.value, value.value, order)
            value = operation(value, Vector(code, other))
        return code.builder.extract_element(value.value, ir.Constant(ir.IntType(32), 0))


class Code:
    """One LLVM function being written, for the elements and registers of `target`."""

    def __init__(self, builder: Any, target: Target) -> None:
        self.builder, self.target = builder, target
        self.bits, self.lanes, self.paired = target.float_bits, target.lanes, target.bits == BF16
        self.real = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.type = ir.VectorType(self.real, self.lanes)
        self.integers = ir.VectorType(ir.IntType(self.bits), self.lanes)

    def constant(self, x: float) -> Vector:
        return Vector(self, ir.Constant(self.type, [ir.Constant(self.real, x)] * self.lanes))

    def splat(self, scalar: Any) -> Vector:
        zero = ir.Constant(ir.IntType(32), 0)
        first = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), scalar, zero)
        order = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return Vector(self, self.builder.shuffle_vector(first, first, order))

    def index(self, i: Any) -> Any:
        return ir.Constant(INDEX, i) if isinstance(i, int) else i

    def plus(self, i: Any, n: int) -> Any:
        return self.builder.add(i, self.index(n))

    def times(self, i: Any, n: int) -> Any:
        return self.builder.mul(i, self.index(n))

    def at(self, pointer: Any, offset: Any) -> Any:
        """The address of the element `offset` elements on."""
        return self.builder.gep(pointer, [self.index(offset)], source_etype=self.real)

    def opaque(self, value: Any) -> Any:
        """The same address or index in a register of its own, its origin hidden from the optimiser."""
        kind = value.type
        return self.builder.asm(ir.FunctionType(kind, [kind]), "", "=r,0", [value], side_effect=False)

    def fence(self) -> None:
        """Keep loads on their side of this place: hoisted ones would need registers that are taken."""
        self.builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], side_effect=True)

    def load(self, pointer: Any, offset: Any = 0) -> Vector:
        return Vector(self, self.builder.load(self.at(pointer, offset), typ=self.type, align=self.bits // 8))

    def store(self, vector: Vector, pointer: Any, offset: Any = 0) -> None:
        self.builder.store(vector.value, self.at(pointer, offset), align=self.bits // 8)

    def broadcast(self, pointer: Any, offset: Any = 0) -> Vector:
        return self.splat(self.builder.load(self.at(pointer, offset), typ=self.real, align=self.bits // 8))

    def prefetch(self, pointer: Any, offset: Any) -> None:
        """Ask for an element's cache line to come as far as the L2 cache; it may lie past the end of what there is."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER, *[ir.IntType(32)] * 3])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        self.builder.call(function, [self.at(pointer, offset), *(ir.IntType(32)(n) for n in (0, 2, 1))])

    def call(self, name: str, *arguments: Vector) -> Vector:
        """An LLVM intrinsic over whole vectors, declared by its mangled name."""
        full = f"{name}.v{self.lanes}f{self.bits}"
        function = cgutils.get_or_insert_function(
            self.builder.module, ir.FunctionType(self.type, [self.type] * len(arguments)), full
        )
        return Vector(self, self.builder.call(function, [a.value for a in arguments]))

    def loop(
        self,
        count: Any,
        carried: Sequence[Any],
        body: Callable[[Any, list[Any]], Sequence[Any]],
        step: int = 1,
    ) -> list[Any]:
        """Run body(i, carried) -> carried for i = 0, step, … below count; what is carried are vectors or indices."""
        builder = self.builder
        before = builder.block
        head, inside, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
        builder.branch(head)
        builder.position_at_end(head)
        phis = [self.join(value, before) for value in (self.index(0), *carried)]
        i, *values = phis
        builder.cbranch(builder.icmp_signed("<", i, count), inside, after)
        builder.position_at_end(inside)
        results = [builder.add(i, self.index(step)), *body(i, values)]
        for phi, result in zip(phis, results, strict=True):
            raw(phi).add_incoming(raw(result), builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return values

    def join(self, value: Any, block: ir.Block) -> Any:
        """A phi that is `value` when control comes from `block`, of the same kind as value."""
        phi = self.builder.phi(raw(value).type)
        phi.add_incoming(raw(value), block)
        return Vector(self, phi) if isinstance(value, Vector) else phi

    def choose(self, condition: Any, then: Callable[[], list[Any]], otherwise: list[Any]) -> list[Any]:
        """then() where the condition (an index) is not zero, else otherwise: vectors or indices."""
        builder = self.builder
        before = builder.block
        inside, after = builder.append_basic_block("then"), builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed("!=", condition, self.index(0)), inside, after)
        builder.position_at_end(inside)
        results = then()
        end = builder.block
        builder.branch(after)
        builder.position_at_end(after)
        phis = [self.join(result, end) for result in results]
        for phi, other in zip(phis, otherwise, strict=True):
            raw(phi).add_incoming(raw(other), before)
        return phis


def raw(value: Any) -> Any:
    """The LLVM value of a vector, or the value itself."""
    return value.value if isinstance(value, Vector) else value


class Routine(NamedTuple):
    """A function of the library: its parameters, what writes its body, and for which operands.

    Parameters are indices ("i"), pointers ("p"), or pointers to what others may write to ("s").
    """

    parameters: str
    write: Callable[..., None]
    bits: tuple[int, ...]


# The kinds of operands that a routine may be written for.
EVERY = (32, 64, BF16)
# What the compiled library holds beside the tiles, by name.
ROUTINES: dict[str, Routine] = {}


def symbol(name: str, bits: int) -> str:
    return f"fastlstm.{name}.{'bf' if bits == BF16 else 'f'}{bits}"


def declare(module: ir.Module, name: str, parameters: str, bits: int) -> ir.Function:
    """The function `name` of the library, as another module calls it.

    Pointers are declared not to alias unless they may share, so no such argument may be written through another one's
    memory.
    """
    full = symbol(name, bits)
    if full in module.globals:
        return module.globals[full]
    kinds = [INDEX if kind == "i" else POINTER for kind in parameters]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), full)
    function.attributes.add("nounwind")
    for argument, kind in zip(function.args, parameters, strict=True):
        if kind == "p":
            argument.add_attribute("noalias")
    return function


def define(module: ir.Module, name: str, what: Routine, target: Target) -> None:
    """Write the function `name` of the library."""
    function = declare(module, name, what.parameters, target.bits)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    what.write(Code(builder, target), *function.args)
    builder.ret_void()


def operand_bits(kinds: Sequence[types.Type]) -> int:
    """What the operands among a call's arguments are: float32, float64, or pairs where a pointer is one to pairs."""
    pointers = [kind.dtype for kind in kinds if isinstance(kind, types.CPointer)]
    return BF16 if PAIR in pointers else pointers[0].bitwidth


def routine(parameters: str, *bits: int) -> Callable[[Callable[..., None]], Any]:
    """Make write(code, *arguments) a function of the library that jitted code calls with pointers and integers.

    `bits` are the kinds of operands that it is written for: float32 and float64 by default. One with a pointer to
    pairs is that for pairs.
    """

    def decorate(write: Callable[..., None]) -> Any:
        name = write.__name__
        ROUTINES[name] = Routine(parameters, write, bits or (32, 64))

        def typed(typingctx: Any, *kinds: types.Type) -> Any:
            bits = operand_bits(kinds)

            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                parts = cgutils.unpack_tuple(builder, values[0])
                builder.call(
                    declare(builder.module, name, parameters, bits), arguments(context, builder, parts, kinds)
                )
                return context.get_dummy_value()

            return types.void(types.StarArgTuple(kinds)), generate

        typed.__name__, typed.__doc__ = name, write.__doc__
        return intrinsic(typed)

    return decorate


def arguments(context: Any, builder: Any, values: Any, kinds: Any) -> list[Any]:
    """Pointers as they are and numbers as indices, for a call into the library."""
    return [
        builder.bitcast(value, POINTER)
        if isinstance(kind, types.CPointer)
        else context.cast(builder, value, kind, types.int64)
        for value, kind in zip(values, kinds, strict=True)
    ]
