"""Other CPUs than this one: assembly, forced targets; and compiled code that is kept, but never stale."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import pytest

import fastlstm
from fastlstm.engine.simd import library
from fastlstm.engine.simd.pairs import PRODUCTS
from fastlstm.engine.simd.target import AVX512, BF16, PORTABLE, Target, target, target_of
from fastlstm.engine.simd.tiles import size_name, sizes

PACKAGE = Path(fastlstm.__file__).parent
TESTS = Path(__file__).parent
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")

X86, ARM, MAC = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-darwin23.0.0"
SSE2 = "+cx8,+fxsr,+mmx,+sse,+sse2,+x87"
AVX2 = (
    SSE2
    + ",+avx,+avx2,+bmi,+bmi2,+cmov,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave"
)
AVX512_FEATURES = AVX2 + ",+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"

NEON, FMLA = "+fp-armv8,+neon", r"\tfmla(\.\w+)?\t"


class Cpu(NamedTuple):
    """A CPU to compile for, its float32 lanes, and how its assembly names vector registers and muladds."""

    triple: str
    name: str
    features: str
    lanes: int
    register: str
    muladd: str


CPUS = {
    "sse2": Cpu(X86, "x86-64", SSE2, 4, "%xmm", r"\tmulp[sd]\t"),
    "avx2": Cpu(X86, "haswell", AVX2, 8, "%ymm", r"\tvfmadd\d+p[sd]\t"),
    "avx512": Cpu(X86, "skylake-avx512", AVX512_FEATURES, 16, "%zmm", r"\tvfmadd\d+p[sd]\t"),
    "generic": Cpu(ARM, "generic", NEON, 4, "v", FMLA),
    "cortex-a53": Cpu(ARM, "cortex-a53", NEON, 4, "v", FMLA),
    "neoverse-n1": Cpu(ARM, "neoverse-n1", NEON, 4, "v", FMLA),
    "neoverse-v1": Cpu(ARM, "neoverse-v1", NEON + ",+sve", 4, "v", FMLA),
    "apple-m1": Cpu(MAC, "apple-m1", NEON, 4, "v", FMLA),
}
BITS = pytest.mark.parametrize("bits", [32, 64])


def assembly(cpu: Cpu, bits: int) -> tuple[Target, str]:
    """The library as it would be compiled for a CPU."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(cpu.triple).create_target_machine(
        cpu=cpu.name, features=cpu.features, opt=3, reloc="pic", codemodel="default", jit=True
    )
    t = target_of(bits, cpu.triple, frozenset(flag[1:] for flag in cpu.features.split(",")))
    return t, machine.emit_assembly(library.optimized(t, machine))


def loops(text: str, bits: int) -> dict[str, list[list[str]]]:
    """Of each function, the loops without loops or branches inside: their lines."""
    found: dict[str, list[list[str]]] = {}
    own: list[list[str]] = []
    label, lines = None, []
    for line in text.splitlines():
        if name := re.match(rf'"?_?fastlstm\.(\w+)\.b?f{bits}"?:', line):
            own = found.setdefault(name[1], [])
        if start := re.match(r"(\.?L\w+):", line):
            label, lines = start[1], []
            continue
        lines.append(line)
        if label and re.match(rf"\t(j\w+|b\.\w+|cbn?z\t\w+,)\s+{re.escape(label)}$", line):
            own.append(lines)
    return found


