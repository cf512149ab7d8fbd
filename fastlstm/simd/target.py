"""What this CPU offers, as Numba compiles for it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from numba.core.registry import cpu_target

from fastlstm.memory import LINE


class Target(NamedTuple):
    """The vector unit for one element type.

    `lanes` elements fill a register, of which there are `registers`; a register tile is at most `rows` × `vectors`
    of them, chosen so that accumulators, one row of the streamed matrix and a broadcast fit without spilling, and
    so that at least eight independent FMA chains hide the FMA's latency.
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

    def wide(self, rows: int) -> int:
        """Vectors of a tile for so few rows that the usual width would leave FMA units idle."""
        accumulators = self.rows * self.vectors
        return 1 << (accumulators // rows).bit_length() - 1 if rows < 4 else self.vectors


def features() -> tuple[str, str, frozenset[str]]:
    """The triple, the CPU's name and the features that Numba compiles for (NUMBA_CPU_NAME and -FEATURES included)."""
    triple, name, flags = cpu_target.target_context.codegen().magic_tuple()
    return triple, name, frozenset(flag[1:] for flag in flags.split(",") if flag.startswith("+"))


@lru_cache
def target(bits: int) -> Target:
    """The target for elements of 32 or 64 bits."""
    triple, _, have = features()
    if triple.startswith(("aarch64", "arm64")):
        register, count = 128, 32
    elif "avx512f" in have:
        register, count = 512, 32
    elif "avx2" in have and "fma" in have:
        register, count = 256, 16
    else:
        register, count = 128, 16
    return Target(bits, register // bits, count)
