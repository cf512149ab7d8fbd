"""Pairs multiplied by AMX, which few machines have: the assembly for a CPU that has it, and the same code in software."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from guards import Guards
from rounded import rounded
from software_amx import AMX_ALONE, WITH_AMX, put_in_place
from test_targets import AVX512_FEATURES, CPUS, assembly, check_tiles, loops

from fastlstm.engine.simd import amx, library
from fastlstm.engine.simd.target import AMX, AVX512, BF16, PORTABLE, target_of
from fastlstm.engine.simd.trial import pairs_of, sound
from fastlstm.engine.simd.vector import symbol
from fastlstm.errors import FastLSTMError

FLAGS = AVX512_FEATURES + ",+avx512bf16,+amx-tile,+amx-bf16"
CPU = CPUS["avx512"]._replace(name="sapphirerapids", features=FLAGS)
HAVE = frozenset(flag[1:] for flag in FLAGS.split(","))


def test_assembly_of_blocks() -> None:
    t, text = assembly(CPU, BF16)
    assert (t.product, t.blocks, t.lanes) == (AMX, True, 16)
    check_tiles(t, text, r"\tvdpbf16ps\t.*%zmm")
    over_the_depth = [
        lines for lines in loops(text, BF16)["blocks"] if any("tdpbf16ps" in line for line in lines)
    ]
    found = set()
    for lines in over_the_depth:
        code = "\n".join(lines)
        multiplied, loaded = code.count("tdpbf16ps"), code.count("tileloadd")
        # One of A for each so many panels; the compiler may take several steps at a time.
        steps = loaded - multiplied
        found.add(multiplied // steps)
        assert multiplied % steps == 0
        # Neither sums nor operands, nor where they lie, go through memory.
        assert not re.search(r"tilestored|tilezero|%[xyz]mm|%rsp|%rbp\)|call", code)
    assert found == {1, amx.WIDE}
    own = {name: text.split(f"\nfastlstm.{name}.bf16:")[1].split(".Lfunc_end")[0] for name in AMX_ALONE}
    assert own["blocks"].count("tilestored") == own["blocks"].count("tilezero") == amx.WIDE + 1
    assert "ldtilecfg" not in own["blocks"]
    assert own["configure_blocks"].count("ldtilecfg") == own["release_blocks"].count("tilerelease") == 1


def test_who_has_amx_and_who_may_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    linux = "x86_64-unknown-linux-gnu"
    for asked, way in (("", AMX), (AMX, AMX), (AVX512, AVX512), (PORTABLE, PORTABLE)):
        # The kernels ask for blocks in any case: they know no ways.
        assert target_of(BF16, linux, HAVE, asked)[3:] == (way, True)
    assert target_of(BF16, "x86_64-pc-windows-msvc", HAVE)[3:] == (AVX512, False)
    with pytest.raises(
        FastLSTMError, match="FASTLSTM_BF16 is 'amx'; on this CPU it must be one of avx512, portable"
    ):
        target_of(BF16, linux, HAVE - {"amx-bf16"}, AMX)

    tried: list[str] = []
    t = target_of(BF16, linux, HAVE)
    engine = type("Engine", (), {"get_function_address": lambda *_: 0})()
    monkeypatch.setattr(library, "compiled", lambda t, folder: tried.append(t.product) or engine)
    monkeypatch.setattr(library, "sound", lambda t, address: t.product != AMX)
    monkeypatch.setattr(library, "permitted", lambda: False)
    library.trusted(t, None)
    assert tried == [AVX512]
    monkeypatch.setattr(library, "permitted", lambda: True)
    with pytest.warns(RuntimeWarning, match="by amx are wrong on this CPU; .*FASTLSTM_BF16=avx512 does so"):
        library.trusted(t, None)
    assert tried == [AVX512, AMX, AVX512]


def test_the_system_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    class System:
        def syscall(self, *numbers: Any) -> int:
            asked.append([number.value for number in numbers])
            return -1

    monkeypatch.setattr(amx.sys, "platform", "linux")
    monkeypatch.setattr(amx.ctypes, "CDLL", lambda name: System())
    amx.permitted.cache_clear()
    try:
        assert not amx.permitted()
        assert not amx.permitted()
    finally:
        amx.permitted.cache_clear()
    assert asked == [[158, 0x1023, 18]]


# In software


@pytest.fixture(scope="module")
def call() -> Any:
    """Call a function of the library, of which there are only those of blocks: `call(name, *arguments)`."""
    llvm.initialize_native_asmprinter()
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch.setattr)
        patch.setattr(
            library, "routines", lambda t: {n: r for n, r in all_routines(t).items() if n in AMX_ALONE}
        )
        engine = library.compiled(WITH_AMX, None)

    def run(name: str, *arguments: np.ndarray | int) -> None:
        plain = [a if isinstance(a, int) else a.__array_interface__["data"][0] for a in arguments]
        address = engine.get_function_address(symbol(name, BF16))
        ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(plain))(address)(*plain)

    return run


all_routines: Callable[..., Any] = library.routines
LIKE = np.zeros(1, np.uint32)


def check_blocks(call: Any, rows: int, depth: int, columns: int, load: int, exact: int) -> None:
    """Pairs as of a matrix product: what is done is right to float32's rounding, and nothing else is touched."""
    rng, guards = np.random.default_rng(rows + depth + columns), Guards()
    panels_ = -(-columns // 16)
    a = rounded(rng.normal(size=(rows, 2 * depth)))
    b = rounded(rng.normal(size=(panels_, 16, 2 * depth)))
    pairs = guards.place(pairs_of(a), depth + 3, 1)
    panels = guards.place(np.stack([pairs_of(panel).T for panel in b]), (depth + 1) * 16, 16, 1)
    width = columns if exact else panels_ * 16
    c = guards.place(rng.normal(size=(rows, width)).astype(np.float32), width + 3, 1)
    before, done = c.astype(np.float64), np.zeros(1, np.int64)
    call(
        "blocks",
        done,
        c,
        width + 3,
        c,
        width + 3,
        0,
        pairs,
        depth + 3,
        panels,
        (depth + 1) * 16,
        rows,
        depth,
        columns,
        load,
        exact,
    )
    assert done[0] == depth // 16 * 16
    k = 2 * int(done[0])
    expected = load * before + a[:, :k] @ np.concatenate(list(b), 0)[:width, :k].T
    np.testing.assert_allclose(c, expected, rtol=0, atol=2e-5 * max(1, k) ** 0.5)
    guards.check()


# Rows of groups and of positions, pairs of 32 to 512 units and of chunks of positions, columns of gates, units, characters.
@pytest.mark.parametrize("rows", [4, 6, 10, 12, 15, 16, 17, 31, 64, 120])
@pytest.mark.parametrize(
    ("depth", "columns"), [(16, 16), (33, 27), (50, 65), (128, 64), (131, 1024), (256, 200)]
)
def test_blocks_of_any_shape(call: Any, rows: int, depth: int, columns: int) -> None:
    call("configure_blocks", LIKE)
    for load in (0, 1):
        for exact in (0, 1):
            check_blocks(call, rows, depth, columns, load, exact)
    call("release_blocks", LIKE)


def test_threads_have_registers_of_their_own(call: Any) -> None:
    def work(n: int) -> None:
        call("configure_blocks", LIKE)
        for _ in range(20):
            check_blocks(call, 4 + n, 48, 70, 1, 1)
        call("release_blocks", LIKE)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))