def check_tiles(t: Target, text: str, muladd: str) -> None:
    """Over the depth, a tile does its muladds, several steps at a time and alone, and keeps every vector in a register."""
    found = loops(text, t.bits)
    for size in sizes(t):
        rows, vectors, _ = size
        inner = [lines for lines in found[size_name(*size)] if any(re.search(muladd, line) for line in lines)]
        one = rows * vectors * len(PRODUCTS[t.product].parts)
        steps = [] if t.unroll == 1 else [t.unroll, t.unroll] if rows > 3 and t.bits != BF16 else [t.unroll]
        counts = [sum(bool(re.search(muladd, line)) for line in lines) for lines in inner]
        assert counts == [one * n for n in (*steps, 1)], size
        # Without FMA, widening pairs takes more registers than there are; and a few pairs left over are not many.
        whole = inner if t.bits != BF16 else [] if t.unroll == 1 else inner[:1]
        on_the_stack = [
            line
            for lines in whole
            for line in lines
            if re.search(r"%[xyz]mm.*%rsp|%rsp.*%[xyz]mm|\b[qdsv]\d+\b.*\bsp\b", line)
        ]
        assert not on_the_stack, (size, on_the_stack)
        if muladd == FMLA and rows > 1 and t.bits != BF16:
            # An element of A that is loaded by itself is a lane of the instruction's: nothing spreads it.
            alone = [line for lines in (inner[0], inner[-1]) for line in lines if re.search(muladd, line)]
            assert all(line.endswith("]") for line in alone), size


CALL = r"^\t(call\w*|bl|blr)\t"


@BITS
@pytest.mark.parametrize("name", CPUS)
def test_assembly(name: str, bits: int) -> None:
    cpu = CPUS[name]
    t, text = assembly(cpu, bits)
    assert t.lanes == cpu.lanes * 32 // bits
    check_tiles(t, text, cpu.muladd)
    # Neither fma nor any other function of a C library; one routine is there to call what it is given.
    calling = re.search(
        r"^_?fastlstm\.call_program\.f\d\d:.*?^(?=_?fastlstm\.)", text, re.MULTILINE | re.DOTALL
    )
    assert calling
    assert len(re.findall(CALL, calling[0], re.MULTILINE)) == 1
    assert not re.search(CALL, text.replace(calling[0], ""), re.MULTILINE)
    wider = {4: "%[yz]mm", 8: "%zmm", 16: "%never"}[cpu.lanes]
    assert cpu.register in text
    assert not re.search(wider, text)


@pytest.mark.parametrize("name", ["sse2", "avx2", "avx512", "generic"])
def test_assembly_of_pairs_on_any_cpu(name: str) -> None:
    """Widened in registers, and multiplied and added in float32."""
    t, text = assembly(CPUS[name], BF16)
    assert (t.product, t.lanes) == (PORTABLE, CPUS[name].lanes)
    check_tiles(t, text, CPUS[name].muladd)
    assert not re.search(CALL, text, re.MULTILINE)


def test_assembly_of_pairs_with_avx512_bf16() -> None:
    cpu = CPUS["avx512"]._replace(name="cooperlake", features=f"{AVX512_FEATURES},+avx512bf16")
    t, text = assembly(cpu, BF16)
    assert (t.product, t.lanes) == (AVX512, 16)
    check_tiles(t, text, r"\tvdpbf16ps\t.*%zmm")


@BITS
def test_assembly_of_this_cpu(bits: int) -> None:
    machine, (triple, _, _) = library.host_machine()
    t = target(bits)
    names = ["generic"] if triple.startswith(("aarch64", "arm64")) else ["sse2", "avx2", "avx512"]
    cpu = next(CPUS[name] for name in names if CPUS[name].lanes == target(32).lanes)
    check_tiles(t, machine.emit_assembly(library.optimized(t, machine)), cpu.muladd)


@pytest.mark.parametrize("registers", [15, 16, 32])
def test_tiles_fit_into_the_registers(registers: int) -> None:
    t = Target(32, 8, registers)
    for rows, vectors, _ in sizes(t):
        scalars, loaded = (1, vectors) if rows > vectors else (rows, 1)
        assert rows * vectors + scalars + loaded <= registers, (rows, vectors)


# Forced targets

