"""The compiled network against the oracle: every option, every gradient, ragged and carried batches."""

from __future__ import annotations

import copy
import pickle
import re
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from networks import Sample, close, expect, mask, masks, randomize

from fastlstm.engine.layout import Contrast
from fastlstm.engine.simd.target import AMX, BF16, target
from fastlstm.errors import FastLSTMError
from fastlstm.network import reference
from fastlstm.network.architecture import Architecture, State
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.network.program import Program, layer_keys

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def check_against_the_oracle(
    a: Architecture,
    T: int,
    B: int,
    ragged: bool,
    carried: bool = False,
    key: int | None = None,
    seed: int = 0,
) -> None:
    """Forward, evaluation and backward, twice, so that what a call leaves behind is met by the next."""
    rng = np.random.default_rng(seed)
    network = randomize(Network(a), rng)
    for _ in range(2):
        sample = Sample(rng, T, B, a.vocabulary, ragged)
        state, given = sample.state(rng, a) if carried else None, sample.given(rng, a)
        expected = expect(network, sample, state, given=given)
        logits, final = network.forward(sample.ids, sample.lengths, state, given)
        close(logits, expected.logits, a.dtype, "logits")
        close(final.h, expected.h, a.dtype, "h")
        close(final.c, expected.c, a.dtype, "c")
        metrics, final = network.evaluate(sample.ids, sample.targets, sample.lengths, state, given=given)
        count = T * B if sample.lengths is None else int(sample.lengths.sum())
        assert metrics.count == count
        assert metrics.correct == right_answers(sample, logits)
        close(metrics.loss, expected.loss, a.dtype, "loss")
        close(final.c, expected.c, a.dtype, "c")

        if key is not None:
            expected = expect(network, sample, state, key, given)
        metrics, final = network.backward(sample.ids, sample.targets, sample.lengths, state, key, given)
        close(metrics.loss, expected.loss, a.dtype, "loss")
        close(final.h, expected.h, a.dtype, "h")
        for name, gradient in network.gradients.items():
            close(gradient, expected.gradients[name], a.dtype, name)


def right_answers(sample: Sample, logits: np.ndarray) -> int:
    T, B = sample.ids.shape
    lengths = np.full(B, T) if sample.lengths is None else sample.lengths
    real = np.arange(T)[:, None] < lengths
    return int((logits.argmax(-1) == sample.targets)[real].sum())


COMBINATIONS = [
    (layers, dropout, embedding_dropout, tied, learned)
    for layers, (dropout, embedding_dropout), tied, learned in product(
        (1, 2, 3, 4), ((0.0, 0.0), (0.4, 0.0), (0.3, 0.5)), (False, True), (False, True)
    )
]


@pytest.mark.parametrize("state", ["its own", "carried"])
@pytest.mark.parametrize(("layers", "dropout", "embedding_dropout", "tied", "learned"), COMBINATIONS)
def test_every_combination(
    layers: int, dropout: float, embedding_dropout: float, tied: bool, learned: bool, state: str
) -> None:
    a = Architecture(
        6, 5, 5 if tied else 3, layers, dropout, embedding_dropout, tied, learned, dtype="float64"
    )
    key = 77 if dropout else None
    check_against_the_oracle(a, 4, 3, True, state == "carried", key)


@DTYPES
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_one_hot_inputs(layers: int, learned: bool, dtype: str) -> None:
    a = Architecture(9, 7, 0, layers, 0.25, learned_state=learned, dtype=dtype)
    check_against_the_oracle(a, 5, 4, True, key=5)


@DTYPES
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    ("T", "B", "layers", "conditions"), [(5, 7, 2, (3, 1, 4)), (4, 1, 1, (2,)), (3, 30, 3, (9, 2))]
)
def test_conditions(
    T: int, B: int, layers: int, conditions: tuple[int, ...], learned: bool, carried: bool, dtype: str
) -> None:
    a = Architecture(6, 5, 4, layers, learned_state=learned, conditions=conditions, dtype=dtype)
    check_against_the_oracle(a, T, B, True, carried)


