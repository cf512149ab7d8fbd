"""What this CPU offers, as Numba compiles for it."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any, NamedTuple

from numba.core.registry import cpu_target

from fastlstm.engine.memory import LINE
from fastlstm.errors import FastLSTMError

BF16 = 16
"""In place of an element's bits: operands are pairs of bfloat16, their sums are float32."""
PORTABLE, AVX512, AMX = "portable", "avx512", "amx"
"""The ways to multiply pairs: widened to float32 on any CPU, by vdpbf16ps, or where there are enough of them by AMX."""
SLOWER = {AMX: AVX512, AVX512: PORTABLE}
"""What takes a way's place where it is wrong or not permitted."""


class Target(NamedTuple):
    """The vector unit for one element type: float32 (32 bits), float64, or pairs of bfloat16 (`BF16`).

    `lanes` elements fill a register, of which `registers` are free to use; a register tile is at most
    `rows` × `vectors` of them, chosen so that accumulators, one row of the streamed matrix and a broadcast fit
    without spilling, and so that at least eight independent FMA chains hide the FMA's latency. A pair is as wide as
    the float32 that its products are added to, and takes its place; `product` says how pairs are multiplied, and `blocks`
    whether the CPU could do it by AMX, which kernels ask the library for then.
    """

    bits: int
    lanes: int
    registers: int
    product: str = ""
    blocks: bool = False

    @property
    def float_bits(self) -> int:
        """Of the sums, and of everything that is no operand of a product."""
        return 32 if self.bits == BF16 else self.bits

    @property
    def line(self) -> int:
        """Elements of a cache line: the width of a panel."""
        return LINE * 8 // self.float_bits

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
    """This CPU's target for elements of 32 or 64 bits, or for pairs of bfloat16."""
    triple, _, have = features()
    return target_of(bits, triple, have, os.environ.get("FASTLSTM_BF16", ""))


def target_of(bits: int, triple: str, have: frozenset[str], forced: str = "") -> Target:
    """The target for a CPU of this architecture with these features; `forced` is how pairs are to be multiplied."""
    if triple.startswith(("aarch64", "arm64")):
        register, count = 128, 32
    elif "avx512f" in have:
        register, count = 512, 32
    elif "avx2" in have and "fma" in have:
        register, count = 256, 16
    else:
        # Without FMA a product is rounded in a register of its own.
        register, count = 128, 15
    if bits != BF16:
        return Target(bits, register // bits, count)
    ways = [PORTABLE]
    if {"avx512f", "avx512bf16"} <= have:
        ways.insert(0, AVX512)
        if {"amx-tile", "amx-bf16"} <= have and "linux" in triple:
            ways.insert(0, AMX)
    if forced and forced not in ways:
        raise FastLSTMError(f"FASTLSTM_BF16 is {forced!r}; on this CPU it must be one of {', '.join(ways)}")
    return Target(bits, register // 32, count, forced or ways[0], AMX in ways)
