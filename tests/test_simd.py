"""The vector language and the compiled library, each function against NumPy, on Numba's target."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import pytest
from guards import Guards
from llvmlite import ir

from fastlstm.engine.simd import functions, library
from fastlstm.engine.simd.target import target
from fastlstm.engine.simd.tiles import size_name, sizes
from fastlstm.engine.simd.vector import INDEX, POINTER, Code, Vector, symbol

BITS = pytest.mark.parametrize("bits", [32, 64])
DTYPES = {32: np.dtype(np.float32), 64: np.dtype(np.float64)}
ROUNDING = {32: 1e-6, 64: 1e-14}


@lru_cache
def elementwise(bits: int, function: Callable[[Vector], Vector]) -> Callable[[Any], np.ndarray]:
    """A function of one vector, compiled as the library is, for arrays of any length."""
    module = ir.Module()
    written = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, POINTER, INDEX]), "apply")
    code = Code(ir.IRBuilder(written.append_basic_block()), target(bits))
    x, y, count = written.args

    def body(u: ir.Value, _: list[Any]) -> list[Any]:
        code.store(function(code.load(x, u)), y, u)
        return []

    code.loop(count, [], body, step=code.lanes)
    code.builder.ret_void()
    machine, _ = library.host_machine()
    parsed = llvm.parse_assembly(str(module))
    parsed.triple, parsed.data_layout = machine.triple, str(machine.target_data)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    compiled = kind(engine.get_function_address("apply"))

    def apply(values: Any) -> np.ndarray:
        given = np.asarray(values, DTYPES[bits])
        source = np.zeros(-(-given.size // code.lanes) * code.lanes, given.dtype)
        source[: given.size] = given
        result = np.empty_like(source)
        compiled(source.ctypes.data, result.ctypes.data, source.size)
        return result[: given.size]

    apply.engine = engine  # the code lives as long as its engine
    return apply


def call(name: str, bits: int, *arguments: np.ndarray | int) -> None:
    """Call a function of the library: arrays by their addresses."""
    library.load(bits, None)
    kinds = [ctypes.c_void_p if isinstance(a, np.ndarray) else ctypes.c_int64 for a in arguments]
    function = ctypes.CFUNCTYPE(None, *kinds)(llvm.address_of_symbol(symbol(name, bits)))
    function(*(a.__array_interface__["data"][0] if isinstance(a, np.ndarray) else a for a in arguments))


def close(computed: np.ndarray, expected: np.ndarray, bits: int, factor: float = 1) -> None:
    np.testing.assert_allclose(computed, expected, rtol=ROUNDING[bits] * factor, atol=ROUNDING[bits] * factor)


# Functions over their whole range


def every_magnitude(bits: int) -> np.ndarray:
    """Finite numbers of both signs and all exponents, denormal ones too; in float32 every 8,191st."""
    if bits == 32:
        patterns = np.arange(0, 2**32, 8191, dtype=np.uint32)
    else:
        patterns = np.random.default_rng(0).integers(0, 2**64, 2**19, dtype=np.uint64)
    numbers = patterns.view(DTYPES[bits])
    return numbers[np.isfinite(numbers)]


def arguments_within(bits: int, low: float, high: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    spread = [rng.uniform(max(low, -size), min(high, size), 2**17) for size in (1, 10, 100, 1000)]
    numbers = np.concatenate([every_magnitude(bits), *spread, [low, high, 0.0]]).astype(DTYPES[bits])
    return numbers[(numbers >= low) & (numbers <= high)]


def error_in_ulps(computed: np.ndarray, exact: np.ndarray) -> float:
    unit = np.spacing(np.abs(exact.astype(computed.dtype))).astype(exact.dtype)
    return float((np.abs(computed - exact) / unit).max())


def wide(x: np.ndarray) -> np.ndarray:
    """In a precision above that of x."""
    return x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# The bounds that the docstring of `functions` states.
ULPS = {"exp32": 3, "exp64": 3, "tanh32": 6, "tanh64": 2, "sigmoid64": 3}
SIGMOID_32 = 2e-7


@BITS
def test_exp_is_exact_to_three_units_and_saturates(bits: int) -> None:
    low, high = functions.EXP_RANGE[bits]
    exp = elementwise(bits, functions.exp)
    x = arguments_within(bits, low, high)
    assert error_in_ulps(exp(x), np.exp(wide(x))) <= ULPS[f"exp{bits}"]
    largest = np.finfo(DTYPES[bits]).max
    assert (exp([-np.inf, -largest, 2 * low]) == exp([low])).all()
    assert (exp([np.inf, largest, 2 * high]) == exp([high])).all()
    assert 0 < exp([low])[0] < 1e-37
    assert 1e37 < exp([high])[0] < np.inf


@BITS
def test_tanh_is_exact_to_a_few_units(bits: int) -> None:
    tanh, largest = elementwise(bits, functions.tanh), float(np.finfo(DTYPES[bits]).max)
    x = arguments_within(bits, -largest, largest)
    computed = tanh(x)
    assert error_in_ulps(computed, np.tanh(wide(x))) <= ULPS[f"tanh{bits}"]
    # Beyond 1 the slope 1 - tanh² would change its sign.
    assert np.abs(computed).max() <= 1
    assert error_in_ulps(tanh([np.inf, -np.inf]), np.array([1.0, -1.0])) <= ULPS[f"tanh{bits}"]
    assert np.array_equal(tanh(-x), -computed)
    assert (tanh([0.0, -0.0]) == 0).all()


@BITS
def test_sigmoid_is_a_probability(bits: int) -> None:
    sigmoid, largest = elementwise(bits, functions.sigmoid), float(np.finfo(DTYPES[bits]).max)
    x = arguments_within(bits, -largest, largest)
    with np.errstate(over="ignore"):
        exact = logistic(wide(x))
    computed = sigmoid(x)
    if bits == 32:
        assert np.abs(computed - exact).max() <= SIGMOID_32
    else:
        exponent_fits = x > -functions.EXP_RANGE[64][1]
        assert error_in_ulps(computed[exponent_fits], exact[exponent_fits]) <= ULPS["sigmoid64"]
    assert computed.min() >= 0
    assert computed.max() <= 1
    assert sigmoid([0.0])[0] == 0.5
    assert np.abs(sigmoid([np.inf, -np.inf]) - [1, 0]).max() <= SIGMOID_32


@BITS
@pytest.mark.parametrize("function", [functions.exp, functions.tanh, functions.sigmoid])
def test_nan_stays_nan_and_its_neighbours_stay_what_they_are(bits: int, function: Any) -> None:
    clean = np.linspace(-2, 2, 37)
    dirty = clean.copy()
    dirty[[0, 5, 36]] = np.nan
    computed, expected = elementwise(bits, function)(dirty), elementwise(bits, function)(clean)
    assert np.isnan(computed[[0, 5, 36]]).all()
    assert np.array_equal(np.delete(computed, [0, 5, 36]), np.delete(expected, [0, 5, 36]))


@BITS
def test_vector_operations(bits: int) -> None:
    x = np.array([-np.inf, -3, -0.5, -0.0, 0.0, 0.5, 3, np.inf, np.nan])
    cases: dict[str, tuple[Callable[[Vector], Vector], np.ndarray]] = {
        "clamp": (lambda v: v.clamp(-1, 2), np.clip(x, -1, 2)),
        "maximum": (lambda v: v.maximum(v.code.constant(0.25)), np.maximum(x, 0.25)),
        "maximum of nan": (lambda v: v.maximum(v.code.constant(np.nan)), np.full(9, np.nan)),
        "absolute": (lambda v: v.absolute(), np.abs(x)),
        "copysign": (lambda v: v.code.constant(2.0).copysign(v), np.copysign(2.0, x)),
        "where": (lambda v: v.where("<", v.code.constant(0.0), v.code.constant(7.0)), np.where(x < 0, 7, x)),
        "sum": (lambda v: v + v, x + x),
        "quotient": (lambda v: v / v.code.constant(4.0), x / 4),
        "root": (lambda v: v.absolute().sqrt(), np.sqrt(np.abs(x)).astype(DTYPES[bits])),
    }
    for name, (function, expected) in cases.items():
        np.testing.assert_array_equal(elementwise(bits, function)(x), expected, err_msg=name)


@BITS
def test_muladd_rounds_once_where_the_cpu_can(bits: int) -> None:
    e = float(np.finfo(DTYPES[bits]).eps)
    squared = elementwise(bits, lambda v: v.muladd(v, v.code.constant(-1.0)))([1 + e])[0]
    fused = library.host_machine()[1][0].startswith(("aarch64", "arm64")) or target(bits).lanes * bits > 128
    assert float(squared) == (float(DTYPES[bits].type(2 * e + e * e)) if fused else 2 * e)


# Routines


def rows_of(rng: np.random.Generator, bits: int, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(DTYPES[bits])


@BITS
@pytest.mark.parametrize("lines", [1, 3])
def test_cell_forward_and_backward(bits: int, lines: int) -> None:
    rng, guards = np.random.default_rng(lines), Guards()
    n = lines * target(bits).line
    width = n + 5
    place = guards.place
    gates = place(3 * rows_of(rng, bits, 4, n), width, 1)
    c_before, c, h, dh, dc = (place(rows_of(rng, bits, n)) for _ in range(5))
    i, f, o = (logistic(gates[k].astype(np.float64)) for k in (0, 1, 3))
    g = np.tanh(gates[2].astype(np.float64))
    after = f * c_before + i * g
    call("lstm_cell", bits, gates, c_before, c, h, h, width, n)
    for computed, expected in ((gates, [i, f, g, o]), (c, after), (h, o * np.tanh(after))):
        close(computed, np.array(expected), bits)

    t, upstream = np.tanh(after), dh.astype(np.float64)
    total = dc + upstream * o * (1 - t * t)
    call("lstm_cell_backward", bits, gates, c_before, c, dh, dc, gates, width, n)
    slopes = [g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g)]
    close(gates, np.array([*(total * slope for slope in slopes), upstream * t * o * (1 - o)]), bits)
    close(dc, total * f, bits)
    guards.check()


@BITS
@pytest.mark.parametrize("size", [1.0, 100.0, 1e30])
def test_softmax(bits: int, size: float) -> None:
    rng, guards = np.random.default_rng(0), Guards()
    n = 2 * target(bits).line
    row = guards.place(size * rows_of(rng, bits, n))
    row[-3:] = -1e30 if size < 1e30 else row.min()
    result = guards.place(np.zeros(2, row.dtype))
    given = row.astype(np.float64)
    call("softmax", bits, row, result, n)
    powers = np.exp(given - given.max())
    close(row, powers, bits)
    assert result[0] == given.max()
    close(result[1], powers.sum(), bits)
    guards.check()


@BITS
@pytest.mark.parametrize("place", [0, 5, -1])
def test_softmax_of_nan_is_nan(bits: int, place: int) -> None:
    row = np.zeros(2 * target(bits).line, DTYPES[bits])
    row[place] = np.nan
    result = np.zeros(2, row.dtype)
    call("softmax", bits, row, result, row.size)
    assert np.isnan(result).all()
    assert np.isnan(row).all()


@BITS
def test_scale_add_copy(bits: int) -> None:
    rng, guards = np.random.default_rng(0), Guards()
    n = 3 * target(bits).line
    row, other = (guards.place(rows_of(rng, bits, n)) for _ in range(2))
    factor = guards.place(np.array([1.7], row.dtype))
    expected = row * factor
    call("scale", bits, row, factor, n)
    assert np.array_equal(row, expected)
    call("add", bits, row, other, n)
    assert np.array_equal(row, expected + other)
    call("copy", bits, row, other, n)
    assert np.array_equal(row, other)
    guards.check()


@BITS
def test_transpose(bits: int) -> None:
    rng, guards, lanes = np.random.default_rng(0), Guards(), target(bits).lanes
    source = guards.place(rows_of(rng, bits, lanes, lanes), lanes + 3, 1)
    block = guards.place(np.zeros((lanes, lanes), source.dtype), lanes + 7, 1)
    call("transpose", bits, block, source, lanes + 3, lanes + 7)
    assert np.array_equal(block, source.T)
    guards.check()


@BITS
@pytest.mark.parametrize(("count", "depth"), [(1, 1), (2, 7), (4, 8), (3, 29)])
def test_fold(bits: int, count: int, depth: int) -> None:
    rng, guards, line = np.random.default_rng(0), Guards(), target(bits).line
    panels = guards.place(
        rows_of(rng, bits, 4, count, depth, line), (count + 1) * depth * line, depth * line, line, 1
    )
    factors = guards.place(rows_of(rng, bits, 4, count, line), (count + 2) * line, line, 1)
    sums = guards.place(rows_of(rng, bits, depth))
    call(
        "fold",
        bits,
        sums,
        panels,
        depth * line,
        (count + 1) * depth * line,
        factors,
        (count + 2) * line,
        count,
        depth,
    )
    expected = (panels.astype(np.float64) * factors.astype(np.float64)[:, :, None]).sum((0, 1, 3))
    close(sums, expected, bits, 4)
    guards.check()


@BITS
@pytest.mark.parametrize("limit", [0.5, np.inf])
def test_clip_and_squares(bits: int, limit: float) -> None:
    rng, guards = np.random.default_rng(0), Guards()
    g = guards.place(rows_of(rng, bits, 5 * target(bits).line))
    result, bound = guards.place(np.zeros(1, g.dtype)), guards.place(np.array([limit], g.dtype))
    clipped = np.clip(g, -limit, limit)
    call("clip", bits, g, bound, g.size)
    assert np.array_equal(g, clipped)
    call("squares", bits, result, g, g.size)
    close(result[0], (clipped.astype(np.float64) ** 2).sum(), bits)
    g[7] = np.nan
    call("clip", bits, g, bound, g.size)
    call("squares", bits, result, g, g.size)
    assert np.isnan(result[0])
    guards.check()


@BITS
def test_optimizers(bits: int) -> None:
    rng, guards = np.random.default_rng(0), Guards()
    n = 2 * target(bits).line
    p, g, m, v = (guards.place(rows_of(rng, bits, n)) for _ in range(4))
    v[...] = v**2
    before = [array.astype(np.float64) for array in (p, g, m, v)]
    factor, beta1, beta2, root, epsilon, step, keep = 0.7, 0.9, 0.999, 1.3, 1e-3, 0.05, 0.98
    told = [factor, beta1, 1 - beta1, beta2, 1 - beta2, root, epsilon, step, keep]
    numbers = guards.place(np.array(told, p.dtype))
    call("adam", bits, p, g, m, v, numbers, n)
    p_, g_, m_, v_ = before
    m_, v_ = beta1 * m_ + (1 - beta1) * factor * g_, beta2 * v_ + (1 - beta2) * (factor * g_) ** 2
    p_ = p_ * keep - step * m_ / (np.sqrt(v_) * root + epsilon)
    for computed, expected in ((m, m_), (v, v_), (p, p_)):
        close(computed, expected, bits, 2)

    numbers = guards.place(np.array([factor, beta1, step, keep], p.dtype))
    call("momentum", bits, p, g, m, numbers, n)
    m_ = beta1 * m_ + factor * g_
    close(m, m_, bits, 2)
    close(p, p_ * keep - step * m_, bits, 2)
    assert np.array_equal(g, before[1].astype(g.dtype))
    guards.check()


# Tiles


def tile_case(bits: int, rows: int, vectors: int, depth: int, layout: str, guards: Guards) -> Any:
    """A, B and C with odd strides but for those of the layout, and the call's arguments; B in panels one line wide."""
    rng, t = np.random.default_rng(depth), target(bits)
    line, columns = t.line, vectors * t.lanes
    a_row, a_k = (1, rows + 3) if layout == "columns of A" else (depth + 3, 1)
    b_k = line if layout == "packed B" else line + 3
    b_panel = depth * b_k + 5
    c_row = columns + 3
    # Sizes of 0 have no memory to place.
    a = guards.place(rows_of(rng, bits, rows, max(depth, 1)), a_row, a_k)
    panels = -(-columns // line)
    b = guards.place(rows_of(rng, bits, panels, max(depth, 1), line), b_panel, b_k, 1)
    c = guards.place(rows_of(rng, bits, rows, columns), c_row, 1)
    return a, b, c, (a, a_row, a_k, b, b_k, b_panel, c, c_row, c, c_row, 0, depth)


def product_of(a: np.ndarray, b: np.ndarray, depth: int, columns: int) -> np.ndarray:
    flat = np.concatenate(list(b.astype(np.float64)), axis=1)
    return a[:, :depth].astype(np.float64) @ flat[:depth, :columns]


@BITS
@pytest.mark.parametrize("layout", ["packed B", "columns of A", "neither"])
@pytest.mark.parametrize("depth", [0, 1, 2, 4, 19])
def test_every_tile(bits: int, depth: int, layout: str) -> None:
    for rows, vectors, cut in sizes(target(bits)):
        for load in (0, 1):
            for real in range(1, target(bits).lanes) if cut else [0]:
                guards = Guards()
                a, b, c, arguments = tile_case(bits, rows, vectors, depth, layout, guards)
                before = c.copy()
                call(size_name(rows, vectors, cut), bits, *arguments, load, real)
                columns = real or c.shape[1]
                expected = before.astype(np.float64)
                expected[:, :columns] *= load
                expected[:, :columns] += product_of(a, b, depth, columns)
                close(c, expected, bits, 4)
                assert np.array_equal(c[:, columns:], before[:, columns:])
                guards.check()


@BITS
def test_a_sum_does_not_depend_on_the_tile_that_made_it(bits: int) -> None:
    t, depth = target(bits), 23
    rng = np.random.default_rng(0)
    height, width = t.rows, t.wide(1) * t.lanes
    a, b = rows_of(rng, bits, height, depth), rows_of(rng, bits, -(-width // t.line), depth, t.line)

    def run(a: np.ndarray, rows: int, vectors: int, cut: bool, real: int) -> np.ndarray:
        c = np.zeros((rows, vectors * t.lanes), a.dtype)
        panels = b, t.line, depth * t.line
        call(
            size_name(rows, vectors, cut), bits, a, depth, 1, *panels, c, c.shape[1], c, 0, 0, depth, 0, real
        )
        return c[:, :real]

    alone = np.concatenate([run(row, 1, t.wide(1), False, width) for row in a[:, None]])
    for rows, vectors, cut in sizes(t):
        real = t.lanes - 1 if cut else vectors * t.lanes
        assert np.array_equal(run(a, rows, vectors, cut, real), alone[:rows, :real]), (rows, vectors, cut)