def each_row(network: Network, sample: Sample, given: np.ndarray, key: int | None) -> list[reference.Result]:
    """The reference on every row by itself, under its values among all conditions' and its part of the batch's masks."""
    p, masks_of_all = dict(network.parameters.items()), masks(sample, network.architecture, key)
    places = given + np.cumsum((0, *network.architecture.conditions[:-1]))
    results = []
    for b, length in enumerate(sample.lengths):
        row = (slice(0, length), slice(b, b + 1))
        own = [None if mask is None else mask[row] for mask in masks_of_all or ()]
        results.append(
            reference.loss_and_gradients(
                p, sample.ids[row], sample.targets[row], masks=own or None, given=places[b : b + 1]
            )
        )
    return results


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("B", "H", "key"), [(1, 261, None), (1, 6, 3), (3, 17, 5), (7, 17, None), (41, 17, 6)]
)
def test_contrast_with_other_values(B: int, H: int, key: int | None, threads: int) -> None:
    """Row by row: −log p + w · softplus(−d), whose own row counts 1 + w σ(−d) times, the other one −w σ(−d) times."""
    rng, a = np.random.default_rng(B), Architecture(6, H, 5, 2, 0.3, conditions=(3, 2), dtype="float64")
    network, sample = randomize(Network(a, threads=threads), rng), Sample(rng, 6, B, 6, True)
    own, other = rng.integers(0, (3, 2), (2, B, 2))
    terms = np.column_stack([rng.random(B) * 2 * (rng.random(B) < 0.8), rng.normal(size=B)])
    expected, loss, count = network.gradients.copy(), 0.0, int(sample.lengths.sum())
    expected.flat[:] = 0
    pairs = zip(
        each_row(network, sample, own, key), each_row(network, sample, other, key), sample.lengths, terms,
        strict=True,
    )  # fmt: skip
    for mine, theirs, length, (weight, odds) in pairs:
        share = weight / (1 + np.exp(length * (theirs.loss - mine.loss) + odds))
        loss += length * mine.loss
        for name, gradient in expected.items():
            gradient += length / count * ((1 + share) * mine.gradients[name] - share * theirs.gradients[name])
    contrast = Contrast(other, terms)
    metrics, final = network.backward(
        sample.ids, sample.targets, sample.lengths, None, key, own, contrast=contrast
    )
    close(metrics.loss, loss / count, a.dtype, "loss")
    assert (metrics.count, final.h.shape) == (count, (2, B, H))
    for name, gradient in network.gradients.items():
        close(gradient, expected[name], a.dtype, name)


def test_the_slope_of_a_contrast() -> None:
    """Its gradients are those of the loss and the terms that it stands for, whatever the direction."""
    rng, a = np.random.default_rng(1), Architecture(5, 6, 3, 1, conditions=(3,), dtype="float64")
    network, sample = randomize(Network(a), rng), Sample(rng, 5, 4, 5, True)
    own, other, terms = np.array([[1], [2], [0], [1]]), np.array([[2], [1], [0], [0]]), rng.random((4, 2))

    def loss() -> float:
        each, count = [], sample.lengths.sum()
        for given in (own, other):
            rows = each_row(network, sample, given, None)
            each.append(np.array([row.loss for row in rows]) * sample.lengths)
        return (each[0] + terms[:, 0] * np.logaddexp(0, each[0] - each[1] - terms[:, 1])).sum() / count

    network.backward(sample.ids, sample.targets, sample.lengths, given=own, contrast=Contrast(other, terms))
    gradients, start = network.gradients.copy(), network.parameters.copy()
    for _ in range(5):
        direction, losses = rng.normal(size=start.flat.size), []
        for sign in (1, -1):
            network.parameters.flat[:] = start.flat + sign * 1e-5 * direction
            losses.append(loss())
        slope = float(gradients.flat @ direction)
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(slope, rel=1e-6, abs=1e-9)


