"""What this machine can do at most, measured: multiply-adds from registers, and reading of memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit, types
from numba.core.extending import intrinsic

from fastlstm.engine.simd.target import target
from fastlstm.engine.simd.vector import POINTER, Code

UNROLL = 8
MATRIX = 1 << 24
"""Bytes of a matrix read over and over: kaggle's recurrent weights."""
MEMORY = 1 << 28
"""Bytes that no cache holds."""


def chains() -> int:
    """Independent sums, as many as the largest tile has: they fit the registers and hide an FMA's latency."""
    return target(32).rows * target(32).vectors


@intrinsic
def fma_chains(typingctx: Any, address: Any, rounds: Any) -> Any:
    """UNROLL muladds a round of each of the `chains()`, which begin and end as the floats at `address`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code, values = Code(builder, target(32)), builder.inttoptr(arguments[0], POINTER)
        half = code.constant(0.5)
        started = [code.load(values, chain * code.lanes) for chain in range(chains())]

        def body(_: Any, sums: list[Any]) -> list[Any]:
            for _ in range(UNROLL):
                sums = [total.muladd(half, half) for total in sums]
            return sums

        for chain, total in enumerate(code.loop(arguments[1], started, body)):
            code.store(total, values, chain * code.lanes)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@njit(nogil=True)
def run_chains(values: Any, rounds: int) -> None:
    fma_chains(values.ctypes.data, rounds)  # pyright: ignore[reportCallIssue]: Numba passes the first


@njit(nogil=True)
def read_streams(words: Any, passes: int) -> int:
    """Four streams of 64-bit integers, summed, `passes` times."""
    n = len(words) // 4
    a = b = c = d = 0
    for _ in range(passes):
        for i in range(n):
            a += words[i]
            b += words[n + i]
            c += words[2 * n + i]
            d += words[3 * n + i]
    return a + b + c + d


def fma_peak(threads: int) -> float:
    """f32 operations a second of `threads` cores that do nothing but multiply-add in registers.

    >>> fma_peak(1) > 1e9
    True
    """
    floats, rounds = chains() * target(32).lanes, 1 << 18
    values = [np.arange(floats, dtype=np.float32) for _ in range(threads)]
    operations = 2 * floats * UNROLL * rounds
    return threads * operations / fastest([lambda v=v: run_chains(v, rounds) for v in values])


def read_bandwidth(threads: int, size: int) -> float:
    """Bytes a second at which `threads` cores read `size` bytes of memory, each its share, over and over."""
    words = np.ones(size // 8, np.int64)
    passes = max(1, MEMORY // size)
    shares = np.array_split(words, threads)
    return passes * size / fastest([lambda share=share: read_streams(share, passes) for share in shares])


def fastest(works: list[Callable[[], Any]], repeats: int = 7) -> float:
    """Seconds from the first work's start to the last one's end, side by side; the best of several tries."""
    works[0]()
    together = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> list[tuple[float, float]]:
        spans = []
        for _ in range(repeats):
            together.wait()
            start = time.perf_counter()
            work()
            spans.append((start, time.perf_counter()))
        return spans

    with ThreadPoolExecutor(len(works)) as pool:
        spans = np.array(list(pool.map(run, works)))
    return float((spans[..., 1].max(0) - spans[..., 0].min(0)).min())
