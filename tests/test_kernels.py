"""The kernels' parts one by one: plans, packing, the product, dropout bits, tickets."""

from __future__ import annotations

import threading
from itertools import product as combinations

import numpy as np
import pytest
from guards import Guards
from networks import random_bits

from fastlstm.engine.kernels import dropout, operands, product, tickets
from fastlstm.engine.kernels.compile import kernel
from fastlstm.engine.kernels.records import BATCH, Row, address
from fastlstm.engine.layout import full_plan, group_bounds, ragged_plan
from fastlstm.engine.simd.memory import ids_pointer, pointer
from fastlstm.engine.simd.target import target
from fastlstm.network.program import dropout_threshold, layer_keys

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
ROUNDING = {"float32": 1e-6, "float64": 1e-14}

# Plans


@pytest.mark.parametrize("rows", [*range(1, 60), 128, 1000])
def test_groups_of_rows(rows: int) -> None:
    bounds = group_bounds(rows)
    sizes = np.diff(bounds)
    assert bounds[0] == 0
    assert bounds[-1] == rows
    assert sizes.min() >= 1
    assert sizes.max() <= 16
    # Two workers can share what is large enough.
    assert len(sizes) % 2 == 0 or rows % 24 <= 7


def test_plans_of_full_and_ragged_batches() -> None:
    assert full_plan(3, 4).start.tolist() == [0, 4, 8, 12]
    lengths = np.array([5, 3, 3, 1])
    plan = ragged_plan(6, lengths)
    assert np.diff(plan.start).tolist() == [(lengths > t).sum() for t in range(6)]
    assert (plan.steps, plan.rows, plan.positions) == (6, 4, 12)
    assert np.array_equal(ragged_plan(3, np.full(4, 3)).start, full_plan(3, 4).start)


# Packing


@kernel
def run_pack_columns(panel, source, source_row, rows, depth):
    operands.pack_columns(
        pointer(panel.ctypes.data, panel), pointer(source.ctypes.data, source), source_row, rows, depth
    )


@kernel
def run_pack_rows(panels, panel_size, source, source_row, rows, columns):
    panels_, source_ = pointer(panels.ctypes.data, panels), pointer(source.ctypes.data, source)
    operands.pack_rows(panels_, panel_size, source_, source_row, rows, columns)


