"""What this CPU offers, as Numba compiles for it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from numba.core.registry import cpu_target

from fastlstm.engine.memory import LINE


class Target(NamedTuple):
    """The vector unit for one element type.

    `lanes` elements fill a register, of which `registers` are free to use; a register tile is at most
    `rows` × `vectors` of them, chosen so that accumulators, one row of the streamed matrix and a broadcast fit
    without spilling, and so that at least eight independent FMA chains hide the FMA's latency.
    """

    bits: int
    lanes: int
    registers: int

    @property
    def line(self) -> int:
        """Elements of a cache line: the width of a panel."""
        return LINE * 8 // self.bits

    @property
    def rows(self) -> int:
        return 6

    @property
    def vectors(self) -> int:
        return 4 if self.registers == 32 else 2

    @property
    def unroll(self) -> int:
        """Steps of the depth at a time: fewer instructions beside the multiplications, where registers allow it."""
        return 4 if self.registers > 15 else 1

    def wide(self, rows: int) -> int:
        """Vectors, a power of two, of a tile for so few rows that the usual width would leave FMA units idle."""
        if rows > 3:
            return self.vectors
        # A broadcast for each row and one vector of the streamed matrix stand beside the accumulators.
        accumulators = min(self.rows * self.vectors, self.registers - rows - 1)
        return 1 << (accumulators // rows).bit_length() - 1


def compiled_for() -> tuple[str, str, str]:
    """The triple, CPU and features of Numba's code."""
    context: Any = cpu_target.target_context
    return context.codegen().magic_tuple()


def features() -> tuple[str, str, frozenset[str]]:
    """The triple, the CPU's name and the features that Numba compiles for (NUMBA_CPU_NAME and -FEATURES included)."""
    triple, name, flags = compiled_for()
    return triple, name, frozenset(flag[1:] for flag in flags.split(",") if flag.startswith("+"))


@lru_cache
def target(bits: int) -> Target:
    """This CPU's target for elements of 32 or 64 bits."""
    triple, _, have = features()
    return target_of(bits, triple, have)


def target_of(bits: int, triple: str, have: frozenset[str]) -> Target:
    """The target for elements of `bits` bits on a CPU of this architecture with these features."""
    if triple.startswith(("aarch64", "arm64")):
        register, count = 128, 32
    elif "avx512f" in have:
        register, count = 512, 32
    elif "avx2" in have and "fma" in have:
        register, count = 256, 16
    else:
        # Without FMA a product is rounded in a register of its own.
        register, count = 128, 15
    return Target(bits, register // bits, count)
