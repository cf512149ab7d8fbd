"""Programs for threads that Python does not know: neither they nor their caller need Python's lock to run one."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np

from fastlstm.engine.kernels.records import address
from fastlstm.engine.simd.calling import ARRAYS
from fastlstm.engine.simd.vector import symbol

_known: dict[tuple[Any, ...], tuple[int, int]] = {}


def native(program: Any, arguments: tuple[np.ndarray, ...]) -> tuple[int, np.ndarray]:
    """A C function of one pointer, and the memory to point it at: it runs a program of four arrays, with no patience.

    The caller keeps the arrays and that memory meanwhile.
    """
    assert len(arguments) == ARRAYS
    key = (program, *(array.dtype for array in arguments))
    if key not in _known:
        _known[key] = _compiled(program, arguments)
    caller, callee = _known[key]
    numbers = [callee]
    for array in arguments:
        numbers += 0, 0, array.size, array.itemsize, address(array), array.size, array.itemsize
    return caller, np.array([*numbers, 0], np.int64)


def _compiled(program: Any, arguments: tuple[np.ndarray, ...]) -> tuple[int, int]:
    """The addresses of what calls a program, and of the program."""
    kinds = tuple(map(program.typeof_pyval, (*arguments, 0)))
    program.compile(kinds)
    found = program.overloads[kinds]
    callee = found.library.get_pointer_to_function(found.fndesc.llvm_func_name)
    # Which library it comes from is all the same: that of the operands' type is there.
    bits = 64 if arguments[2].dtype == np.float64 else 32
    return llvm.address_of_symbol(symbol("call_program", bits)), callee
