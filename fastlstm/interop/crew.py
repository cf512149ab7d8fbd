"""PyTorch's own threads for the engine's programs.

After each parallel operation they wait for the next one by spinning, for milliseconds, on the cores that the engine's
helpers would need. So they do the helpers' work: a program runs as one more parallel region of PyTorch's OpenMP library.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import torch

from fastlstm.engine.workers import Crew, Threads, thread_count


def _region() -> Any:
    """GNU OpenMP's entry to a parallel region, which other OpenMP libraries have too; None where PyTorch has none."""
    try:
        region = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).GOMP_parallel
    except (OSError, AttributeError):
        return None
    region.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
    region.restype = None
    return region


_parallel: Any = _region()


def _after_fork() -> None:
    """A child has none of its parent's threads, and OpenMP does not know it."""
    global _parallel
    _parallel = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def together(function: int, argument: int, count: int) -> None:
    """Call a C function of one pointer on so many threads of OpenMP's at once, the caller's among them."""
    _parallel(function, argument, count, 0)


def crew(threads: int | None) -> Threads:
    """PyTorch's threads where it may use as many as the engine, else `threads` of the engine's own."""
    count = thread_count(threads)
    return Crew(count, together) if _parallel and 1 < count <= torch.get_num_threads() else threads
