"""Precision bf16: rounding, products of pairs in every way that this CPU knows, and whole networks against their twin."""

from __future__ import annotations

import copy
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from guards import Guards
from networks import Sample, expect, randomize
from rounded import expect_rounded, rounded

from fastlstm.charlm import CharLM
from fastlstm.engine.kernels import operands
from fastlstm.engine.kernels.compile import kernel
from fastlstm.engine.simd import library
from fastlstm.engine.simd.memory import operand, pointer
from fastlstm.engine.simd.target import AVX512, BF16, PORTABLE, target, target_of
from fastlstm.engine.simd.tiles import size_name, sizes
from fastlstm.engine.simd.trial import pairs_of, sound
from fastlstm.engine.simd.vector import symbol
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer
from fastlstm.training.options import Options

WAYS = sorted({PORTABLE, target(BF16).product})


def halves_of(x: np.ndarray) -> np.ndarray:
    """Rounded, as 16-bit integers."""
    return (rounded(x).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


# Rounding and packing


@kernel
def run_as_operands(row, source):
    operands.as_operands(operand(row.ctypes.data, row), pointer(source.ctypes.data, source), len(source))


@kernel
def run_pack(panel, source, source_row, rows, depth):
    operands.pack_columns(
        operand(panel.ctypes.data, panel), pointer(source.ctypes.data, source), source_row, rows, depth
    )


@kernel
def run_pack_rows(panels, panel_size, source, source_row, rows, columns):
    operands.pack_rows(operand(panels.ctypes.data, panels), panel_size, pointer(source.ctypes.data, source), source_row,
                       rows, columns)  # fmt: skip


def test_every_float_is_rounded_to_the_nearest_and_ties_to_even() -> None:
    patterns = np.arange(0, 2**32, 8191, dtype=np.uint32)
    ties = np.arange(2**16, dtype=np.uint32) << 16 | 0x8000
    x = np.concatenate([patterns, ties, ties - 1, ties + 1]).view(np.float32)
    x = x[: x.size // 64 * 64]
    row = np.zeros(x.size // 2, np.uint32)
    run_as_operands(row, x)
    found = (row.view("<u2").astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = rounded(x).astype(np.float32)
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("depth", [1, 2, 31, 32, 33, 67])
def test_a_panel_of_columns_is_a_transposed_matrix_in_pairs(depth: int) -> None:
    line, rng = target(BF16).line, np.random.default_rng(0)
    for rows in range(1, line + 1):
        guards = Guards()
        source = guards.place(rng.normal(size=(rows, depth)).astype(np.float32), depth + 3, 1)
        panel = guards.place(np.zeros((-(-depth // 2), line), np.uint32))
        run_pack(panel, source, depth + 3, rows, depth)
        whole = np.zeros((line, 2 * len(panel)))
        whole[:rows, :depth] = rounded(source)
        assert np.array_equal(panel, pairs_of(whole).T)
        guards.check()


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 35])
@pytest.mark.parametrize("rows", [1, 2, 3, 16])
def test_rows_are_spread_over_panels_in_pairs(rows: int, columns: int) -> None:
    line, rng, guards = target(BF16).line, np.random.default_rng(0), Guards()
    source = guards.place(rng.normal(size=(rows, columns)).astype(np.float32), columns + 3, 1)
    depth, panels_ = -(-rows // 2), -(-columns // line)
    panels = guards.place(np.zeros((panels_, depth, line), np.uint32), (depth + 2) * line, line, 1)
    run_pack_rows(panels, (depth + 2) * line, source, columns + 3, rows, columns)
    whole = np.zeros((2 * depth, panels_ * line))
    whole[:rows, :columns] = rounded(source)
    for p, panel in enumerate(panels):
        assert np.array_equal(panel, pairs_of(whole[:, p * line : (p + 1) * line].T).T)
    guards.check()


# Products


@cache
def compiled(way: str) -> Any:
    """The library for one way to multiply."""
    return library.compiled(target(BF16)._replace(product=way), None)


def tiles_of(way: str) -> Any:
    """Call a tile of the library for one way to multiply, by its size."""
    engine = compiled(way)

    def call(size: tuple[int, int, bool], *arguments: np.ndarray | int) -> None:
        kinds = [ctypes.c_void_p if isinstance(a, np.ndarray) else ctypes.c_int64 for a in arguments]
        address = engine.get_function_address(symbol(size_name(*size), BF16))
        plain = (a.__array_interface__["data"][0] if isinstance(a, np.ndarray) else a for a in arguments)
        ctypes.CFUNCTYPE(None, *kinds)(address)(*plain)

    return call


@pytest.mark.parametrize("way", WAYS)
def test_every_tile_of_pairs(way: str) -> None:
    t, call = target(BF16), tiles_of(way)
    for depth in (0, 1, 4, 9):
        rng = np.random.default_rng(depth)
        for rows, vectors, cut in sizes(t):
            guards, columns = Guards(), vectors * t.lanes
            panels_ = -(-columns // t.line)
            a = rounded(rng.normal(size=(rows, 2 * max(depth, 1))))
            b = rounded(rng.normal(size=(panels_, t.line, 2 * max(depth, 1))))
            pairs = guards.place(pairs_of(a), depth + 3, 1)
            panels = guards.place(np.stack([pairs_of(p).T for p in b]), (depth + 1) * t.line, t.line, 1)
            c = guards.place(rng.normal(size=(rows, columns)).astype(np.float32), columns + 3, 1)
            before, real = c.astype(np.float64), t.lanes - 1 if cut else columns
            call((rows, vectors, cut), pairs, depth + 3, 1, panels, t.line, (depth + 1) * t.line, c, columns + 3, c,
                 columns + 3, 0, depth, depth % 2, real)  # fmt: skip
            whole = np.concatenate(list(b), 0)[:columns, : 2 * depth]
            expected = depth % 2 * before + a[:, : 2 * depth] @ whole.T
            np.testing.assert_allclose(c[:, :real], expected[:, :real], rtol=0, atol=1e-5)
            assert np.array_equal(c[:, real:], before[:, real:])
            guards.check()


def test_a_wrong_product_is_found_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    t, engine = target(BF16)._replace(product=PORTABLE), compiled(PORTABLE)
    assert sound(t, lambda name: engine.get_function_address(symbol(name, BF16)))
    other = {size_name(6, t.vectors, False): size_name(5, t.vectors, False)}
    assert not sound(t, lambda name: engine.get_function_address(symbol(other.get(name, name), BF16)))
    asked = []
    monkeypatch.setattr(library, "compiled", lambda t, folder: asked.append(t.product) or engine)
    monkeypatch.setattr(library, "sound", lambda t, address: False)
    with pytest.warns(RuntimeWarning, match="by avx512 are wrong on this CPU; slower ones are used"):
        library.trusted(t._replace(product=AVX512), None)
    assert asked == [AVX512, PORTABLE]


def test_the_way_is_the_cpus_or_the_one_that_is_asked_for() -> None:
    x86, zen4 = "x86_64-unknown-linux-gnu", frozenset({"avx2", "fma", "avx512f", "avx512bf16"})
    assert target_of(BF16, x86, zen4).product == AVX512
    assert target_of(BF16, x86, zen4, PORTABLE).product == PORTABLE
    assert target_of(BF16, x86, zen4 - {"avx512bf16"}).product == PORTABLE
    assert target_of(BF16, "aarch64-unknown-linux-gnu", frozenset({"neon"})).product == PORTABLE
    with pytest.raises(
        FastLSTMError, match="FASTLSTM_BF16 is 'avx512'; on this CPU it must be one of portable"
    ):
        target_of(BF16, x86, frozenset({"avx2", "fma"}), AVX512)


# Networks


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-30))


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    ("T", "B", "V", "E", "H", "layers", "dropout", "tied", "learned"),
    [
        (2, 3, 5, 0, 261, 1, 0, False, False),  # one group of rows and many units: these are split
        (3, 7, 9, 20, 256, 2, 0.2, False, False),
        (
            5,
            1,
            9,
            20,
            261,
            2,
            0.2,
            False,
            True,
        ),  # a single row, whose gradients go through the forward pass's panels
        (4, 1, 5, 0, 256, 1, 0, False, False),
        (30, 27, 5, 3, 4, 1, 0.2, False, False),  # more positions than one span
        (3, 14, 70, 66, 70, 2, 0.2, False, True),  # more units than one atom of gradients has
        (2, 2, 300, 7, 3, 1, 0, False, False),  # more characters than positions: gathered embeddings
        (40, 9, 300, 7, 3, 2, 0.2, False, False),
        (5, 9, 11, 13, 13, 3, 0.25, True, True),
        (1, 1, 2, 1, 1, 1, 0, False, False),
    ],
)
def test_networks_equal_the_oracle_with_rounded_operands(
    T: int,
    B: int,
    V: int,
    E: int,
    H: int,
    layers: int,
    dropout: float,
    tied: bool,
    learned: bool,
    ragged: bool,
) -> None:
    a = Architecture(V, H, E, layers, dropout, tied=tied, learned_state=learned)
    rng = np.random.default_rng(1)
    network = randomize(Network(a, precision="bf16"), rng)
    for _ in range(2):  # what a call leaves behind is met by the next
        sample = Sample(rng, T, B, V, ragged)
        state, key = (sample.state(rng, a), 8) if ragged else (None, None)
        exact, twin = (of(network, sample, state, key) for of in (expect, expect_rounded))
        logits, final = network.forward(sample.ids, sample.lengths, state)
        plain = expect_rounded(network, sample, state)
        assert error(logits, plain.logits) < 1e-3
        assert error(final.h, plain.h) < 1e-3
        metrics, final = network.backward(sample.ids, sample.targets, sample.lengths, state, key)
        assert metrics.loss == pytest.approx(twin.loss, rel=1e-5)
        for name, gradient in network.gradients.items():
            found, expected = (
                error(gradient, twin.gradients[name]),
                error(twin.gradients[name], exact.gradients[name]),
            )
            # A sum that is rounded once more may make the next rounding go the other way.
            assert found <= 0.25 * expected + 1e-6, name
            assert error(gradient, exact.gradients[name]) <= 1.5 * expected + 1e-6, name


@pytest.fixture(scope="module", autouse=True)
def portable(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The networks' test with the portable product, running beside the other tests of this module if it is asked for."""
    process = None
    if any(
        test_networks_pass_with_the_portable_product.__name__ in item.name for item in request.session.items
    ):
        chosen = f"{__file__}::{test_networks_equal_the_oracle_with_rounded_operands.__name__}"
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", chosen], text=True,
            env=os.environ | {"FASTLSTM_BF16": PORTABLE}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    yield process
    if process:
        process.kill()
        process.communicate()


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    rng = np.random.default_rng(0)
    for T, B, H in ((9, 60, 48), (4, 1, 300), (3, 5, 260)):
        network = randomize(Network(Architecture(7, H, 5), precision="bf16"), rng)
        sample, found = Sample(rng, T, B, 7, True), []
        for threads in (1, 2, 3):
            network.threads = threads
            network.backward(sample.ids, sample.targets, sample.lengths)
            found.append(network.gradients.flat.copy())
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])


def test_precision_may_change_and_is_copied() -> None:
    rng, sample = np.random.default_rng(0), Sample(np.random.default_rng(1), 5, 4, 9)
    network = randomize(Network(Architecture(9, 40, 8)), rng)
    exact = network.evaluate(sample.ids, sample.targets)[0].loss
    network.precision = "bf16"
    coarse = network.evaluate(sample.ids, sample.targets)[0].loss
    assert coarse != exact
    assert coarse == pytest.approx(exact, abs=1e-2)
    twin = copy.deepcopy(network)
    assert twin.precision == "bf16"
    assert twin.evaluate(sample.ids, sample.targets)[0].loss == coarse
    network.frozen = True
    network.precision = "float32"
    assert network.frozen
    assert network.evaluate(sample.ids, sample.targets)[0].loss == exact


def test_a_nan_stays_one_and_leaves_no_trace() -> None:
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(5, 12, 4, 2), precision="bf16"), rng)
    fresh = copy.deepcopy(network)
    bad, good = Sample(rng, 6, 9, 5), Sample(rng, 6, 3, 5, True)
    state = bad.state(rng, network.architecture)
    state.h[0, 1, 1] = np.nan
    assert np.isnan(network.backward(bad.ids, bad.targets, state=state)[0].loss)
    for each in (network, fresh):
        each.backward(good.ids, good.targets, good.lengths)
    assert np.array_equal(network.gradients.flat, fresh.gradients.flat)


def test_what_has_no_bf16_says_so() -> None:
    with pytest.raises(FastLSTMError, match="precision is 'bf16'; of float64 weights it must be float64"):
        Network(Architecture(5, 4, 3, dtype="float64"), precision="bf16")
    with pytest.raises(
        FastLSTMError, match="precision is 'fp8'; of float32 weights it must be float32 or bf16"
    ):
        Network(Architecture(5, 4, 3), precision="fp8")


# Training


def test_a_step_moves_float32_weights() -> None:
    rng = np.random.default_rng(0)
    coarse = randomize(Network(Architecture(9, 40, 8), precision="bf16"), rng)
    exact = copy.deepcopy(coarse)
    exact.precision = "float32"
    sample, start = Sample(rng, 5, 4, 9), coarse.parameters.flat.copy()
    for network in (coarse, exact):
        network.step(sample.ids, sample.targets, Optimizer(network.parameters), 1e-3)
    moved = coarse.parameters.flat - start
    # Steps of 0.001 are below bfloat16's resolution of most weights.
    assert np.abs(moved).max() == pytest.approx(1e-3, rel=1e-2)
    assert np.corrcoef(moved, exact.parameters.flat - start)[0, 1] > 0.98


def test_a_run_records_its_precision_and_goes_on_in_another(tmp_path: Any) -> None:
    names = ["anna", "hanna", "nan", "ana", "hanah"] * 4
    lm = CharLM(hidden=20, embedding=6, precision="bf16", seed=1)
    lm.fit(names, steps=6, validation=0, out=tmp_path / "run")
    assert '"precision": "bf16"' in (tmp_path / "run" / "config.json").read_text()
    assert lm.network.precision == "bf16"
    again = CharLM.load(tmp_path / "run")
    assert again.network.precision == "float32"
    assert again.sample(3, seed=1) == lm.sample(3, seed=1)
    assert CharLM.load(tmp_path / "run", precision="bf16").evaluate(names) == lm.evaluate(names)
    stored = Options(precision="bf16", steps=5).resolve("names", 100)
    assert stored.changed({"precision": "float32"}).precision == "float32"
    assert Options().resolve("names", 100).precision == "float32"
    assert "--precision bf16" in stored.command(None, 100, 5)


# The last test: the others had time to run beside what it waits for.


@pytest.mark.skipif(target(BF16).product == PORTABLE, reason="this process multiplies so")
def test_networks_pass_with_the_portable_product(portable: Any) -> None:
    """With the same kernels: they know nothing of how pairs are multiplied."""
    text, _ = portable.communicate(timeout=600)
    assert portable.returncode == 0, text[-3000:]
