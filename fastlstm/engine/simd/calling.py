"""Kernels as C calls them: a function of one pointer, for threads that Python does not know."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from fastlstm.engine.simd.vector import INDEX, POINTER, Code, routine

# What Numba's compiled functions take of a one-dimensional array: two owners (0: none), elements, an element's bytes,
# address, elements again and the bytes from one to the next.
OF_ARRAY = 7
# The arrays of a program, which are followed by an integer.
ARRAYS = 4


@routine("p")
def call_program(code: Code, what: Any) -> None:
    """Call the compiled program at the address what[0] with the integers and addresses that follow."""
    builder = code.builder
    numbers = [
        builder.load(builder.gep(what, [INDEX(n)], source_etype=INDEX), typ=INDEX)
        for n in range(1 + ARRAYS * OF_ARRAY + 1)
    ]
    # Before the arguments come where the result and an exception's description would go; a program has neither.
    kind = ir.FunctionType(ir.IntType(32), [POINTER, POINTER, *[INDEX] * (len(numbers) - 1)])
    places = [cgutils.alloca_once(builder, INDEX) for _ in range(2)]
    program = builder.inttoptr(numbers[0], kind.as_pointer())
    builder.call(program, [*(builder.bitcast(place, POINTER) for place in places), *numbers[1:]])
