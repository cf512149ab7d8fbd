"""How the kernels are compiled: without the GIL, IEEE division, cached on disk and never stale."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit, types
from numba.core.caching import FunctionCache

from fastlstm.simd import library


class SourceCache(FunctionCache):
    """Numba's cache, keyed by the sources too: by itself it does not see a change in another file or an intrinsic."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), library.DIGEST)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """As Numba's; the library that the kernel calls is loaded first."""
        load_library(sig, Path(self.cache_path))
        return super().load_overload(sig, target_context)


class LibraryOnly:
    """In place of a cache where no folder can be written."""

    cache_path = None

    def load_overload(self, sig: Any, target_context: Any) -> None:
        load_library(sig, None)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Nothing is kept."""


def load_library(sig: Any, folder: Path | None) -> None:
    """Load the library for each float type among the arguments."""
    for argument in sig if isinstance(sig, tuple) else sig.args:
        if isinstance(argument, types.Array) and isinstance(argument.dtype, types.Float):
            library.load(argument.dtype.bitwidth, folder)


# Wrappers and reference counts that no kernel needs would be half of the compilation.
jit: Any = partial(njit, nogil=True, error_model="numpy")


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call; it is cached as a part of them."""
    return jit(no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, cached where a cache folder can be written."""
    dispatcher = jit(no_cfunc_wrapper=True)(function)
    try:
        dispatcher._cache = SourceCache(function)
    except RuntimeError:
        dispatcher._cache = LibraryOnly()
    return dispatcher
