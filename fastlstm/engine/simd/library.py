"""The tiles and routines, compiled once for this CPU and kept as an object file.

Numba optimises a function again within each of its callers; what is called by name instead is compiled once. The
library is rebuilt when a source, the compiler or the target changes: all of them are in the file's name.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from llvmlite import ir

import fastlstm.engine.simd.calling
import fastlstm.engine.simd.packing
import fastlstm.engine.simd.routines  # noqa: F401 - all fill ROUTINES
from fastlstm.engine.compiled import Entry
from fastlstm.engine.simd.amx import permitted
from fastlstm.engine.simd.target import AMX, BF16, SLOWER, Target, compiled_for, target
from fastlstm.engine.simd.tiles import tiles
from fastlstm.engine.simd.trial import sound
from fastlstm.engine.simd.vector import ROUTINES, Routine, define, symbol

_loaded: dict[int, Any] = {}


def source_digest() -> str:
    """A digest of all that is compiled: `simd/`, `kernels/`, the line size, and the compiler's version."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    rooms = [path for room in ("simd", "kernels") for path in sorted((package / room).glob("*.py"))]
    for source in [package / "memory.py", *rooms]:
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


DIGEST = source_digest()


def short_digest(what: object) -> str:
    """A few characters that differ where what is written differs."""
    return hashlib.sha256(str(what).encode()).hexdigest()[:12]


def load(bits: int, folder: Path | None) -> None:
    """Make the library for operands of `bits` bits callable, from its file in `folder` where there is one.

    Programs whose operands are pairs call that for float32 too.
    """
    if bits == BF16:
        load(32, folder)
    if bits in _loaded:
        return
    engine = trusted(target(bits), folder)
    for name in routines(target(bits)):
        llvm.add_symbol(symbol(name, bits), engine.get_function_address(symbol(name, bits)))
    _loaded[bits] = engine


def trusted(t: Target, folder: Path | None) -> Any:
    """The machine code of the library for a target.

    What multiplies pairs is tried first: few of the machines on which this is built and tested have the instructions.
    Where a result is wrong, the next slower way takes its place, after a warning; where AMX is not permitted, without one.
    """
    slower = t._replace(product=SLOWER.get(t.product, ""))
    if t.product == AMX and not permitted():
        return trusted(slower, folder)
    engine = compiled(t, folder)
    if slower.product and not sound(t, lambda name: engine.get_function_address(symbol(name, BF16))):
        warnings.warn(
            f"products in bf16 by {t.product} are wrong on this CPU; slower ones are used "
            f"(FASTLSTM_BF16={slower.product} does so without this warning)",
            RuntimeWarning,
            stacklevel=2,
        )
        return trusted(slower, folder)
    return engine


def compiled(t: Target, folder: Path | None) -> Any:
    """The library for a target as its file has it, or as it will have it."""
    machine, cpu = host_machine()
    kept = folder and Entry(folder, f"fastlstm-{t.bits}{t.product}-{short_digest(cpu)}", DIGEST, "library")
    code = kept and kept.read()
    if code is None:
        code = machine.emit_object(optimized(t, machine))
        if kept:
            kept.write(code)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def host_machine() -> tuple[llvm.TargetMachine, tuple[str, ...]]:
    """The compiler for what Numba compiles for, and its triple, CPU and features."""
    triple, cpu, features = compiled_for()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default", jit=True
    )
    return machine, (triple, cpu, features)


def routines(t: Target) -> dict[str, Routine]:
    """Everything that the library for a target holds, by name."""
    return {name: what for name, what in (ROUTINES | tiles(t)).items() if t.bits in what.bits}


def written(t: Target) -> str:
    """The library for a target in LLVM's language."""
    module = ir.Module(f"fastlstm{t.bits}")
    for name, what in routines(t).items():
        define(module, name, what, t)
    return str(module)


def optimized(t: Target, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """The library for a target, written and optimised."""
    text = written(t)
    if machine.triple.startswith(("aarch64", "arm64")):
        # Scheduled for a core that runs out of order, whatever the CPU is: for one that does not, LLVM loads all of a
        # tile's operands ahead and keeps them on the stack. What is compiled for stays as it is.
        text = text.replace(" nounwind\n", ' nounwind "tune-cpu"="neoverse-v1"\n')
    parsed = llvm.parse_assembly(text)
    parsed.triple, parsed.data_layout = machine.triple, str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(parsed, builder)
    return parsed