@DTYPES
@pytest.mark.parametrize("learned", [False, True])
def test_some_sequences_go_on_and_others_start_anew(learned: bool, dtype: str) -> None:
    """As two batches, one of each kind, whose gradients are added."""
    rng, a = np.random.default_rng(3), Architecture(6, 5, 4, 2, learned_state=learned, dtype=dtype)
    network, sample = randomize(Network(a), rng), Sample(rng, 4, 5, 6)
    state, fresh = sample.state(rng, a), np.array([True, False, False, True, False])
    alone = []
    for rows, start in ((fresh, None), (~fresh, State(*(array[:, ~fresh] for array in state)))):
        metrics, final = network.backward(sample.ids[:, rows], sample.targets[:, rows], state=start)
        alone.append((metrics, network.gradients.copy(), final, rows))
    metrics, final = network.backward(sample.ids, sample.targets, state=state, fresh=fresh)
    shares = [rows.mean() for *_, rows in alone]
    close(metrics.loss, np.dot(shares, [m.loss for m, *_ in alone]), dtype, "loss")
    for name, gradient in network.gradients.items():
        both = sum(share * g[name] for share, (_, g, _, _) in zip(shares, alone, strict=True))
        close(gradient, both, dtype, name)
    for _, _, end, rows in alone:
        assert np.array_equal(final.h[:, rows], end.h)
        assert np.array_equal(final.c[:, rows], end.c)


def test_units_dealt_to_workers_and_conditions() -> None:
    check_against_the_oracle(Architecture(9, 261, 0, 1, conditions=(2, 2)), 4, 1, False)


def test_slopes_of_conditions_and_of_what_is_left_open() -> None:
    a = Architecture(5, 3, 2, 2, learned_state=True, conditions=(2, 3), dtype="float64")
    rng = np.random.default_rng(4)
    network, sample = randomize(Network(a), rng), Sample(rng, 4, 3, 5, True)
    values = np.array([[1, 2], [0, 2], [1, 0]])
    for given in (values, None):
        network.backward(sample.ids, sample.targets, sample.lengths, given=given)
        gradients = network.gradients.copy()
        for name in ("given.h", "given.c"):
            view, step = network.parameters[name], 1e-5
            direction, start = rng.normal(size=view.shape), view.copy()
            losses = []
            for sign in (1, -1):
                view[...] = start + sign * step * direction
                losses.append(
                    network.evaluate(sample.ids, sample.targets, sample.lengths, given=given)[0].loss
                )
            view[...] = start
            slope = (gradients[name] * direction).sum()
            assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=1e-6, abs=1e-9)
    network.backward(sample.ids, sample.targets, sample.lengths)
    unused = network.gradients["given.h"][[1, 3, 4]]
    assert not unused.any()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([[0, 3]], "values that there are not"),
        ([[-1, 0]], "values that there are not"),
        ([0, 0], "must be whole numbers (1, 2)"),
        ([[0.0, 1.0]], "float64"),
        ([[0, 0]] * 2, "must be whole numbers (1, 2)"),
    ],
)
def test_conditions_that_are_not_there(given: Any, says: str) -> None:
    network = Network(Architecture(5, 3, 2, conditions=(2, 3)))
    with pytest.raises(FastLSTMError, match=re.escape(says)):
        network.forward([[1]], given=given)
    with pytest.raises(FastLSTMError, match="each column needs at least 1 value"):
        Architecture(5, 3, 2, conditions=(2, 0))


@pytest.mark.parametrize(("layers", "dropout", "embedding_dropout", "tied", "learned"), COMBINATIONS)
def test_gradients_are_slopes(
    layers: int, dropout: float, embedding_dropout: float, tied: bool, learned: bool
) -> None:
    """Central differences of the loss itself, in every direction of a random basis of three."""
    a = Architecture(
        5, 3, 3 if tied else 2, layers, dropout, embedding_dropout, tied, learned, dtype="float64"
    )
    rng = np.random.default_rng(layers)
    network, key = randomize(Network(a), rng), 3 if dropout else None
    sample = Sample(rng, 3, 2, a.vocabulary, True)

    def loss() -> float:
        return network.backward(sample.ids, sample.targets, sample.lengths, dropout_key=key)[0].loss

    loss()
    gradients = {name: gradient.copy() for name, gradient in network.gradients.items()}
    step = 1e-5
    for name, view in network.parameters.items():
        for _ in range(3):
            start, direction = view.copy(), rng.normal(size=view.shape)
            view[...] = start + step * direction
            above = loss()
            view[...] = start - step * direction
            below = loss()
            view[...] = start
            slope = (gradients[name] * direction).sum()
            assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-6, abs=1e-9), name


@st.composite
def networks(draw: Any) -> dict[str, Any]:
    """Sizes around cache lines, groups of rows and more characters than positions."""
    odd = st.sampled_from([1, 2, 3, 5, 8, 9, 15, 16, 17, 25, 31, 33])
    tied, layers = draw(st.booleans()), draw(st.integers(1, 4))
    hidden = draw(odd)
    embedding = hidden if tied else draw(st.one_of(st.just(0), odd))
    dropout = draw(st.sampled_from([0.0, 0.3]))
    architecture = Architecture(
        draw(st.sampled_from([1, 2, 3, 16, 17, 40, 130])),
        hidden,
        embedding,
        layers,
        dropout,
        draw(st.sampled_from([0.0, 0.2])) if embedding else 0.0,
        tied,
        draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "float64"])),
    )
    return {
        "a": architecture,
        "T": draw(st.integers(1, 7)),
        "B": draw(st.integers(1, 27)),
        "ragged": draw(st.booleans()),
        "carried": draw(st.booleans()),
        "key": draw(st.one_of(st.none(), st.integers(0, 2**63))),
        "seed": draw(st.integers(0, 2**32)),
    }


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@drawn(networks())
def test_random_networks(case: dict[str, Any]) -> None:
    check_against_the_oracle(**case)


@DTYPES
@pytest.mark.parametrize(
    ("T", "B", "V", "E", "H", "layers"),
    [
        (2, 3, 5, 0, 261, 1),  # one group of rows and many units: these are split
        (3, 7, 9, 20, 256, 2),
        (5, 1, 9, 20, 261, 2),  # a single row, whose gradients go through the panels of its forward pass
        (4, 1, 5, 0, 256, 1),
        (30, 27, 5, 3, 4, 1),  # more positions than one span
        (3, 14, 70, 66, 70, 2),  # more units than one atom of gradients has
        (2, 2, 300, 7, 3, 1),  # more characters than positions, and than one atom of embeddings has
        (40, 9, 300, 7, 3, 2),
    ],
)
def test_sizes_beyond_one_atom(T: int, B: int, V: int, E: int, H: int, layers: int, dtype: str) -> None:
    a = Architecture(V, H, E, layers, 0.2, learned_state=B == 1, dtype=dtype)
    check_against_the_oracle(a, T, B, False, key=None)
    check_against_the_oracle(a, T, B, True, carried=True, key=8)


def test_one_small_network() -> None:
    """Cheap enough to be run for every forced target."""
    a = Architecture(11, 13, 7, 2, 0.25, learned_state=True)
    check_against_the_oracle(a, 5, 9, True, key=1)


# What stays, and what does not


def test_batches_of_changing_size_and_kind_share_one_memory() -> None:
    a = Architecture(20, 9, 4, 2, 0.3, 0.2, learned_state=True, dtype="float64")
    rng = np.random.default_rng(0)
    network = randomize(Network(a), rng)
    optimizer = Optimizer(network.parameters, OptimizerConfig("sgd"))
    for T, B, ragged, kind in [
        (5, 4, False, "backward"), (2, 1, False, "backward"), (9, 13, True, "dropout"), (1, 1, False, "forward"),
        (3, 30, True, "step"), (5, 4, True, "evaluate"), (9, 13, False, "backward"), (4, 2, True, "carried"),
        (4, 2, True, "backward"), (4, 3, False, "backward"),
    ]:  # fmt: skip
        sample = Sample(rng, T, B, a.vocabulary, ragged)
        state = sample.state(rng, a) if kind == "carried" else None
        key = 4 if kind == "dropout" else None
        expected = expect(network, sample, state, key)
        if kind == "forward":
            close(network.forward(sample.ids, sample.lengths)[0], expected.logits, a.dtype)
        elif kind == "evaluate":
            loss = network.evaluate(sample.ids, sample.targets, sample.lengths)[0].loss
            close(loss, expected.loss, a.dtype)
        elif kind == "step":
            before = network.parameters["lstm.1.W"].copy()
            network.step(sample.ids, sample.targets, optimizer, 0.1, sample.lengths)
            moved = (before - network.parameters["lstm.1.W"]) / 0.1
            np.testing.assert_allclose(moved, expected.gradients["lstm.1.W"], rtol=0, atol=1e-12)
        else:
            network.backward(sample.ids, sample.targets, sample.lengths, state, key)
            for name, gradient in network.gradients.items():
                close(gradient, expected.gradients[name], a.dtype, name)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("hidden", [3, 12])
