"""Addresses in jitted code: pointers from arrays or integers, pointer arithmetic, and the denormal switch."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils, extending

from fastlstm.engine.simd.target import features

# Type checkers see the function that writes the code, not the one that jitted code calls.
intrinsic: Any = extending.intrinsic


# A pair of bfloat16, the first one in its low half, takes a float32's place where it is an operand of a product.
PAIR = types.uint32


def _element(like: types.Type) -> types.Type:
    """What sums are made of where operands are like this: pairs are summed up in float32."""
    assert isinstance(like, types.Array | types.CPointer)
    return types.float32 if like.dtype == PAIR else like.dtype


@intrinsic
def pointer(typingctx: Any, address: Any, like: Any) -> Any:
    """The integer `address` as a pointer to floats, where operands are of the type of array (or pointer) `like`."""
    return _pointer(types.CPointer(_element(like)), address, like)


@intrinsic
def operand(typingctx: Any, address: Any, like: Any) -> Any:
    """The integer `address` as a pointer to operands of the type of array (or pointer) `like`."""
    return _pointer(types.CPointer(like.dtype), address, like)


def _pointer(kind: types.CPointer, address: Any, like: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address_ = context.cast(builder, values[0], address, types.int64)
        return builder.inttoptr(address_, context.get_value_type(kind))

    return kind(address, like), generate


def _pointer_to(kind: types.Type) -> Any:
    @intrinsic
    def typed(typingctx: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(types.CPointer(kind)))

        return types.CPointer(kind)(address), generate

    return typed


# The integer address as a pointer to int32, int64 or float64.
ids_pointer = _pointer_to(types.int32)
integers_pointer = _pointer_to(types.int64)
floats_pointer = _pointer_to(types.float64)


@intrinsic
def is_null(typingctx: Any, base: Any) -> Any:
    """Whether a pointer is that of address 0."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.icmp_unsigned("==", builder.ptrtoint(values[0], ir.IntType(64)), ir.IntType(64)(0))

    return types.boolean(base), generate


@intrinsic
def cast(typingctx: Any, number: Any, like: Any) -> Any:
    """A float64 as an element of the type of pointer `like`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.cast(builder, values[0], types.float64, _element(like))

    return _element(like)(types.float64, like), generate


@intrinsic
def at(typingctx: Any, base: Any, offset: Any) -> Any:
    """The pointer `offset` elements after `base`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        offset_ = context.cast(builder, values[1], offset, types.int64)
        return builder.gep(values[0], [offset_], inbounds=True)

    return base(base, offset), generate


def call_void(builder: Any, name: str, *arguments: Any) -> None:
    """Call an LLVM intrinsic that returns nothing."""
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


@intrinsic
def flush_denormals(typingctx: Any) -> Any:
    """Set flush-to-zero with round-to-nearest for this thread; returns the former control word for `restore`."""
    triple = features()[0]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        if triple.startswith("x86_64"):
            i32 = ir.IntType(32)
            slot = cgutils.alloca_once(builder, i32)
            raw = builder.bitcast(slot, ir.PointerType())
            call_void(builder, "llvm.x86.sse.stmxcsr", raw)
            saved = builder.zext(builder.load(slot), word)
            # All exceptions masked, nearest, flush-to-zero and denormals-are-zero.
            builder.store(i32(0x1F80 | 0x8040), slot)
            call_void(builder, "llvm.x86.sse.ldmxcsr", raw)
            return saved
        if triple.startswith(("aarch64", "arm64")):
            kind = ir.FunctionType(word, [])
            saved = builder.call(
                cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.get.fpcr"), []
            )
            call_void(builder, "llvm.aarch64.set.fpcr", word(1 << 24))
            return saved
        return word(0)

    return types.int64(), generate


@intrinsic
def restore(typingctx: Any, saved: Any) -> Any:
    """Put back the control word that `flush_denormals` returned."""
    triple = features()[0]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if triple.startswith("x86_64"):
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(values[0], ir.IntType(32)), slot)
            call_void(builder, "llvm.x86.sse.ldmxcsr", builder.bitcast(slot, ir.PointerType()))
        elif triple.startswith(("aarch64", "arm64")):
            call_void(builder, "llvm.aarch64.set.fpcr", values[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate
