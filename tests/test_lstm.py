"""The array API against the oracle: outputs, states and every gradient, at odd sizes, ragged, reversed, frozen."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import close

from fastlstm.errors import FastLSTMError
from fastlstm.network import reference
from fastlstm.network.lstm import Gradients, lstm_backward, lstm_forward, lstm_step, pack

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


class Case:
    """Random arguments of one call, and the gradients by its results; some of them may be missing."""

    def __init__(
        self,
        T: int = 4,
        B: int = 3,
        I: int = 5,
        H: int = 6,
        dtype: str = "float64",
        ids: bool = False,
        ragged: bool = False,
        reverse: bool = False,
        states: bool = True,
        final_gradients: bool = True,
        bias: bool = True,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)

        def draw(*shape: int, size: float = 1.0) -> np.ndarray:
            return (size * rng.normal(size=shape)).astype(dtype)

        self.dtype, self.reverse = dtype, reverse
        self.x = rng.integers(0, I, (T, B)) if ids else draw(T, B, I)
        self.W = draw(4 * H, H + I, size=(H + I) ** -0.5)
        self.b = draw(4 * H) if bias else None
        self.h0, self.c0 = (draw(B, H) if states else None for _ in "hc")
        self.lengths = rng.permutation([0, T, *rng.integers(0, T + 1, B)][-B:]) if ragged else None
        if ragged and not self.lengths.any():
            self.lengths[0] = T
        self.dout = draw(T, B, H)
        self.dh_n, self.dc_n = (draw(B, H) if final_gradients else None for _ in "hc")
        if ragged and not ids:
            # What lies in the padding is nobody's business.
            self.x[np.arange(T)[:, None] >= self.lengths] = np.nan
            self.dout[np.arange(T)[:, None] >= self.lengths] = np.nan

    def forward(self, W: Any = None, b: Any = None, **options: Any) -> Any:
        W, b = (self.W, self.b) if W is None else (W, b)
        return lstm_forward(self.x, W, b, self.h0, self.c0, self.lengths, reverse=self.reverse, **options)

    def backward(self, cache: Any, **options: Any) -> Gradients:
        return lstm_backward(self.dout, cache, self.dh_n, self.dc_n, **options)

    def expected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Out, h_n, c_n and the gradients, one sequence at a time in float64."""
        T, B, H = self.dout.shape
        W = self.W.astype(np.float64)
        b = np.zeros(4 * H) if self.b is None else self.b.astype(np.float64)
        zero = np.zeros((B, H))
        h0, c0, dh_n, dc_n = (
            zero if s is None else s.astype(np.float64) for s in (self.h0, self.c0, self.dh_n, self.dc_n)
        )
        out, h_n, c_n = np.zeros((T, B, H)), h0.copy(), c0.copy()
        d = {"x": np.zeros((T, B, W.shape[1] - H)), "W": np.zeros(W.shape), "b": np.zeros(4 * H)}
        d |= {"h0": dh_n.copy(), "c0": dc_n.copy()}
        for n in range(B):
            length = T if self.lengths is None else int(self.lengths[n])
            if not length:
                continue
            x = self.x[:length, n] if self.x.ndim == 2 else self.x[:length, n].astype(np.float64)
            out[:length, n], h_n[n], c_n[n], steps = reference.lstm_sequence_forward(
                x, W, b, h0[n], c0[n], self.reverse
            )
            own = reference.lstm_sequence_backward(
                self.dout[:length, n].astype(np.float64), steps, W, dh_n[n], dc_n[n], self.reverse
            )
            d["x"][:length, n], d["h0"][n], d["c0"][n] = own.x, own.h0, own.c0
            d["W"] += own.W
            d["b"] += own.b
        return out, h_n, c_n, d

    def check(self, gradients: Gradients, expected: dict[str, np.ndarray]) -> None:
        for name, value in expected.items():
            computed = getattr(gradients, name)
            if name == "x" and self.x.ndim == 2:
                assert computed is None
            else:
                close(computed, value, self.dtype, name)


def check_against_the_oracle(**sizes: Any) -> None:
    case = Case(**sizes)
    out, h_n, c_n, gradients = case.expected()
    for keep in (True, False):
        computed, (h, c), cache = case.forward(keep_cache=keep)
        for name, one, other in (("out", computed, out), ("h_n", h, h_n), ("c_n", c, c_n)):
            assert one.dtype == case.dtype
            close(one, other, case.dtype, name)
        assert (cache is not None) == keep
        if keep:
            # A cache may be used again.
            for _ in range(2):
                case.check(case.backward(cache), gradients)