@pytest.mark.parametrize("rows", [2, 30])
def test_a_nan_leaves_no_trace(layers: int, hidden: int, rows: int) -> None:
    """Neither in the padding of anything that the next call reads, whatever its size."""
    rng = np.random.default_rng(0)
    a = Architecture(5, hidden, 4, layers, dtype="float64")
    network, fresh = randomize(Network(a), rng), Network(a)
    fresh.parameters.flat[:] = network.parameters.flat
    bad, good = Sample(rng, 6, 9, 5), Sample(rng, 6, rows, 5, True)
    state = bad.state(rng, a)
    state.c[0, 1, 1] = np.nan
    assert np.isnan(network.backward(bad.ids, bad.targets, state=state)[0].loss)
    for each in (network, fresh):
        each.backward(good.ids, good.targets, good.lengths)
    assert np.array_equal(network.gradients.flat, fresh.gradients.flat)


@pytest.mark.parametrize("where", ["parameters", "state"])
def test_a_step_that_is_not_finite_changes_nothing(where: str) -> None:
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(5, 6, 4)), rng)
    optimizer = Optimizer(network.parameters, OptimizerConfig(average=0.5))
    sample = Sample(rng, 4, 3, 5)
    network.step(sample.ids, sample.targets, optimizer, 0.1)
    state = sample.state(rng, network.architecture) if where == "state" else None
    if state:
        state.h[0, 0, 0] = np.inf
        state.c[0, 0, 0] = np.nan
    else:
        network.parameters["head.b"][2] = np.inf
    parts = (network.parameters, *optimizer.buffers)
    before = [part.flat.copy() for part in parts]
    metrics, _ = network.step(sample.ids, sample.targets, optimizer, 0.1, state=state)
    assert not np.isfinite(metrics.loss)
    assert optimizer.steps == 1
    for part, values in zip(parts, before, strict=True):
        assert np.array_equal(part.flat, values)


def test_a_step_is_backward_and_update() -> None:
    rng = np.random.default_rng(0)
    config = OptimizerConfig("adamw", weight_decay=0.1, clip_value=0.02, clip_norm=0.05, average=0.5)
    a = Architecture(7, 9, 5, 2, 0.3, learned_state=True)
    one = randomize(Network(a), rng)
    two = copy.deepcopy(one)
    first, second = Optimizer(one.parameters, config), Optimizer(two.parameters, config)
    for key in range(3):
        sample = Sample(rng, 5, 6, 7, True)
        metrics, _ = one.step(sample.ids, sample.targets, first, 0.01, sample.lengths, dropout_key=key)
        two.backward(sample.ids, sample.targets, sample.lengths, dropout_key=key)
        norm = second.update(two.gradients, 0.01)
        assert metrics.norm == norm > 0.05
        assert np.array_equal(one.parameters.flat, two.parameters.flat)
        assert first.average
        assert second.average
        assert np.array_equal(first.average.flat, second.average.flat)


@DTYPES
def test_gradients_of_the_summed_loss_divided_by_a_number(dtype: str) -> None:
    """Of a ragged batch: `divisor` scales all gradients, and what every target has to say adds up to the metrics."""
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(6, 9, 4, dtype=dtype)), rng)
    sample = Sample(rng, 5, 7, 6, True)
    expected = expect(network, sample)
    before, optimizer = network.parameters.copy(), Optimizer(network.parameters, OptimizerConfig("sgd"))
    metrics, _ = network.step(sample.ids, sample.targets, optimizer, 0.1, sample.lengths, divisor=7)
    factor = metrics.count / 7
    for name, gradient in network.gradients.items():
        close(gradient, factor * expected.gradients[name], dtype)
        close(network.parameters[name], before[name] - 0.1 * factor * expected.gradients[name], dtype)
    losses, logits = network.per_target()
    assert losses.shape == (metrics.count,)
    assert losses.mean() == pytest.approx(metrics.loss, rel=1e-12)
    close(logits.sum(0), factor * expected.gradients["head.b"], dtype)


