"""Nothing is written outside an array, nothing outside is read into a result, and padding stays zero.

Every array of the engine and of the caller lies amid bytes that are NaN, and that are looked at afterwards.
"""

from __future__ import annotations

import copy
from collections import deque
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from guards import FILL, Guards
from networks import Sample, randomize

from fastlstm.engine import arena, parameters, sequence, workers
from fastlstm.engine.arena import Arena, row_stride, whole_lines
from fastlstm.engine.kernels.records import address
from fastlstm.engine.layout import SPLIT, Weights, sorted_plan
from fastlstm.engine.layout import place as place_of
from fastlstm.engine.memory import LINE, aligned
from fastlstm.generation import stream
from fastlstm.network import optim
from fastlstm.network.architecture import Architecture
from fastlstm.network.lstm import addresses, lstm_forward
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
ZONE = 4096


class Zones:
    """Stands in for `aligned`: arrays with NaN on either side, all of which can be checked."""

    def __init__(self) -> None:
        self.raw: list[np.ndarray] = []

    def aligned(self, size: int, dtype: Any) -> np.ndarray:
        length = size * np.dtype(dtype).itemsize
        raw = aligned(length + 2 * ZONE, np.uint8)
        raw[:ZONE] = raw[ZONE + length :] = FILL
        self.raw.append(raw)
        return raw[ZONE : ZONE + length].view(dtype)

    def check(self) -> None:
        for raw in self.raw:
            assert (raw[:ZONE] == FILL).all()
            assert (raw[-ZONE:] == FILL).all()


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> Zones:
    made = Zones()
    for module in (arena, optim, parameters, sequence):
        monkeypatch.setattr(module, "aligned", made.aligned)
    # No memory from before, and none of this for what comes after.
    monkeypatch.setattr(sequence, "_free", deque(maxlen=8))
    monkeypatch.setattr(workers, "SMALL_WORK", 0.0)
    return made


NETWORKS = {
    "odd": Architecture(7, 3, 5, 2, 0.3, 0.2, learned_state=True),
    "one of each": Architecture(1, 1, 1, 1),
    "one-hot": Architecture(33, 17, 0, 3, 0.5),
    "tied": Architecture(13, 25, 25, 1, tied=True),
    "more characters than positions": Architecture(130, 9, 6, 2),
    "units split": Architecture(5, 261, 3, 1),
    "whole lines": Architecture(16, 32, 16, 2),
}
BATCHES = [(3, 2, False), (6, 13, True), (1, 1, False), (4, 5, True), (2, 30, False), (5, 1, True)]


def weights_of(precision: str) -> str:
    """Their dtype."""
    return "float32" if precision == "bf16" else precision


def train(architecture: Architecture, precision: str) -> tuple[Network, list[Any]]:
    """Steps on batches of several sizes, and everything that comes of them."""
    rng = np.random.default_rng(0)
    network = randomize(Network(architecture, threads=2, precision=precision), rng)
    config = OptimizerConfig("adamw", weight_decay=0.1, clip_norm=0.5, clip_value=0.2)
    optimizer = Optimizer(network.parameters, config)
    results: list[Any] = []
    for step, (T, B, ragged) in enumerate(BATCHES):
        sample = Sample(rng, T, B, architecture.vocabulary, ragged)
        ids, targets, lengths = sample.ids, sample.targets, sample.lengths
        metrics, state = network.step(ids, targets, optimizer, 0.01, lengths, dropout_key=step)
        results += [metrics, *state, *network.forward(ids, lengths)[0:1], network.gradients.flat.copy()]
        results.append(network.evaluate(ids, targets, lengths, state)[0])
        optimizer.update(network.gradients, 0.01)
    return network, [
        *results,
        network.parameters.flat,
        *(moment.flat for moment in optimizer.moments.values()),
    ]


@PRECISIONS
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_stays_within_its_arrays(name: str, precision: str, zones: Zones) -> None:
    architecture = Architecture(**NETWORKS[name].as_dict() | {"dtype": weights_of(precision)})
    network, results = train(architecture, precision)
    zones.check()
    with pytest.MonkeyPatch.context() as patch:
        for module in (arena, optim, parameters):
            patch.setattr(module, "aligned", aligned)
        _, expected = train(architecture, precision)
    for one, other in zip(results, expected, strict=True):
        assert np.isfinite(one).all()
        assert np.array_equal(one, other)
    for buffer in (network.parameters, network.gradients):
        gaps = np.ones(buffer.flat.size, bool)
        for field, start in buffer.offsets.items():
            gaps[start : start + buffer[field].size] = False
        assert not buffer.flat[gaps].any()
    check_padding(network)


def check_padding(network: Network) -> None:
    """What lies past the real units of a row is zero after any number of batches."""
    a, seen = network.architecture, set()
    for name, array in network._program.arena.arrays.items():
        field = name.rsplit(".", 1)[-1]
        if field in ("h", "c", "dh", "dc", "dh0", "dropped"):
            assert not array[:, a.hidden :].any(), name
            seen.add(field)
        elif field == "shares":
            assert not array[..., a.hidden :].any(), name
            seen.add(field)
        elif field in ("x", "dx"):
            assert not array[:, a.embedding :].any(), name
    assert {"h", "c", "dh", "dc"} <= seen
    assert ("shares" in seen) == (a.hidden >= SPLIT)


@PRECISIONS
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inputs", ["vectors", "one-hot", "embedding"])
@pytest.mark.parametrize(
    ("T", "B", "I", "H"),
    [
        (1, 1, 1, 1),
        (3, 2, 5, 3),
        (4, 9, 18, 25),
        (2, 30, 33, 16),
        (2, 3, 7, 261),
        (4, 1, 7, 261),
        (5, 13, 64, 9),
    ],
)
def test_the_array_api_stays_within_the_callers_arrays(
    T: int, B: int, I: int, H: int, inputs: str, packed: bool, precision: str, zones: Zones
) -> None:
    dtype, paired, ids = weights_of(precision), precision == "bf16", inputs != "vectors"
    # Frozen weights know no embedding, and pairs have no dx beside one.
    embedded, V = inputs == "embedding" and not packed, 3
    rng = np.random.default_rng(0)
    guards = Guards()

    def place(*shape: int, strides: tuple[int, ...] = ()) -> np.ndarray:
        return guards.place((rng.normal(size=shape) / 2).astype(dtype), *strides)

    x = guards.place(rng.integers(0, V if embedded else I, (T, B), dtype=np.int32)) if ids else place(T, B, I)
    e = place(V, I)
    source = sequence.Ids(x, *((address(e), V) if embedded else ())) if ids else address(x)
    w_h, w_x = place(4 * H, H, strides=(H + 3, 1)), place(4 * H, I, strides=(I + 5, 1))
    b, b_x = place(4 * H), place(4 * H)
    weights = Weights(place_of(w_h), place_of(w_x), address(b), address(b_x))
    h0, c0, dh_n, dc_n = (place(2, B, H) for _ in range(4))
    # Rows that lie further apart than both directions' H.
    apart = (B * (2 * H + 3), 2 * H + 3, 1)
    out, dout = place(T, B, 2 * H, strides=apart), place(T, B, 2 * H, strides=apart)
    lengths = rng.integers(0, T + 1, B)
    lengths[-1] = T
    plan = sorted_plan(T, B, lengths)
    unchanged = (x, e, w_h, w_x, b, b_x, h0, c0, dout, dh_n, dc_n)
    given = [array.copy() for array in unchanged]
    frozen = sequence.Frozen(np.hstack([w_h, w_x]), b, paired) if packed else weights
    real = (np.arange(T)[:, None] < lengths)[..., None]
    for D, reverse in ((1, False), (1, True), (2, False)):
        kind = sequence.Kind(np.dtype(dtype), H, I, ids, paired, embedded, D)
        finals, results = [(place(D, B, H), place(D, B, H)) for _ in range(2)], []
        written = np.arange(2 * H) < D * H
        for final, keep in zip(finals, (False, True), strict=True):
            # All that is real is written, and nothing else.
            out[...] = np.where(real & written, np.nan, 7)
            cache = sequence.forward(
                kind, source, *plan, [frozen] * D, addresses((h0, c0)), place_of(out), addresses(final), keep, 2, reverse
            )  # fmt: skip
            results.append(out.copy())
        assert cache is not None
        dx = [place(T, B, I)] if not ids or (embedded and not paired) else []
        for array in dx:
            array[...] = np.where(real, np.nan, 7)
        de = [place(V, I)] if embedded else []
        states = place(D, B, H), place(D, B, H)
        shapes = ((4 * H, H, H + 3), (4 * H, I, I + 5), (4 * H, 1, 1), (4 * H, 1, 1))
        dw = [[place(rows, n, strides=(row, 1)) for rows, n, row in shapes] for _ in range(D)]
        changed = *states, *(array for each in dw for array in each), *de
        for array in changed:
            array[...] = np.nan
        gradients = [Weights(place_of(h), place_of(x), address(b), address(b_x)) for h, x, b, b_x in dw]
        sequence.backward(place_of(dout), cache, addresses((dh_n, dc_n)), address(dx[0]) if dx else 0, gradients,
                          addresses(states), 2, address(de[0]) if de else 0)  # fmt: skip
        for one, other in ((results[1], results[0]), *zip(*finals, strict=True)):
            assert np.array_equal(one, other)
        for array, real_here in ((results[0], real & written), *((array, real) for array in dx)):
            assert np.isfinite(array).all()
            assert (np.where(real_here, 7, array) == 7).all()
        for array in (*finals[0], *changed):
            assert np.isfinite(array).all()
        for *_, b_h, b_x in dw:
            assert np.array_equal(b_h, b_x)
    guards.check()
    zones.check()
    for array, before in zip(unchanged, given, strict=True):
        assert np.array_equal(array, before)


