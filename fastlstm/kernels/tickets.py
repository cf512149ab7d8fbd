"""How workers share a program: they draw numbered tickets, one for each atom of work.

A program is a fixed sequence of phases, each of a number of atoms that depends on shapes alone. Every worker runs the
same program and draws the next ticket from one counter; a second counter says how many atoms are done. A phase
begins when all atoms of the earlier ones are done, whoever ran them: a worker that comes late, or never, holds up
nobody, and a result cannot depend on who ran what.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlstm.kernels.compile import inner
from fastlstm.memory import LINE
from fastlstm.simd.memory import call_void, intrinsic
from fastlstm.simd.target import features

# The two counters lie on cache lines of their own.
NEXT, DONE = 0, 2 * LINE // 8
SPINS = 2000


def new_board() -> np.ndarray:
    """The counters of one run, zero."""
    return np.zeros(4 * LINE // 8, np.int64)


@intrinsic
def _add(typingctx: Any, board: Any, place: Any) -> Any:
    """Count up board[place] atomically; returns the former count."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(board)(context, builder, values[0]).data
        slot = builder.gep(data, [values[1]])
        return builder.atomic_rmw("add", slot, ir.IntType(64)(1), "seq_cst")

    return types.int64(board, types.int64), generate


@intrinsic
def _read(typingctx: Any, board: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(board)(context, builder, values[0]).data
        return builder.load_atomic(builder.gep(data, [values[1]]), "seq_cst", 8)

    return types.int64(board, types.int64), generate


@intrinsic
def _pause(typingctx: Any) -> Any:
    """Tell the core that this is a spin loop."""
    triple = features()[0]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if triple.startswith("x86_64"):
            call_void(builder, "llvm.x86.sse2.pause")
        elif triple.startswith(("aarch64", "arm64")):
            call_void(builder, "llvm.aarch64.hint", ir.IntType(32)(1))
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def _yield_core(typingctx: Any) -> Any:
    """Let another thread have this core."""
    name = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@inner
def draw(board):
    """The next ticket."""
    return _add(board, NEXT)


@inner
def finish(board):
    """Say that the atom of a drawn ticket is done, and draw the next ticket."""
    _add(board, DONE)
    return _add(board, NEXT)


@inner
def wait(board, atoms):
    """Return when `atoms` atoms are done."""
    spins = 0
    while _read(board, DONE) < atoms:
        if spins < SPINS:
            spins += 1
            _pause()
        else:
            _yield_core()