FORCED = ["sse2", "avx2"]
CHOSEN = [
    "test_simd.py",
    "test_kernels.py::test_products_of_any_depth",
    "test_kernels.py::test_a_panel_of_columns_is_a_transposed_matrix",
    "test_model.py::test_one_small_network",
]
RUN = """
import sys, pytest
from fastlstm.engine.simd.target import features, target
print("lanes", target(32).lanes, target(64).lanes, features()[1])
sys.exit(pytest.main(["-o", "addopts=", "-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    return kept | {"PYTHONPATH": str(PACKAGE.parent)} | more


@pytest.fixture(scope="module", autouse=True)
def forced(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """The suite's core for each forced target, running beside the other tests of this module, if it is asked for."""
    running: dict[str, Any] = {}
    if ON_X86 and any("forced" in item.name for item in request.session.items):
        for name in FORCED:
            cpu, folder = CPUS[name], tmp_path_factory.mktemp(name)
            settings = {
                "NUMBA_CPU_NAME": cpu.name,
                "NUMBA_CPU_FEATURES": cpu.features,
                "NUMBA_CACHE_DIR": str(folder),
            }
            running[name] = subprocess.Popen(
                [sys.executable, "-c", RUN, *(str(TESTS / test) for test in CHOSEN)],
                env=environment(**settings), cwd=TESTS.parent, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


# Kept code

SCRIPT = """
from fastlstm.engine.kernels.optimizer import update_program
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.engine.parameters import Parameters
p = Parameters({"W": (4, 4)}, "float32")
g = p.like()
p.flat[:] = g.flat[:] = 1
Optimizer(p, OptimizerConfig("sgd")).update(g, 0.5)
print(p["W"][0, 0], sum(update_program.stats.cache_hits.values()))
"""


def copy_package(folder: Path) -> Path:
    copied = folder / "fastlstm"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    return copied


def run_copy(folder: Path, **more: str) -> tuple[float, int]:
    """The parameter after a step of the copied package, and whether its program came from the cache."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment(PYTHONPATH=str(folder), **more), cwd=folder,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value, hits = done.stdout.split()
    return float(value), int(hits)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_compiled_code_is_kept_until_a_source_changes(tmp_path: Path) -> None:
    package = copy_package(tmp_path)
    assert run_copy(tmp_path) == (0.5, 0)
    assert run_copy(tmp_path) == (0.5, 1)
    # A routine of the library, in a file that no kernel is in.
    change(
        package / "engine" / "simd" / "routines.py", "- rate * mean, p, i)", "- rate * (mean + mean), p, i)"
    )
    assert run_copy(tmp_path) == (0.0, 0)
    # A function that is compiled into its callers.
    change(
        package / "engine" / "kernels" / "optimizer.py",
        "numbers[MOMENTUM], rate\n",
        "numbers[MOMENTUM], 3 * rate\n",
    )
    assert run_copy(tmp_path) == (-2.0, 0)


def test_without_a_folder_for_compiled_code(tmp_path: Path) -> None:
    package = copy_package(tmp_path)
    nowhere = tmp_path / "a file"
    nowhere.touch()
    for room in ("kernels", "simd"):
        (package / "engine" / room / "__pycache__").touch()
    folders = {name: str(nowhere) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR")}
    assert run_copy(tmp_path, **folders) == (0.5, 0)
    assert not list(tmp_path.rglob("*.code"))


# The last test: the others had time to run beside what it waits for.


@pytest.mark.skipif(not ON_X86, reason="x86-64 targets can be forced on x86-64 alone")
@pytest.mark.parametrize("name", FORCED)
def test_the_core_passes_on_a_forced_target(name: str, forced: dict[str, Any]) -> None:
    text, _ = forced[name].communicate(timeout=600)
    cpu = CPUS[name]
    assert text.startswith(f"lanes {cpu.lanes} {cpu.lanes // 2} {cpu.name}\n"), text[-3000:]
    assert forced[name].returncode == 0, text[-3000:]
    assert re.search(r"^\d+ passed in", text, re.MULTILINE), text[-3000:]