def sizes_around(line: int) -> list[int]:
    return sorted({1, 2, line // 2, line - 1, line, line + 1, 2 * line + 3})


@DTYPES
def test_a_panel_of_columns_is_a_transposed_matrix(dtype: str) -> None:
    line = target(np.dtype(dtype).itemsize * 8).line
    rng = np.random.default_rng(0)
    for rows, depth in combinations(range(1, line + 1), sizes_around(line)):
        guards = Guards()
        source = guards.place(rng.normal(size=(rows, depth)).astype(dtype), depth + 3, 1)
        panel = guards.place(np.zeros((depth, line), dtype))
        run_pack_columns(panel, source, depth + 3, rows, depth)
        assert np.array_equal(panel[:, :rows], source.T)
        assert not panel[:, rows:].any()
        guards.check()


@DTYPES
def test_rows_are_spread_over_panels(dtype: str) -> None:
    line = target(np.dtype(dtype).itemsize * 8).line
    for rows, columns in combinations((1, 3), sizes_around(line)):
        guards = Guards()
        numbers = np.arange(1, rows * columns + 1).reshape(rows, columns)
        source = guards.place(numbers.astype(dtype), columns + 3, 1)
        panels = guards.place(np.zeros((-(-columns // line), rows, line), dtype), 5 * line, line, 1)
        run_pack_rows(panels, 5 * line, source, columns + 3, rows, columns)
        flat = panels.transpose(1, 0, 2).reshape(rows, -1)
        assert np.array_equal(flat[:, :columns], source)
        assert not flat[:, columns:].any()
        guards.check()


# The product


@kernel
def run_product(c, c_row, a, a_row, a_k, b, b_k, b_panel, rows, depth, columns, load, exact):
    c_, a_, b_ = pointer(c.ctypes.data, c), pointer(a.ctypes.data, a), pointer(b.ctypes.data, b)
    product.product(c_, c_row, a_, a_row, a_k, b_, b_k, b_panel, rows, depth, columns, load, exact)


def check_product(
    dtype: str, rows: int, depth: int, columns: int, load: int, exact: int, transposed: bool
) -> None:
    t, guards = target(np.dtype(dtype).itemsize * 8), Guards()
    rng = np.random.default_rng(0)
    touched = columns if exact else -(-columns // t.lanes) * t.lanes
    panels = -(-columns // t.line)
    a_row, a_k = (1, rows + 2) if transposed else (depth + 2, 1)
    a = guards.place(rng.normal(size=(rows, max(depth, 1))).astype(dtype), a_row, a_k)
    b_k = t.line + 2
    b = guards.place(rng.normal(size=(panels, max(depth, 1), t.line)).astype(dtype), depth * b_k + 7, b_k, 1)
    c = guards.place(rng.normal(size=(rows, touched)).astype(dtype), touched + 3, 1)
    before = c.astype(np.float64)
    run_product(c, touched + 3, a, a_row, a_k, b, b_k, depth * b_k + 7, rows, depth, columns, load, exact)
    flat = np.concatenate(list(b[:, :depth].astype(np.float64)), axis=1)[:, :touched]
    expected = a[:, :depth].astype(np.float64) @ flat + load * before
    np.testing.assert_allclose(c, expected, rtol=0, atol=ROUNDING[dtype] * 4 * max(depth, 1) ** 0.5)
    guards.check()


@kernel
def run_product_from(start, start_row, numbers, c, c_row, a, b, rows, depth, columns, exact):
    start_, c_, a_, b_ = (
        pointer(start.ctypes.data, c),
        pointer(c.ctypes.data, c),
        pointer(a.ctypes.data, c),
        pointer(b.ctypes.data, c),
    )
    across = product.line(c_)
    product.product_from(
        start_, start_row, ids_pointer(numbers), c_, c_row, a_, depth, 1, b_, across, depth * across, rows, depth, columns,
        1, exact,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("exact", [0, 1])
def test_products_from_rows_of_another_matrix(exact: int, dtype: str) -> None:
    t, rng = target(np.dtype(dtype).itemsize * 8), np.random.default_rng(0)
    for rows, columns, depth in combinations(
        (1, 5, 13), (t.lanes, 4 * t.line + 3), (1, 7, product.DEPTH + 5)
    ):
        guards = Guards()
        touched = columns if exact else -(-columns // t.lanes) * t.lanes
        start = guards.place(rng.normal(size=(20, touched)).astype(dtype), touched + 1, 1)
        numbers = guards.place(rng.integers(0, 20, rows).astype(np.int32))
        c = guards.place(np.full((rows, touched), np.nan, dtype), touched + 5, 1)
        a = guards.place(rng.normal(size=(rows, depth)).astype(dtype))
        b = guards.place(rng.normal(size=(-(-columns // t.line), depth, t.line)).astype(dtype))
        whole = a.astype(np.float64) @ np.concatenate(list(b.astype(np.float64)), 1)[:, :touched]
        for row, by, expected in (
            (0, 0, start[[0] * rows]),
            (touched + 1, 0, start[:rows]),
            (touched + 1, address(numbers), start[numbers]),
        ):
            run_product_from(start, row, by, c, touched + 5, a, b, rows, depth, columns, exact)
            np.testing.assert_allclose(
                c, whole + expected, rtol=0, atol=ROUNDING[dtype] * 4 * (depth + 1) ** 0.5
            )
        guards.check()


@DTYPES
@pytest.mark.parametrize("exact", [0, 1])
def test_products_of_every_cut(exact: int, dtype: str) -> None:
    line = target(np.dtype(dtype).itemsize * 8).line
    for rows in range(1, 15):
        for columns in (*range(1, line + 2), 3 * line + 1, 4 * line):
            check_product(dtype, rows, 3, columns, rows % 2, exact, columns % 2 == 0)


@DTYPES
@pytest.mark.parametrize("load", [0, 1])
@pytest.mark.parametrize(
    "depth", [0, 1, product.DEPTH - 1, product.DEPTH, product.DEPTH + 1, 2 * product.DEPTH + 88]
)
def test_products_of_any_depth(depth: int, load: int, dtype: str) -> None:
    for rows, columns in ((1, 37), (3, 16), (5, 70), (13, 1)):
        check_product(dtype, rows, depth, columns, load, 1, False)
        check_product(dtype, rows, depth, columns, load, 0, True)


@DTYPES
def test_a_row_of_a_product_does_not_see_the_others(dtype: str) -> None:
    rng = np.random.default_rng(0)
    t = target(np.dtype(dtype).itemsize * 8)
    depth, columns = 300, 5 * t.line
    a = rng.normal(size=(14, depth)).astype(dtype)
    b = rng.normal(size=(5, depth, t.line)).astype(dtype)

    def run(first: int, rows: int) -> np.ndarray:
        c = np.zeros((rows, columns), dtype)
        run_product(c, columns, a[first:], depth, 1, b, t.line, depth * t.line, rows, depth, columns, 0, 0)
        return c

    whole = run(0, 14)
    for first in range(14):
        for rows in range(1, 15 - first):
            assert np.array_equal(run(first, rows), whole[first : first + rows])


# Dropout


@kernel
def run_drop(batch, target_, source, row, position, rows, units, keep, key):
    to, of = pointer(target_.ctypes.data, target_), pointer(source.ctypes.data, source)
    dropout.drop(batch[0], to, of, row, position, rows, units, keep, key)


@DTYPES
@pytest.mark.parametrize("probability", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("dealt", [False, True])
def test_dropout_bits_equal_their_twin(probability: float, dtype: str, dealt: bool) -> None:
    """Rows that were dealt to this rank have the bits of their places in the whole batch."""
    key, keep = 0xDEADBEEF, dropout_threshold(probability)
    source, result = np.ones((9, 40), dtype), np.full((9, 40), 7, dtype)
    batch, places = np.zeros(1, BATCH), np.arange(0, 18, 2, dtype=np.int32)
    if dealt:
        Row(batch).fill(places=places)
    run_drop(batch, result, source, 40, 2, 5, 33, keep, key)
    own = random_bits((places.astype(int) if dealt else np.arange(9))[2:7], key)
    kept = random_bits(np.arange(33), own[:, None]) < keep
    np.testing.assert_allclose(result[2:7, :33], kept / (1 - probability), rtol=1e-6)
    assert (result[:2] == 7).all()
    assert (result[7:] == 7).all()
    assert (result[:, 33:] == 7).all()


def test_thresholds_fit_into_32_bits() -> None:
    thresholds = [dropout_threshold(p) for p in (0.0, 1e-12, 0.5, 1 - 1e-12)]
    assert thresholds == [0, 2**32 - 1, 2**31, 1]


def test_bits_are_even() -> None:
    bits = random_bits(np.arange(64), random_bits(np.arange(4000), 12345)[:, None])
    assert bits.min() >= 0
    assert bits.max() < 2**32
    for place in range(32):
        assert (bits >> place & 1).mean() == pytest.approx(0.5, abs=0.005)


def test_keys_of_layers_and_steps_differ() -> None:
    keys = [key for step in range(1000) for key in layer_keys(step, 5)]
    assert len(set(keys)) > len(keys) - 10
    assert all(0 <= key < 2**32 for key in keys)
    assert layer_keys(7, 2) == layer_keys(7, 3)[:2]


# Tickets


@kernel
def run_phases(values, sums, board):
    """Two phases, twice over: atoms of numbers, and atoms that need all of them."""
    ticket, end = tickets.draw(board), 0
    for _ in range(2):
        begin, end = end, end + len(values)
        while ticket < end:
            values[ticket - begin] += ticket
            ticket = tickets.finish(board)
        tickets.wait(board, end)
        begin, end = end, end + len(sums)
        while ticket < end:
            total = 0
            for value in values:
                total += value
            sums[ticket - begin] += total
            ticket = tickets.finish(board)
        tickets.wait(board, end)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_atom_is_done_once_and_after_all_earlier_phases(threads: int) -> None:
    expected = np.zeros(300, np.int64), np.zeros(40, np.int64)
    run_phases(*expected, tickets.new_board())
    numbers = np.arange(300)
    assert np.array_equal(expected[0], numbers + (numbers + 340))
    for _ in range(30):
        values, sums, board = np.zeros(300, np.int64), np.zeros(40, np.int64), tickets.new_board()
        together = [
            threading.Thread(target=run_phases, args=(values, sums, board), daemon=True)
            for _ in range(threads)
        ]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join(30)
            assert not thread.is_alive()
        assert np.array_equal(values, expected[0])
        assert np.array_equal(sums, expected[1])