def test_a_row_does_not_depend_on_the_others(call: Any) -> None:
    rng = np.random.default_rng(0)
    a, panels = (
        pairs_of(rounded(rng.normal(size=(40, 128)))),
        pairs_of(rounded(rng.normal(size=(5 * 64 * 16, 2)))),
    )
    found = []
    call("configure_blocks", LIKE)
    for first, rows in ((0, 40), (7, 4), (7, 16), (5, 23)):
        c, done = np.ones((rows, 80), np.float32), np.zeros(1, np.int64)
        call(
            "blocks",
            done,
            c,
            80,
            c,
            80,
            0,
            np.ascontiguousarray(a[first : first + rows]),
            64,
            panels,
            64 * 16,
            rows,
            64,
            80,
            1,
            0,
        )
        found.append(c[7 - first])
    call("release_blocks", LIKE)
    assert all(np.array_equal(found[0], other) for other in found)


def test_the_trial_sees_a_wrong_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles by another way, blocks in software: right, and with sums that forget an operand."""
    put_in_place(monkeypatch.setattr)
    t = WITH_AMX
    monkeypatch.setattr("fastlstm.engine.simd.trial.sizes", lambda t: [])
    monkeypatch.setattr(
        library, "routines", lambda t: {n: r for n, r in all_routines(t).items() if n in AMX_ALONE}
    )
    wrong = ("%even.next, %odd.next", "%even.next, %even.next")
    for change, right in ((("", ""), True), (wrong, False)):
        written = library.written
        with monkeypatch.context() as patch:
            patch.setattr(library, "written", lambda t, c=change, w=written: w(t).replace(*c))
            engine = library.compiled(t, None)
        assert sound(t, lambda name, e=engine: e.get_function_address(symbol(name, BF16))) is right