def test_a_sequence_may_be_cut_anywhere() -> None:
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(6, 5, 4, 2, dtype="float64", learned_state=True)), rng)
    sample = Sample(rng, 7, 3, 6)
    whole, final = network.forward(sample.ids)
    first, state = network.forward(sample.ids[:4])
    second, end = network.forward(sample.ids[4:], state=state)
    close(np.concatenate([first, second]), whole, "float64")
    close(end.h, final.h, "float64")
    assert np.array_equal(network.initial_state(2).h[:, 1], network.parameters["h0"])


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_a_row_does_not_see_the_others(precision: str) -> None:
    """Bit by bit: alone, in a batch, or with other lengths beside it."""
    if precision == "bf16" and target(BF16).product == AMX:
        pytest.skip("few rows are multiplied otherwise than many, and summed in another order")
    dtype, rng = "float64" if precision == "float64" else "float32", np.random.default_rng(0)
    # Few positions have their embeddings gathered, and in bf16 rounded; one-hot inputs never are.
    embedding = 0 if precision == "bf16" else 4
    network = randomize(Network(Architecture(6, 21, embedding, 2, dtype=dtype), precision=precision), rng)
    sample = Sample(rng, 7, 15, 6, True)
    assert sample.lengths is not None
    logits, state = network.forward(sample.ids, sample.lengths)
    for b in (0, 7, 14):
        T = sample.lengths[b]
        alone, end = network.forward(sample.ids[:T, b : b + 1])
        assert np.array_equal(alone[:, 0], logits[:T, b])
        assert np.array_equal(end.h[:, 0], state.h[:, b])
    assert not logits[np.arange(7)[:, None] >= sample.lengths].any()


def test_results_are_the_callers_own() -> None:
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(6, 5, 4)), rng)
    one, other = Sample(rng, 3, 2, 6), Sample(rng, 3, 2, 6)
    logits, state = network.forward(one.ids)
    kept = logits.copy(), state.h.copy(), state.c.copy()
    network.backward(other.ids, other.targets)
    for now, before in zip((logits, state.h, state.c), kept, strict=True):
        assert np.array_equal(now, before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_is_another_network(copied: Any) -> None:
    rng = np.random.default_rng(0)
    network, sample = randomize(Network(Architecture(6, 5, 4)), rng), Sample(rng, 3, 2, 6)
    twin, optimizer = copied((network, Optimizer(network.parameters)))
    before = network.parameters.flat.copy()
    loss = twin.step(sample.ids, sample.targets, optimizer, 0.1)[0].loss
    assert loss == network.evaluate(sample.ids, sample.targets)[0].loss
    assert np.array_equal(network.parameters.flat, before)
    assert not np.array_equal(twin.parameters["head.W"], network.parameters["head.W"])


def test_initial_weights_follow_the_seed() -> None:
    a = Architecture(6, 5, 4, forget_bias=0.75)
    one, same, other = (Network(a, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.parameters.flat, same.parameters.flat)
    assert not np.array_equal(one.parameters.flat, other.parameters.flat)
    assert one.parameters["lstm.0.b"].tolist() == [0] * 5 + [0.75] * 5 + [0] * 10


# Dropout


def test_dropout_masks_differ_and_keep_their_share() -> None:
    sample = Sample(np.random.default_rng(0), 20, 50, 6)
    keys = [*layer_keys(1, 3), *layer_keys(2, 3)]
    drawn = [mask(sample, 64, 0.3, key) for key in keys]
    for n, one in enumerate(drawn):
        assert one is not None
        assert (one > 0).mean() == pytest.approx(0.7, abs=0.01)
        assert one.max() == pytest.approx(1 / 0.7, rel=1e-6)
        # Neither units nor positions go together.
        assert ((one[:, :, 0] > 0) & (one[:, :, 1] > 0)).mean() == pytest.approx(0.49, abs=0.05)
        assert ((one[0] > 0) & (one[1] > 0)).mean() == pytest.approx(0.49, abs=0.03)
        for other in drawn[:n]:
            assert ((one > 0) & (other > 0)).mean() == pytest.approx(0.49, abs=0.01)


def test_without_a_key_nothing_is_dropped() -> None:
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(6, 5, 4, dropout=0.5, embedding_dropout=0.5)), rng)
    sample = Sample(rng, 3, 2, 6)
    plain = network.backward(sample.ids, sample.targets)[0].loss
    assert plain == network.evaluate(sample.ids, sample.targets)[0].loss
    assert plain != network.backward(sample.ids, sample.targets, dropout_key=0)[0].loss


