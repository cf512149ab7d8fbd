"""How the kernels are compiled: without the GIL, IEEE division, cached on disk and never stale."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit, types
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps

from fastlstm.engine.compiled import Entry, not_kept
from fastlstm.engine.signals import uncut
from fastlstm.engine.simd import library
from fastlstm.engine.simd.memory import PAIR
from fastlstm.engine.simd.target import BF16


class Entries:
    """In place of Numba's files: its index is not safe from two processes, and damage ends in an error or a crash."""

    def __init__(self, folder: Path, function: Callable[..., Any]) -> None:
        self.folder = folder
        python = f"py{sys.version_info[0]}{sys.version_info[1]}"
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}-{python}"

    def entry(self, key: tuple[Any, ...]) -> Entry:
        signature, cpu, *rest = key
        family = f"{self.name}-{library.short_digest(cpu)}"
        return Entry(self.folder, family, library.DIGEST, library.short_digest((signature, rest)))

    def load(self, key: tuple[Any, ...]) -> Any:
        code = self.entry(key).read()
        return None if code is None else pickle.loads(code)

    def save(self, key: tuple[Any, ...], data: Any) -> None:
        self.entry(key).write(dumps(data))


class SourceCache(FunctionCache):
    """Numba's cache, keyed by the sources too: by itself it does not see a change in another file or an intrinsic."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = Entries(Path(self.cache_path), function)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """As Numba's, with the library that the kernel calls, and without half a second for Numba's registries.

        They hold what compiling needs, and no kernel needs any of it to run.
        """
        load_library(sig, Path(self.cache_path))
        rtsys.initialize(target_context)
        return self._load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel, where the folder takes it."""
        self._cache_file.save(self._index_key(sig, data.codegen), self._impl.reduce(data))


class LibraryOnly:
    """In place of a cache where no folder can be written."""

    cache_path = None

    def load_overload(self, sig: Any, target_context: Any) -> None:
        load_library(sig, None)

    def save_overload(self, sig: Any, data: Any) -> None:
        not_kept("in any folder")


def load_library(sig: Any, folder: Path | None) -> None:
    """Load the library for each type of operands among the arguments."""
    for argument in sig if isinstance(sig, tuple) else sig.args:
        if isinstance(argument, types.Array) and (
            isinstance(argument.dtype, types.Float) or argument.dtype == PAIR
        ):
            library.load(BF16 if argument.dtype == PAIR else argument.dtype.bitwidth, folder)


class Part(JITCodeLibrary):
    """The code of a function that only other kernels call: merged into theirs as it was written.

    Numba would optimise it, and all that it calls, and make machine code of it, by itself and again in every caller.
    """

    def _optimize_final_module(self) -> None:
        """Left to the kernel."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Nobody calls it by its address."""
        return 0

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, name: str, environment: object) -> None:
        """There is no machine code that could look for Python's objects."""


class PartCompiler(Compiler):
    """Numba's compiler with a `Part` to write to."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        codegen = self.state.targetctx.codegen()
        self.state.library = Part(codegen, "part")


# Rewrites, wrappers and reference counts, of which no kernel needs any, would be half of the compilation.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "no_rewrites": True,
    "no_cfunc_wrapper": True,
}
PART = OPTIONS | {"no_cpython_wrapper": True, "_nrt": False, "pipeline_class": PartCompiler}


def inner(function: Callable[..., Any]) -> Any:
    """Compile a function that other kernels call; it is cached as a part of them."""
    dispatcher: Any = njit(**PART)(function)
    specialised = dispatcher.get_call_template
    dispatcher.get_call_template = lambda kinds, named: specialised(tuple(map(widened, kinds)), named)
    return dispatcher


def either(floats: Any, pairs: Any) -> Any:
    """One name for two functions: `pairs` where an argument is made of pairs of bfloat16, else `floats`."""

    def chosen(kinds: Any) -> Any:
        made_of = [kind.dtype for kind in kinds if isinstance(kind, types.Array | types.CPointer)]
        return of_pairs if PAIR in made_of else of_floats

    of_floats, of_pairs = (
        (function.get_call_template, function.get_overload) for function in (floats, pairs)
    )
    floats.get_call_template = lambda kinds, named: chosen(kinds)[0](kinds, named)
    floats.get_overload = lambda kinds: chosen(kinds)[1](kinds)
    return floats


def widened(kind: Any) -> Any:
    """int64 for every integer that it can hold: one specialisation of a function serves all its callers."""
    integer = isinstance(kind, types.Integer | types.IntegerLiteral)
    return types.int64 if integer and kind != types.uint64 else kind


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, cached where a cache folder can be written."""
    dispatcher: Any = njit(**OPTIONS)(function)
    try:
        dispatcher._cache = SourceCache(function)
    except RuntimeError:
        dispatcher._cache = LibraryOnly()
    dispatcher.compile = uncut()(dispatcher.compile)
    return dispatcher
