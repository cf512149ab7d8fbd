"""zoo-A, zoo-B and the walkthrough: the mathematics of their oracle, and the cells of their notebooks."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import notebook_oracles as oracle
import numpy as np
import pytest

from fastlstm.errors import FastLSTMError
from fastlstm.notebooks import walkthrough, zoo_a, zoo_b
from fastlstm.notebooks.soliloquy import SOLILOQUY, SOLILOQUY_LITERAL

TEXT = SOLILOQUY[:120]
CHARACTERS = sorted(set(TEXT))
V, H = len(CHARACTERS), 7
INDEX = {c: n for n, c in enumerate(CHARACTERS)}
IDS = [INDEX[c] for c in TEXT]

B_NAMES = {"f": "forget", "i": "input", "c": "candidate", "o": "output", "y": "final"}
NAMES = {
    zoo_a: {kind + gate: kind + gate for kind in "wb" for gate in "ficoy"},
    zoo_b: {
        kind[0] + gate: f"{kind}_{name}" for kind in ("weight", "bias") for gate, name in B_NAMES.items()
    },
    walkthrough: {kind + gate: kind + gate for kind in "wb" for gate in "ficoy"},
}


def make(module: Any, epochs: int, **keywords: Any) -> Any:
    return module.LSTM(
        input_size=V + H, hidden_size=H, output_size=V, num_epochs=epochs, learning_rate=0.05, **keywords
    )


def weights(lstm: Any, module: Any) -> dict[str, np.ndarray]:
    """Copies of a network's weights under zoo-A's names."""
    return {ours: getattr(lstm, theirs).copy() for ours, theirs in NAMES[module].items()}


def columns(text: str) -> list[np.ndarray]:
    return [oracle.column(INDEX[c], V) for c in text]


def fit(lstm: Any, module: Any) -> None:
    if module is walkthrough:
        lstm.train(columns(TEXT[:-1]), TEXT[1:], INDEX)
    else:
        lstm.train(TEXT[:-1], TEXT[1:])


def update_piecewise(lstm: Any, module: Any) -> None:
    """One update as a cell would write it."""
    outputs = lstm.forward(columns(TEXT[:-1]))
    errors = [oracle.softmax(y) - oracle.column(n, V) for y, n in zip(outputs, IDS[1:], strict=True)]
    if module is walkthrough:
        lstm.backward(errors, outputs)
    else:
        learn = lstm.backward if module is zoo_a else lstm.bptt
        learn([-error for error in errors], lstm.concat_inputs)


@pytest.fixture(autouse=True)
def seed() -> None:
    np.random.seed(3)  # noqa: NPY002


@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_twenty_updates_are_the_oracles(module: Any) -> None:
    lstm = make(module, 20)
    w = weights(lstm, module)
    fit(lstm, module)
    losses = oracle.descend(w, IDS[:-1], IDS[1:], 0.05, 20)
    np.testing.assert_allclose(lstm.losses, losses, rtol=0, atol=1e-9)
    assert losses[-1] < losses[0] - 0.5
    for name, value in weights(lstm, module).items():
        np.testing.assert_allclose(value, w[name], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_pieces_are_the_training(module: Any) -> None:
    """`forward`, errors and `backward` in a loop move the weights as `train` does."""
    lstm, trained = make(module, 3), make(module, 3)
    for name in NAMES[module].values():
        setattr(lstm, name, getattr(trained, name))
    fit(trained, module)
    for _ in range(3):
        update_piecewise(lstm, module)
    for name, value in weights(lstm, module).items():
        np.testing.assert_allclose(value, weights(trained, module)[name], rtol=0, atol=1e-12)


def test_float32_is_close() -> None:
    lstm, double = make(zoo_a, 5, dtype="float32"), make(zoo_a, 5)
    for name, value in lstm.parameters.items():
        double.parameters[name][...] = value
    fit(lstm, zoo_a)
    fit(double, zoo_a)
    assert lstm.wf.dtype == np.float32
    np.testing.assert_allclose(lstm.losses, double.losses, rtol=1e-4)


@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_draws_follow_numpys_generator(module: Any) -> None:
    """The notebook's own lines, under the same seed, give the same first weights."""
    np.random.seed(5)  # noqa: NPY002
    lstm = make(module, 1)
    np.random.seed(5)  # noqa: NPY002
    for gate in "ficoy":
        shape = (V, H) if gate == "y" else (H, H + V)
        expected = np.random.uniform(-1, 1, shape) * np.sqrt(6 / sum(shape))  # noqa: NPY002
        assert np.array_equal(getattr(lstm, NAMES[module]["w" + gate]), expected)
        bias = getattr(lstm, NAMES[module]["b" + gate])
        if module is walkthrough:
            column = (shape[0], 1)
            assert np.array_equal(bias, np.random.uniform(-1, 1, column) * np.sqrt(6 / sum(column)))  # noqa: NPY002
        else:
            assert not bias.any()
    given = make(module, 1, rng=np.random.RandomState(5))
    assert np.array_equal(given.parameters.flat, lstm.parameters.flat)


