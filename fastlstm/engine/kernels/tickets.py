"""How workers share a program: they draw numbered tickets, one for each atom of work.

A program is a fixed sequence of phases, each of a number of atoms that depends on shapes alone. Every worker runs the
same program and draws the next ticket from one counter; a second counter says how many atoms are done. A phase
begins when all atoms of the earlier ones are done, whoever ran them: a worker that comes late, or never, holds up
nobody, and a result cannot depend on who ran what.

The caller shares its program with guests. Each enters, and leaves when it finds no ticket; the caller closes the board
and returns when all are out, so no guest touches anything afterwards. No lock of Python's is involved: whoever holds
it may keep it for long. A guest that leaves stays within the compiled code for a while, where it hears the bell that
rings when somebody enters the next program: to be woken by the system takes longer than many a phase.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastlstm.engine.kernels.compile import inner, kernel
from fastlstm.engine.kernels.records import address
from fastlstm.engine.simd.memory import call_void, integers_pointer, intrinsic
from fastlstm.engine.simd.target import features

# What cores write is so many integers apart: Apple's cache lines have 128 bytes, and other cores fetch lines in pairs.
APART = 128 // 8
# Three counters: tickets, finished atoms, and who is present, negative once it is closed.
NEXT, DONE, PRESENT = APART, 2 * APART, 3 * APART
# Never changed while the program runs: where the pool's bell is (0: nowhere), and this run's ring.
BELL, RING = 4 * APART, 4 * APART + 1
# Of phases whose atoms come again and again: who had each atom last, and up to which ticket its phase went. So many have room.
CLAIMS, ROOM, WORKERS = 5 * APART, 64, 2**16
CLOSED = -(2**32)
SPINS = 2000


def new_bell() -> np.ndarray:
    """A bell: the number of the last ring, far from everything else."""
    return np.zeros(2 * APART, np.int64)[APART:]


def new_board(bell: np.ndarray | None = None, ring: int = 0) -> np.ndarray:
    """The counters of one run, zero; whoever enters first rings the bell for the `ring`-th time."""
    board = np.zeros(CLAIMS + ROOM, np.int64)
    board[BELL], board[RING] = address(bell), ring
    return board


def _slot(context: Any, builder: Any, kind: types.Type, counters: Any, place: Any) -> Any:
    """Where counters[place] is, of an array or a pointer."""
    if isinstance(kind, types.Array):
        counters = context.make_array(kind)(context, builder, counters).data
    return builder.gep(counters, [place])


@intrinsic
def _add(typingctx: Any, counters: Any, place: Any, number: Any) -> Any:
    """Add to counters[place] atomically; returns the former count."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        slot = _slot(context, builder, counters, *values[:2])
        return builder.atomic_rmw("add", slot, values[2], "seq_cst")

    return types.int64(counters, types.int64, types.int64), generate


@intrinsic
def _set(typingctx: Any, counters: Any, place: Any, number: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[2], _slot(context, builder, counters, *values[:2]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(counters, types.int64, types.int64), generate


@intrinsic
def _read(typingctx: Any, counters: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_slot(context, builder, counters, *values), "seq_cst", 8)

    return types.int64(counters, types.int64), generate


@intrinsic
def _swap(typingctx: Any, counters: Any, place: Any, before: Any, after: Any) -> Any:
    """Set counters[place] to `after` if it is `before`, atomically; returns whether it was."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        slot = _slot(context, builder, signature.args[0], *values[:2])
        found = builder.cmpxchg(slot, values[2], values[3], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(found, 1), ir.IntType(64))

    return types.int64(counters, types.int64, types.int64, types.int64), generate


@intrinsic
def _pause(typingctx: Any) -> Any:
    """Tell the core that this is a spin loop."""
    triple = features()[0]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if triple.startswith("x86_64"):
            call_void(builder, "llvm.x86.sse2.pause")
        elif triple.startswith(("aarch64", "arm64")):
            # Its hint for this, `yield`, is over at once; a barrier takes about as long as the pause of x86-64.
            call_void(builder, "llvm.aarch64.isb", ir.IntType(32)(15))
        return context.get_dummy_value()

    return types.void(), generate


if sys.platform == "win32":
    # Of the system, not of the C library, where compiled code finds what it calls by itself.
    switch = ctypes.cast(ctypes.WinDLL("kernel32").SwitchToThread, ctypes.c_void_p)
    llvm.add_symbol("sched_yield", switch.value)


@intrinsic
def _yield_core(typingctx: Any) -> Any:
    """Let another thread have this core."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@inner
def rest(spins):
    """A moment's pause, after many with a turn for other threads; returns how many there were."""
    if spins < SPINS:
        _pause()
    else:
        _yield_core()
    return spins + 1


@inner
def enter(board):
    """Come in: the number of this worker, from 1, or 0 where the board is closed."""
    before = _add(board, PRESENT, 1)
    if before == 0 and board[BELL]:
        _set(integers_pointer(board[BELL]), 0, board[RING])
    return before % WORKERS + 1 if before >= 0 else 0


@inner
def leave(board, patience):
    """Go out, and listen so long for the next ring; the caller, which has no time to lose, for 0."""
    _add(board, PRESENT, -1)
    spins = 0
    while spins < patience and _read(integers_pointer(board[BELL]), 0) == board[RING]:
        spins = rest(spins)


@kernel
def close(board):
    """Let nobody in any more and return when everybody is out."""
    if _read(board, PRESENT) >= 0:
        _add(board, PRESENT, CLOSED)
    spins = 0
    while _read(board, PRESENT) != CLOSED:
        spins = rest(spins)


@inner
def draw(board):
    """The next ticket."""
    return _add(board, NEXT, 1)


@inner
def finish(board):
    """Say that the atom of a drawn ticket is done, and draw the next ticket."""
    _add(board, DONE, 1)
    return _add(board, NEXT, 1)


@inner
def claim(board, atoms, turn, up, end, who):
    """Which of its phase's atoms a ticket stands for, where each phase, up to ticket `end`, has the same atoms.

    One that the worker had before, whose data are in the caches of its core; else one of another's. Phases go up and
    down by turns: what one ends with, the next finds in the cache. Too many atoms are dealt in turn.
    """
    if atoms > ROOM:
        return turn if up else atoms - 1 - turn
    # A ticket is drawn for each atom, so there is one that nobody has.
    for pick in range(2 * atoms):
        others = pick >= atoms
        n = pick - atoms if others else pick
        atom = n if (who % 2 if others else up) else atoms - 1 - n
        last = _read(board, CLAIMS + atom)
        free = last // WORKERS < end and (others or last % WORKERS == who)
        if free and _swap(board, CLAIMS + atom, last, end * WORKERS + who):
            return atom
    return 0


@inner
def wait(board, atoms):
    """Return when `atoms` atoms are done."""
    spins = 0
    while _read(board, DONE) < atoms:
        spins = rest(spins)