@st.composite
def sizes(draw: Any) -> dict[str, Any]:
    flags = {
        name: draw(st.booleans())
        for name in ("ids", "ragged", "reverse", "states", "final_gradients", "bias")
    }
    odd = st.sampled_from([1, 2, 3, 5, 8, 13, 16, 17, 25, 33, 40])
    return flags | {
        "T": draw(st.integers(1, 8)),
        "B": draw(st.integers(1, 28)),
        "I": draw(odd),
        "H": draw(odd),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 2**32)),
    }


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(sizes())
def test_random_sizes(case: dict[str, Any]) -> None:
    check_against_the_oracle(**case)


@DTYPES
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize(
    ("T", "B", "I", "H"),
    [
        (1, 1, 1, 1),
        (2, 3, 5, 260),  # one group of rows and many units: these are split
        (4, 7, 300, 256),
        (5, 1, 5, 261),  # a single row, whose gradients go through the panels of its forward pass
        (9, 28, 3, 4),  # more positions than one span
        (1, 1, 3, 517),
        (3, 15, 70, 130),  # more units than one atom of gradients has
    ],
)
def test_sizes_beyond_one_atom(T: int, B: int, I: int, H: int, ids: bool, reverse: bool, dtype: str) -> None:
    check_against_the_oracle(T=T, B=B, I=I, H=H, dtype=dtype, ids=ids, reverse=reverse, ragged=T > 2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_gradients_are_slopes(ids: bool, ragged: bool, reverse: bool) -> None:
    case = Case(T=3, B=2, I=3, H=3, ids=ids, ragged=ragged, reverse=reverse)
    if ragged:
        case.lengths = np.array([2, 3])
        case.x, case.dout = np.nan_to_num(case.x, nan=0.5), np.nan_to_num(case.dout, nan=0.5)

    def value() -> float:
        out, (h, c), _ = case.forward(keep_cache=False)
        return float((out * case.dout).sum() + (h * case.dh_n).sum() + (c * case.dc_n).sum())

    gradients = case.backward(case.forward()[2])
    for name, array in (("x", case.x), ("W", case.W), ("b", case.b), ("h0", case.h0), ("c0", case.c0)):
        assert array is not None
        if name == "x" and ids:
            continue
        numeric = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            start = array[index]
            array[index] = start + 1e-5
            above = value()
            array[index] = start - 1e-5
            below = value()
            array[index] = start
            numeric[index] = (above - below) / 2e-5
        np.testing.assert_allclose(getattr(gradients, name), numeric, rtol=0, atol=1e-8, err_msg=name)


# Equalities, bit by bit


@DTYPES
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_frozen_weights(ids: bool, reverse: bool, dtype: str) -> None:
    case = Case(B=9, H=21, ids=ids, reverse=reverse, dtype=dtype, ragged=True)
    frozen = pack(case.W, case.b)
    out, (h, c), cache = case.forward()
    gradients = case.backward(cache)
    case.W[...] = np.nan
    for _ in range(2):
        for keep in (False, True):
            again, (h2, c2), cache = case.forward(frozen, keep_cache=keep)
            for one, other in ((out, again), (h, h2), (c, c2)):
                assert np.array_equal(one, other)
            if cache is not None:
                for one, other in zip(gradients, case.backward(cache), strict=True):
                    assert one is None or np.array_equal(one, other)


def test_packed_weights_may_come_and_go() -> None:
    """A workspace that has borrowed panels doesn't keep them."""
    case, other = Case(ids=True), Case(ids=True, seed=1)
    plain = case.forward(keep_cache=False)[0]
    for _ in range(3):
        assert np.array_equal(case.forward(pack(case.W, case.b), keep_cache=False)[0], plain)
        assert not np.array_equal(other.forward(pack(other.W, other.b), keep_cache=False)[0], plain)
        assert np.array_equal(case.forward(keep_cache=False)[0], plain)


@pytest.mark.parametrize("ids", [False, True])
def test_steps_make_a_sequence(ids: bool) -> None:
    case = Case(T=6, ids=ids)
    out, (h_n, c_n), _ = case.forward()
    for W, b in ((case.W, case.b), (pack(case.W, case.b), None)):
        h, c = case.h0, case.c0
        for t in range(6):
            h, c = lstm_step(case.x[t], h, c, W, b)
            assert np.array_equal(h, out[t])
        assert np.array_equal(h, h_n)
        assert np.array_equal(c, c_n)


def test_a_row_does_not_see_the_others() -> None:
    case = Case(T=5, B=15, H=21, ragged=True)
    out, (h, _), cache = case.forward()
    dx = case.backward(cache).x
    for b in (0, 7, 14):
        T = int(case.lengths[b])
        if T:
            row = slice(b, b + 1)
            states = case.h0[row], case.c0[row]
            alone, (end, _), own = lstm_forward(case.x[:T, row], case.W, case.b, *states)
            assert np.array_equal(alone[:, 0], out[:T, b])
            assert np.array_equal(end[0], h[b])
            gradients = lstm_backward(case.dout[:T, row], own, case.dh_n[row], case.dc_n[row])
            assert np.array_equal(gradients.x[:, 0], dx[:T, b])


def test_padding_is_zero_and_rows_without_steps_pass_through() -> None:
    case = Case(T=4, B=3, ragged=True)
    case.lengths = np.array([2, 0, 4])
    out, (h, c), cache = case.forward()
    gradients = case.backward(cache)
    assert not out[2:, 0].any()
    assert not gradients.x[2:, 0].any()
    assert not out[:, 1].any()
    for result, passed in ((h, case.h0), (c, case.c0), (gradients.h0, case.dh_n), (gradients.c0, case.dc_n)):
        assert np.array_equal(result[1], passed[1])


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint64", "int64"])
def test_integers_of_any_kind(kind: str) -> None:
    case = Case(T=4, B=3, ids=True)
    case.lengths = np.array([0, 4, 2])
    out = case.forward()[0]
    case.x, case.lengths = case.x.astype(kind), case.lengths.astype(kind)
    assert np.array_equal(case.forward()[0], out)


@pytest.mark.parametrize("B", [1, 3])
def test_arrays_of_any_strides(B: int) -> None:
    case = Case(T=4, B=B)
    out, _, cache = case.forward()
    gradients = case.backward(cache)
    plain = dict(vars(case))
    for name in ("x", "W", "b", "h0", "c0", "dout", "dh_n", "dc_n"):
        array = plain[name]
        wide = np.full([2 * n for n in array.shape], np.nan)
        strided = wide[tuple(slice(None, None, 2) for _ in array.shape)]
        strided[...] = array
        for variant in (strided, np.asfortranarray(array), array[::-1].copy()[::-1]):
            setattr(case, name, variant)
            again, _, cache = case.forward()
            assert np.array_equal(again, out), name
            for one, other in zip(case.backward(cache), gradients, strict=True):
                assert np.array_equal(one, other), name
        setattr(case, name, array)


def test_one_row_with_any_stride() -> None:
    """NumPy calls an array contiguous whatever the stride of an axis of size 1."""
    case = Case(T=4, B=1)
    expected = case.backward(case.forward()[2])
    for name in ("x", "dout"):
        flat = getattr(case, name)[:, 0]
        setattr(case, name, flat[:, None])
        assert getattr(case, name).strides[1] == 0
    for one, other in zip(case.backward(case.forward()[2]), expected, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("rows", [2, 30])
@pytest.mark.parametrize("ids", [False, True])
def test_a_nan_leaves_no_trace(ids: bool, rows: int) -> None:
    """Neither in the padding of anything that the next call of this shape reads, whatever its size."""
    good = Case(T=5, B=rows, ids=ids, ragged=True, seed=1)
    expected = good.backward(good.forward()[2])
    for name in ("dout", "c0", "dc_n", "dh_n"):
        bad = Case(T=6, B=9, ids=ids)
        getattr(bad, name)[..., 1, 1] = np.nan
        assert np.isnan(bad.backward(bad.forward()[2]).W).any()
        for one, other in zip(good.backward(good.forward()[2]), expected, strict=True):
            assert one is None or np.array_equal(one, other), name


def test_a_cache_owns_its_data() -> None:
    case, other = Case(), Case(seed=1)
    kept = copy.deepcopy(case)
    out, states, cache = case.forward()
    expected = case.backward(cache)
    results = out.copy(), states[0].copy(), states[1].copy()
    for array in (case.x, case.W, case.b, case.h0, case.c0):
        array[...] = 7
    other.backward(other.forward()[2])
    lstm_forward(other.x, other.W, keep_cache=False)
    for one, again in zip(expected, kept.backward(cache), strict=True):
        assert np.array_equal(one, again)
    for one, before in zip((out, *states), results, strict=True):
        assert np.array_equal(one, before)


def test_a_cache_owns_its_ids() -> None:
    ids, W = np.zeros((3, 2), np.int32), np.ones((8, 6))
    out, _, cache = lstm_forward(ids, W)
    expected = lstm_backward(out, cache)
    ids[...] = 3
    assert np.array_equal(lstm_backward(out, cache).W, expected.W)


def test_caches_live_side_by_side() -> None:
    cases = [Case(seed=seed, T=3 + seed) for seed in range(4)]
    expected = [case.backward(case.forward()[2]) for case in cases]
    caches = [case.forward()[2] for case in cases]
    for case, cache, gradients in reversed(list(zip(cases, caches, expected, strict=True))):
        for one, other in zip(case.backward(cache), gradients, strict=True):
            assert np.array_equal(one, other)


def test_what_holds_addresses_is_not_copied() -> None:
    case = Case()
    for holder in (case.forward()[2], pack(case.W)):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            copy.deepcopy(holder)


# Errors

X = np.zeros((3, 2, 4))
W = np.zeros((20, 9))
GOOD = {"x": X, "W": W}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"W": np.zeros(20)}, "W has shape (20,); it must be (4H, H+I)"),
        ({"W": np.zeros((18, 9))}, "W has shape (18, 9); it must be (4H, H+I)"),
        ({"W": np.zeros((20, 5))}, "W has shape (20, 5); it must be (4H, H+I) with H and I at least 1"),
        ({"W": np.zeros((0, 5))}, "W has shape (0, 5)"),
        ({"W": W.astype(np.float16)}, "W is float16; it must be float32 or float64"),
        ({"W": W.astype(int)}, "W is int64; it must be float32 or float64"),
        ({"b": np.zeros(19)}, "b has shape (19,); it must be (20,)"),
        ({"b": np.zeros(20, np.float32)}, "b is float32; W is float64, and both must be the same"),
        ({"W": pack(W), "b": np.zeros(20)}, "give it to pack(W, b)"),
        ({"x": np.zeros((3, 2, 5))}, "x has shape (3, 2, 5); it must be (3, 2, 4)"),
        ({"x": X.astype(np.float32)}, "x is float32; W is float64"),
        ({"x": X.astype(int)}, "x is int64; W is float64"),
        ({"x": np.zeros((3, 2))}, "x is float64 (3, 2); it must be floats (T, B, 4) or integer ids (T, B)"),
        ({"x": np.zeros((3, 2), bool)}, "x is bool (3, 2)"),
        ({"x": np.zeros(3, int)}, "x is int64 (3,)"),
        (
            {"x": np.zeros((0, 2, 4))},
            "x has shape (0, 2, 4); it must have at least one step and one sequence",
        ),
        ({"x": np.zeros((3, 0), int)}, "x has shape (3, 0)"),
        ({"x": np.full((3, 2), 4)}, "x contains the id 4; ids must lie in 0..3"),
        ({"x": np.full((3, 2), -1)}, "x contains the id -1"),
        ({"x": np.full((3, 2), 2**32)}, "x contains the id 4294967296"),
        ({"h0": np.zeros((2, 4))}, "h0 has shape (2, 4); it must be (2, 5)"),
        ({"c0": np.zeros((2, 5), np.float32)}, "c0 is float32; W is float64"),
        ({"lengths": [3]}, "lengths are int64 (1,); they must be 2 integers"),
        ({"lengths": [3.0, 1.0]}, "lengths are float64 (2,)"),
        ({"lengths": [4, 1]}, "lengths lie in 1..4; they must lie in 0..3"),
        ({"lengths": [-1, 1]}, "lengths lie in -1..1; they must lie in 0..3"),
        ({"lengths": [0, 0]}, "lengths are all 0"),
        ({"threads": 0}, "threads is 0; it must be a whole number from 1 to 1,024"),
    ],
)
def test_impossible_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FastLSTMError, match=re.escape(message)):
        lstm_forward(**GOOD | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dout": np.zeros((3, 2, 4))}, "dout has shape (3, 2, 4); it must be (3, 2, 5)"),
        ({"dout": np.zeros((3, 2, 5), np.float32)}, "dout is float32; W is float64"),
        ({"dh_n": np.zeros(5)}, "dh_n has shape (5,); it must be (2, 5)"),
        ({"dc_n": np.zeros((2, 5), np.float32)}, "dc_n is float32"),
        ({"cache": None}, "call lstm_forward with keep_cache=True"),
        ({"threads": -1}, "threads is -1"),
    ],
)
def test_impossible_gradients(arguments: dict[str, Any], message: str) -> None:
    given = {"dout": np.zeros((3, 2, 5)), "cache": lstm_forward(X, W)[2]}
    with pytest.raises(FastLSTMError, match=re.escape(message)):
        lstm_backward(**given | arguments)


def test_a_step_names_what_is_wrong_with_it() -> None:
    with pytest.raises(FastLSTMError, match=re.escape("h0 has shape (1, 4); it must be (1, 5)")):
        lstm_step(np.zeros((1, 4)), np.zeros((1, 4)), np.zeros((1, 5)), W)


def test_a_cache_may_outlive_its_module_and_end_before_it_has_begun(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = """
import sys
import numpy as np
from fastlstm import lstm_forward
from fastlstm.engine.sequence import Cache
Cache.__new__(Cache)
_, _, sys.kept = lstm_forward(np.zeros((3, 2, 4)), np.ones((20, 9)))
"""
    subprocess.run([sys.executable, "-c", lines], check=True, timeout=120)
    assert capfd.readouterr().err == ""