def test_zoo_a_cells(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """zoo-A's cells after the class, with a vocabulary in another order than the sorted one."""
    char_to_idx = {c: n for n, c in enumerate(reversed(CHARACTERS))}
    monkeypatch.setattr(sys.modules["__main__"], "char_to_idx", char_to_idx, raising=False)
    hidden_size = 16
    lstm = zoo_a.LSTM(V + hidden_size, hidden_size, V, 400, 0.05)
    lstm.train(TEXT[:-1], TEXT[1:])
    assert lstm.char_to_idx == char_to_idx
    assert lstm.idx_to_char[0] == CHARACTERS[-1]
    assert lstm.losses[-1] < 0.1

    lstm.test(TEXT[:-1], TEXT[1:])
    printed = capsys.readouterr().out
    assert f"Ground Truth:\n{TEXT[1:]}\n" in printed
    accuracy = float(printed.rpartition("Accuracy: ")[2].rstrip("%\n"))
    predictions = printed.partition("Predictions:\n")[2].partition("\n\nAccuracy")[0]
    assert len(predictions) == len(TEXT) - 1
    right = sum(a == b for a, b in zip(predictions, TEXT[1:], strict=True))
    assert accuracy == round(100 * right / (len(TEXT) - 1), 2)
    assert accuracy > 85

    # The column of a character is where the caller's own vocabulary puts it.
    inputs = [zoo_a.oneHotEncode(c) for c in TEXT[:-1]]
    assert inputs[0].shape == (V, 1)
    assert inputs[0][char_to_idx["t"], 0] == 1
    logits = lstm.forward(inputs)
    assert logits[0].shape == (V, 1)
    greedy = "".join(lstm.idx_to_char[int(y.argmax())] for y in logits)
    assert greedy == TEXT[1:]


def test_draws_of_test_are_those_of_choice(capsys: pytest.CaptureFixture[str]) -> None:
    """`np.random.choice` with the network's softmax, under the same seed, gives the printed predictions."""
    lstm = make(zoo_a, 2, char_to_idx=INDEX)
    fit(lstm, zoo_a)
    np.random.seed(11)  # noqa: NPY002
    lstm.test(TEXT[:-1], TEXT[1:])
    printed = capsys.readouterr().out
    np.random.seed(11)  # noqa: NPY002
    for y, letter in zip(
        lstm.forward(columns(TEXT[:-1])), printed.partition("Predictions:\n")[2], strict=False
    ):
        drawn = np.random.choice([*range(V)], p=oracle.softmax(y).reshape(-1))  # noqa: NPY002
        assert CHARACTERS[drawn] == letter


def test_zoo_b_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """zoo-B's file holds the literal itself; predictions are joined with spaces."""
    text = SOLILOQUY_LITERAL
    size = len(set(text))
    lstm = zoo_b.LSTM(input_size=size + 5, output_size=size, hidden_size=5, num_epochs=2, learning_rate=0.05)
    lstm.train(text[:-1], text[1:])
    assert list(lstm.char_to_idx) == sorted(set(text))
    lstm.test(text[:-1], text[1:])
    predictions = capsys.readouterr().out.partition("Predictions:\n")[2].partition("\n\nAccuracy")[0]
    assert len(predictions) == 2 * (len(text) - 1) - 1
    lstm.reset_memory()
    assert (list(lstm.hidden_state), list(lstm.cell_state), list(lstm.output)) == ([-1], [-1], [])
    assert zoo_b.one_hot_encoder("b", {"a": 0, "b": 1}).tolist() == [[0], [1]]


def test_walkthrough_cells() -> None:
    inputs = walkthrough.oneHotEncode(TEXT[:-1], V, INDEX)
    lstm = walkthrough.LSTM(V + 16, 16, V, 0.02, 600)
    lstm.train(inputs, TEXT[1:], INDEX)
    assert np.isfinite(lstm.losses).all()
    counts = np.unique(list(TEXT), return_counts=True)[1] / len(TEXT)
    assert lstm.losses[-1] < -(counts * np.log(counts)).sum() / 4
    text = lstm.inference(inputs, dict(enumerate(CHARACTERS)))
    assert sum(a == b for a, b in zip(text, TEXT[1:], strict=True)) > 100
    with pytest.raises(FastLSTMError, match="not the one"):
        lstm.inference(inputs, dict(enumerate(reversed(CHARACTERS))))
    with pytest.raises(FastLSTMError, match="one-hot"):
        lstm.train([2 * column for column in inputs], TEXT[1:], INDEX)


def test_the_walkthroughs_opening_check() -> None:
    """[h, c] @ [[A], [B]] equals h@A + c@B: why h and x can share one product."""
    rng = np.random.default_rng(0)
    h, c, A, B = (rng.normal(size=shape) for shape in ((1, 3), (1, 4), (3, 5), (4, 5)))
    np.testing.assert_allclose(np.concatenate([h, c], 1) @ np.concatenate([A, B]), h @ A + c @ B, atol=1e-15)


STEP_NAMES = {
    zoo_a: ("concat_inputs", "hidden_states", "cell_states", "forget_gates", "input_gates", "candidate_gates",
            "output_gates"),
    zoo_b: ("concat_inputs", "hidden_state", "cell_state", "forget_gates", "input_gates", "candidate_gates",
            "output_gates"),
    walkthrough: ("concatenated_input", "hidden_state", "cell_state", "forget_gate", "input_gate",
                  "intermediate_cell_state", "output_gate"),
}  # fmt: skip


@pytest.mark.parametrize("after", ["forward", "train"])
@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_per_step_dictionaries(module: Any, after: str) -> None:
    """Every quantity of the last forward pass satisfies the cell's equations with that pass's weights."""
    lstm = make(module, 3)
    if after == "train":  # the last pass saw the weights before the last update
        lstm.num_epochs = 2
        fit(lstm, module)
        w = weights(lstm, module)
        lstm.num_epochs = 1
        fit(lstm, module)
    else:
        w = weights(lstm, module)
        lstm.forward(columns(TEXT[:-1]))
    z, h, c, f, i, g, o = (getattr(lstm, name) for name in STEP_NAMES[module])
    T = len(TEXT) - 1
    assert list(h) == list(c) == list(range(-1, T))
    assert list(z) == list(f) == list(range(T))
    assert not h[-1].any()
    assert not c[-1].any()
    for t in (0, 1, T - 1):
        assert np.array_equal(z[t], np.concatenate([h[t - 1], oracle.column(IDS[t], V)]))
        gates = {name: w["w" + name] @ z[t] + w["b" + name] for name in "fico"}
        for ours, name in ((f, "f"), (i, "i"), (o, "o")):
            np.testing.assert_allclose(ours[t], oracle.sigmoid(gates[name]), atol=1e-12)
        np.testing.assert_allclose(g[t], np.tanh(gates["c"]), atol=1e-12)
        np.testing.assert_allclose(c[t], f[t] * c[t - 1] + i[t] * g[t], atol=1e-12)
        np.testing.assert_allclose(h[t], o[t] * np.tanh(c[t]), atol=1e-12)
        assert h[t].shape == (H, 1)
    with pytest.raises(KeyError):
        f[-1]
    with pytest.raises(ValueError, match="read-only"):
        h[0][...] = 1


def test_dictionaries_before_and_after_a_reset() -> None:
    lstm = make(zoo_a, 1)
    for _ in range(2):
        assert list(lstm.hidden_states) == [-1]
        assert not lstm.hidden_states[-1].any()
        assert len(lstm.forget_gates) == len(lstm.concat_inputs) == 0
        assert lstm.activation_outputs == lstm.outputs == {}
        lstm.forward(columns(TEXT[:3]))
        assert len(lstm.hidden_states) == 4
        lstm.reset()


@pytest.mark.parametrize("write", ["in place", "assign", "add"])
@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_weights_are_views(module: Any, write: str) -> None:
    """Whatever way a weight is written, the next pass and the next training use it."""
    lstm = make(module, 1)
    for name, theirs in NAMES[module].items():
        value = np.full(getattr(lstm, theirs).shape, 0.25)
        if write == "in place":
            getattr(lstm, theirs)[...] = value
        elif write == "assign":
            setattr(lstm, theirs, value)
        else:
            getattr(lstm, theirs)[...] = 0.0
            exec(f"lstm.{theirs} += value")
        assert np.array_equal(getattr(lstm, theirs), value), name
    w = weights(lstm, module)
    assert np.ptp(lstm.forward(columns(TEXT[:1]))[0]) == 0
    fit(lstm, module)
    np.testing.assert_allclose(lstm.losses, oracle.descend(w, IDS[:-1], IDS[1:], 0.05, 1), atol=1e-12)
    with pytest.raises(FastLSTMError, match=r"cannot be assigned"):
        setattr(lstm, NAMES[module]["wf"], np.zeros((H, H)))


def refused(action: Callable[[], object], match: str) -> None:
    with pytest.raises(FastLSTMError, match=match) as caught:
        action()
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused() -> None:
    lstm = make(zoo_a, 1)
    inputs = columns(TEXT[:-1])
    refused(lambda: lstm.backward([], {}), "call forward")
    refused(lambda: lstm.forward([]), "nothing")
    refused(lambda: lstm.forward([column.T for column in inputs]), "expected a list of columns")
    outputs = lstm.forward(inputs)
    refused(lambda: lstm.backward(outputs[:3], lstm.concat_inputs), "3 errors for a forward pass of 119")
    refused(
        lambda: lstm.backward(outputs, {t: np.zeros((H + V, 1)) for t in range(len(inputs))}), "concat_inputs"
    )
    refused(lambda: lstm.train(TEXT, TEXT[1:]), "120 inputs and 119 labels")
    refused(lambda: lstm.train("", ""), "0 inputs")
    refused(lambda: zoo_a.LSTM(V, H, V + 1, 1, 0.1), "hidden_size")
    refused(lambda: make(zoo_a, 1, dtype="float16"), "float32 or float64")


def test_a_copy_of_the_inputs_will_do() -> None:
    lstm, other = make(zoo_a, 1), make(zoo_a, 1)
    other.parameters.flat[:] = lstm.parameters.flat
    for network, passed in ((lstm, dict), (other, lambda inputs: inputs)):
        outputs = network.forward(columns(TEXT[:-1]))
        network.backward(outputs, passed(network.concat_inputs))
    assert np.array_equal(lstm.parameters.flat, other.parameters.flat)


@pytest.mark.parametrize("module", NAMES, ids=lambda module: module.__name__.rpartition(".")[2])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_a_copy_has_memory_of_its_own(module: Any, copied: Callable[[Any], Any]) -> None:
    lstm = make(module, 3)
    fit(lstm, module)
    other, before = copied(lstm), weights(lstm, module)
    assert other.char_to_idx == INDEX
    fit(other, module)
    for name, value in before.items():
        assert np.array_equal(getattr(lstm, NAMES[module][name]), value)
    fit(lstm, module)
    assert other.losses == lstm.losses


def test_a_diverging_training_stops() -> None:
    lstm = make(zoo_a, 50)
    lstm.by[...] = np.nan
    refused(lambda: lstm.train(TEXT[:-1], TEXT[1:]), "diverged at epoch 1")


def test_the_soliloquy_is_learnt() -> None:
    """zoo-A's job at its own sizes: 1,000 epochs, hidden 25."""
    size = len(set(SOLILOQUY))
    assert (len(SOLILOQUY), size) == (866, 32)
    assert (len(SOLILOQUY_LITERAL), len(set(SOLILOQUY_LITERAL))) == (901, 35)
    np.random.seed(0)  # noqa: NPY002
    lstm = zoo_a.LSTM(size + 25, 25, size, 1000, 0.05)
    lstm.train(SOLILOQUY[:-1], SOLILOQUY[1:])
    assert lstm.losses[-1] < 0.01
    inputs = [oracle.column(lstm.char_to_idx[c], size) for c in SOLILOQUY[:-1]]
    greedy = [lstm.idx_to_char[int(y.argmax())] for y in lstm.forward(inputs)]
    assert np.mean([a == b for a, b in zip(greedy, SOLILOQUY[1:], strict=True)]) >= 0.99