def test_a_large_workspace_is_given_back(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    def call() -> None:
        lstm_forward(np.zeros((3, 2, 4)), np.zeros((20, 9)))

    call()
    assert len(sequence._free) == 1
    workspace = sequence._free[0]
    assert workspace.arena.bytes == sum(array.nbytes for array in workspace.arena.arrays.values())
    monkeypatch.setattr(sequence, "KEPT_BYTES", workspace.arena.bytes - 1)
    call()
    assert not sequence._free


def test_a_copied_state_goes_on_alone() -> None:
    network = randomize(Network(Architecture(6, 5, 4, 2)), np.random.default_rng(0))
    state = stream.start(SimpleNamespace(network=network), 3)
    logits = stream.step(state, [1, 2, 3])
    twin = copy.deepcopy(state)
    stream.step(twin, [0, 0, 0])
    again = stream.start(SimpleNamespace(network=network), 3)
    assert np.array_equal(stream.step(again, [1, 2, 3]), logits)
    for one, other in zip(stream.step(state, [4, 4, 4]), stream.step(again, [4, 4, 4]), strict=True):
        assert np.array_equal(one, other)
    for holder in (state.rows, state.frozen, network._program):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            copy.deepcopy(holder)


# Arrays


@DTYPES
def test_sizes_of_rows(dtype: str) -> None:
    kind = np.dtype(dtype)
    line = LINE // kind.itemsize
    for size in (1, line - 1, line, line + 1, 2 * line, 1000, 1024):
        assert 0 <= whole_lines(size, kind) - size < line
        stride = row_stride(size, kind)
        assert stride >= whole_lines(size, kind)
        # An odd number of lines is prime to the number of cache sets.
        assert stride % line == 0
        assert stride // line % 2 == 1


def test_an_arena_grows_and_keeps() -> None:
    own = Arena("float32")
    first = own.take("a", 3, 16)
    assert first.__array_interface__["data"][0] % LINE == 0
    first[...] = 1
    assert own.take("a", 2, 16) is first
    assert own.address("a", 3, 16) == first.__array_interface__["data"][0]
    grown = own.take("a", 4, 16)
    assert grown.shape == (4, 16)
    assert not grown.any()
    assert own.take("a", 1, 32).shape == (1, 32)
    assert own.take("b", 5, dtype="int32").dtype == np.int32


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
def test_aligned_arrays_are_zero_and_have_a_line_behind_them(dtype: str) -> None:
    for size in (1, 7, 64, 1000):
        array = aligned(size, dtype)
        start = array.__array_interface__["data"][0]
        assert start % LINE == 0
        assert not array.any()
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        assert owner.__array_interface__["data"][0] + owner.nbytes >= start + array.nbytes + LINE