def test_a_key_without_dropout_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    network, sample = randomize(Network(Architecture(6, 5, 4)), rng), Sample(rng, 3, 2, 6)
    losses = {network.backward(sample.ids, sample.targets, dropout_key=key)[0].loss for key in (None, 0, 9)}
    assert len(losses) == 1


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": 0}, "vocabulary is 0; it must be from 1 to"),
        ({"hidden": 0}, "hidden is 0; it must be from 1 to"),
        ({"embedding": -1}, "embedding is -1; it must be from 0 to"),
        ({"layers": 0}, "layers is 0; it must be from 1 to"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ({"dropout": float("nan")}, "dropout is nan"),
        ({"embedding_dropout": -0.1}, "embedding_dropout is -0.1; it must be at least 0 and below 1"),
        ({"dtype": "float16"}, "dtype is 'float16'; it must be float32 or float64"),
        ({"tied": True}, "needs embedding = hidden; they are 4 and 5"),
        ({"embedding": 0, "embedding_dropout": 0.5}, "one-hot inputs have no embedding to drop"),
    ],
)
def test_impossible_architectures(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FastLSTMError, match=re.escape(message)):
        Architecture(**{"vocabulary": 6, "hidden": 5, "embedding": 4} | changes)


IDS = np.zeros((3, 2), np.int32)
STATE = State(np.zeros((1, 2, 5)), np.zeros((1, 2, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": np.zeros(3, int)}, "ids have shape (3,); they must be (T, B)"),
        ({"ids": np.zeros((0, 2), int)}, "ids have shape (0, 2)"),
        ({"ids": np.zeros((3, 0), int)}, "ids have shape (3, 0)"),
        ({"ids": IDS.astype(float)}, "ids are float64; they must be integers"),
        ({"targets": IDS[:2]}, "targets have shape (2, 2); ids have (3, 2)"),
        ({"targets": IDS > 0}, "targets are bool; they must be integers"),
        ({"ids": IDS + 6}, "ids contain 6; with 6 characters they must lie in 0..5"),
        ({"targets": IDS - 1}, "targets contain -1; with 6 characters"),
        ({"targets": (IDS - 1).astype(np.int8)}, "targets contain -1"),
        ({"ids": IDS.astype(np.int64) + 2**32}, "ids contain 4294967296; with 6 characters"),
        ({"ids": IDS.astype(np.uint32) + 2**31}, "ids contain 2147483648"),
        ({"lengths": [3]}, "lengths are int64 (1,); they must be 2 integers"),
        ({"lengths": [3.0, 2.0]}, "lengths are float64 (2,)"),
        ({"lengths": [3, 0]}, "lengths lie in 0..3; they must lie in 1..3"),
        ({"lengths": [4, 1]}, "lengths lie in 1..4; they must lie in 1..3"),
        ({"lengths": [1, 3]}, "must not increase from row to row"),
        ({"state": State(np.zeros((1, 3, 5)), STATE.c)}, "state.h has shape (1, 3, 5); it must be (L, B, H) = (1, 2, 5)"),
        ({"state": State(STATE.h, np.zeros((2, 5)))}, "state.c has shape (2, 5)"),
    ],
)  # fmt: skip
def test_impossible_batches(arguments: dict[str, Any], message: str) -> None:
    network = Network(Architecture(6, 5, 4))
    given = {"ids": IDS, "targets": IDS} | arguments
    optimizer = Optimizer(network.parameters)
    calls = [
        network.evaluate,
        network.backward,
        lambda **given: network.step(optimizer=optimizer, rate=0.1, **given),
    ]
    if "targets" not in arguments:
        calls.append(lambda targets, **given: network.forward(**given))
    for call in calls:
        with pytest.raises(FastLSTMError, match=re.escape(message)):
            call(**given)
    assert optimizer.steps == 0


def test_moments_may_be_replaced() -> None:
    rng = np.random.default_rng(0)
    network, sample = randomize(Network(Architecture(6, 5, 4)), rng), Sample(rng, 3, 2, 6)
    optimizer = Optimizer(network.parameters)
    network.step(sample.ids, sample.targets, optimizer, 0.1)
    old = optimizer.moments["m"].copy()
    kept, optimizer.moments["m"] = optimizer.moments["m"], network.parameters.like()
    network.step(sample.ids, sample.targets, optimizer, 0.1)
    assert np.array_equal(kept.flat, old.flat)
    assert optimizer.moments["m"].flat.any()


def test_another_networks_optimizer_is_refused() -> None:
    network, other = Network(Architecture(6, 5, 4)), Network(Architecture(6, 5, 4))
    with pytest.raises(FastLSTMError, match="made for other parameters"):
        network.step(IDS, IDS, Optimizer(other.parameters), 0.1)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_frozen_network_packs_once_and_is_not_trained(precision: str) -> None:
    rng = np.random.default_rng(0)
    embedding = (
        0 if precision == "bf16" else 5
    )  # those of few positions are rounded, unless the network is frozen
    network = randomize(Network(Architecture(9, 20, embedding, 2), precision=precision), rng)
    small, large = Sample(rng, 4, 3, 9, True), Sample(rng, 7, 30, 9, False)

    def passes() -> list[np.ndarray]:
        found = []
        for s in (small, small, large, small):
            found.append(network.forward(s.ids, s.lengths)[0])
            found.append(network.evaluate(s.ids, s.targets, s.lengths)[0].loss)
            network.backward(s.ids, s.targets, s.lengths)
            found.append(network.gradients.flat.copy())
        return found

    free = passes()
    writeable = network.parameters["lstm.1.W"][:]
    network.frozen = True
    for one, other in zip(passes(), free, strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(ValueError, match="read-only"):
        network.parameters["head.b"][0] = 1
    optimizer = Optimizer(network.parameters)
    before = network.parameters.flat.copy()
    for train in (
        lambda: network.step(large.ids, large.targets, optimizer, 0.1),
        lambda: optimizer.update(network.gradients, 0.1),
    ):
        with pytest.raises(FastLSTMError, match="frozen"):
            train()
    assert optimizer.steps == 0
    assert np.array_equal(network.parameters.flat, before)
    assert not copy.deepcopy(network).frozen
    # What is packed stays as it was, whatever is written past the promise, until the network is free again.
    logits = network.forward(small.ids, small.lengths)[0]
    writeable[...] = 0
    assert np.array_equal(network.forward(small.ids, small.lengths)[0], logits)
    network.frozen = False
    assert not np.array_equal(network.forward(small.ids, small.lengths)[0], logits)
    network.parameters["head.b"][0] = 1
    network.step(large.ids, large.targets, optimizer, 0.1)


def test_a_frozen_network_packs_once_for_any_number_of_rows() -> None:
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(9, 256, 5)), rng)
    writeable = network.parameters["lstm.0.W"][:]
    network.frozen = True
    ids = rng.integers(0, 9, (4, 3))
    logits = network.forward(ids)[0]
    network.forward(ids[:, :1])
    writeable[...] = 0
    for rows in (1, 3, 2):
        np.testing.assert_allclose(network.forward(ids[:, :rows])[0], logits[:, :rows], atol=1e-5)


def test_an_interrupted_reservation_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    network, sample = randomize(Network(Architecture(9, 20, 5)), rng), Sample(rng, 7, 30, 9, False)
    twin = copy.deepcopy(network)

    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for method in ("_reserve_layer", "_reserve_head"):
        with monkeypatch.context() as patch:
            patch.setattr(Program, method, interrupt)
            with pytest.raises(KeyboardInterrupt):
                network.forward(sample.ids)
    assert np.array_equal(network.forward(sample.ids)[0], twin.forward(sample.ids)[0])
