"""PyTorch as the oracle: its LSTM and every gradient, its optimisers, and the losses of whole training runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import close, randomize
from peers import require

from fastlstm.engine.parameters import Parameters
from fastlstm.network.architecture import Architecture
from fastlstm.network.lstm import lstm_backward, lstm_forward
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig

torch = require("torch")
torch.set_num_threads(1)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def tensor(array: Any, learns: bool = False) -> Any:
    """A copy of an array, on which gradients are collected if it learns."""
    return torch.tensor(np.ascontiguousarray(array), requires_grad=learns)


def lstm_of(W: np.ndarray, b: np.ndarray) -> Any:
    """PyTorch's LSTM of these weights; its gates lie in the same order, its input's columns apart."""
    H = W.shape[0] // 4
    module = torch.nn.LSTM(W.shape[1] - H, H, dtype=getattr(torch, W.dtype.name))
    with torch.no_grad():
        module.weight_hh_l0.copy_(tensor(W[:, :H]))
        module.weight_ih_l0.copy_(tensor(W[:, H:]))
        module.bias_ih_l0.copy_(tensor(b))
        module.bias_hh_l0.zero_()
    return module


@st.composite
def cases(draw: Any) -> dict[str, Any]:
    odd = st.sampled_from([1, 2, 5, 8, 17, 25, 40])
    flags = {name: draw(st.booleans()) for name in ("ids", "ragged", "states", "final_gradients")}
    return flags | {
        "T": draw(st.integers(1, 8)),
        "B": draw(st.integers(1, 20)),
        "I": draw(odd),
        "H": draw(odd),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 2**32)),
    }


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(cases())
def test_the_layer_equals_torch(case: dict[str, Any]) -> None:
    check_layer(**case)


@DTYPES
@pytest.mark.parametrize(
    ("T", "B", "I", "H"), [(3, 2, 5, 300), (6, 1, 5, 300), (2, 30, 70, 130), (30, 13, 4, 6)]
)
def test_large_layers_equal_torch(T: int, B: int, I: int, H: int, dtype: str) -> None:
    check_layer(T, B, I, H, dtype, ids=False, ragged=True, states=True, final_gradients=True, seed=0)


def check_layer(
    T: int, B: int, I: int, H: int, dtype: str, ids: bool, ragged: bool, states: bool, final_gradients: bool,
    seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)

    def draw(*shape: int, size: float = 1.0) -> np.ndarray:
        return (size * rng.normal(size=shape)).astype(dtype)

    x = rng.integers(0, I, (T, B)) if ids else draw(T, B, I)
    W, b = draw(4 * H, H + I, size=(H + I) ** -0.5), draw(4 * H)
    h0, c0 = (draw(B, H) if states else None for _ in "hc")
    dh_n, dc_n = (draw(B, H) if final_gradients else None for _ in "hc")
    dout = draw(T, B, H)
    lengths = rng.integers(1, T + 1, B) if ragged else np.full(B, T)
    lengths[rng.integers(B)] = T
    dout[np.arange(T)[:, None] >= lengths] = 0

    module = lstm_of(W, b)
    dense = tensor(np.eye(I, dtype=dtype)[x] if ids else x, learns=True)
    start = [tensor(np.zeros((1, B, H), dtype) if s is None else s[None], learns=True) for s in (h0, c0)]
    packed = torch.nn.utils.rnn.pack_padded_sequence(dense, torch.tensor(lengths), enforce_sorted=False)
    result, (h, c) = module(packed, tuple(start))
    result = torch.nn.utils.rnn.pad_packed_sequence(result, total_length=T)[0]
    value = (result * tensor(dout)).sum()
    for state, gradient in ((h, dh_n), (c, dc_n)):
        if gradient is not None:
            value = value + (state[0] * tensor(gradient)).sum()
    value.backward()

    out, (h_n, c_n), cache = lstm_forward(x, W, b, h0, c0, lengths if ragged else None)
    gradients = lstm_backward(dout, cache, dh_n, dc_n)
    expected = {
        "W": torch.cat([module.weight_hh_l0.grad, module.weight_ih_l0.grad], 1),
        "b": module.bias_ih_l0.grad,
        "h0": start[0].grad[0],
        "c0": start[1].grad[0],
    }
    if not ids:
        expected["x"] = dense.grad
    close(out, result.detach(), dtype, "out")
    close(h_n, h[0].detach(), dtype, "h_n")
    close(c_n, c[0].detach(), dtype, "c_n")
    for name, gradient in expected.items():
        close(getattr(gradients, name), gradient, dtype, name)


# Optimisers

OPTIMIZERS = {
    "sgd": OptimizerConfig("sgd"),
    "momentum": OptimizerConfig("sgd", momentum=0.9),
    "adam": OptimizerConfig("adam", beta1=0.8, beta2=0.99, epsilon=1e-6),
    "adamw": OptimizerConfig("adamw", weight_decay=0.05),
    "clip by value": OptimizerConfig("adam", clip_value=0.5),
    "clip by norm": OptimizerConfig("adamw", weight_decay=0.01, clip_norm=2.0),
    "clip by both": OptimizerConfig("sgd", momentum=0.5, clip_value=0.7, clip_norm=2.0),
}


def torch_optimizer(tensors: dict[str, Any], c: OptimizerConfig) -> Any:
    """PyTorch's of the same configuration; decay pulls on the matrices alone."""
    if c.kind == "sgd":
        return torch.optim.SGD(tensors.values(), momentum=c.momentum)
    options = {"betas": (c.beta1, c.beta2), "eps": c.epsilon}
    if c.kind == "adam":
        return torch.optim.Adam(tensors.values(), **options)
    decayed = [one for name, one in tensors.items() if name.endswith(".W")]
    others = [one for name, one in tensors.items() if not name.endswith(".W")]
    groups = [{"params": decayed, "weight_decay": c.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, **options)


def torch_step(tensors: dict[str, Any], optimizer: Any, c: OptimizerConfig, rate: float) -> None:
    """Clip and update, as one does it in PyTorch."""
    if c.clip_value:
        torch.nn.utils.clip_grad_value_(tensors.values(), c.clip_value)
    if c.clip_norm:
        torch.nn.utils.clip_grad_norm_(tensors.values(), c.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


@DTYPES
@pytest.mark.parametrize("config", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_a_hundred_steps_of_every_optimizer(config: OptimizerConfig, dtype: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"embedding": (7, 5), "lstm.0.W": (12, 8), "lstm.0.b": (12,), "head.W": (7, 3)}
    parameters, gradients = Parameters(shapes, dtype), Parameters(shapes, dtype)
    for _, view in parameters.items():
        view[...] = rng.normal(size=view.shape)
    tensors = {name: tensor(view, learns=True) for name, view in parameters.items()}
    ours, theirs = Optimizer(parameters, config), torch_optimizer(tensors, config)
    for step in range(100):
        for name, view in gradients.items():
            view[...] = (0.03 if step % 3 else 1) * rng.normal(size=view.shape)
            tensors[name].grad = tensor(view)
        rate = 0.01 / (1 + step / 20)
        ours.update(gradients, rate)
        torch_step(tensors, theirs, config, rate)
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    for name, view in parameters.items():
        np.testing.assert_allclose(view, tensors[name].detach(), rtol=tolerance, atol=tolerance, err_msg=name)


# Whole runs


def torch_network(network: Network) -> tuple[dict[str, Any], Any]:
    """The network's parameters as tensors, and a function of ids to logits."""
    a = network.architecture
    tensors = {name: tensor(view, learns=True) for name, view in network.parameters.items()}
    H = a.hidden
    module = torch.nn.LSTM(a.embedding or a.vocabulary, H, a.layers, dtype=getattr(torch, a.dtype))

    def logits(ids: Any) -> Any:
        x = torch.nn.functional.embedding(ids, tensors["embedding"])
        weights = {}
        for l in range(a.layers):
            W, b = tensors[f"lstm.{l}.W"], tensors[f"lstm.{l}.b"]
            weights[f"weight_hh_l{l}"], weights[f"weight_ih_l{l}"] = W[:, :H], W[:, H:]
            weights[f"bias_ih_l{l}"], weights[f"bias_hh_l{l}"] = b, torch.zeros_like(b)
        out = torch.func.functional_call(module, weights, (x,))[0]
        return out @ tensors["head.W"].T + tensors["head.b"]

    return tensors, logits


# An epsilon that keeps Adam from making steps of rounding errors, which no two float32 programs share.
RUNS = {
    "adam": (OptimizerConfig("adam", epsilon=1e-4), 2e-3),
    "adamw": (OptimizerConfig("adamw", epsilon=1e-4, weight_decay=0.01, clip_norm=1.0), 2e-3),
    "momentum": (OptimizerConfig("sgd", momentum=0.9, clip_value=0.05, clip_norm=1.0), 0.05),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("float64", 1e-8)])
@pytest.mark.parametrize(("config", "rate"), RUNS.values(), ids=RUNS.keys())
@pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk")
def test_loss_curves_of_300_steps(config: OptimizerConfig, rate: float, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    network = randomize(Network(Architecture(11, 16, 8, 2, dtype=dtype)), rng)
    tensors, logits = torch_network(network)
    ours, theirs = Optimizer(network.parameters, config), torch_optimizer(tensors, config)
    # Sequences with something to learn: the next character is one of three.
    text = (np.cumsum(rng.integers(0, 3, (4, 10, 6)), axis=1) % 11).astype(np.int32)
    losses, expected = [], []
    for step in range(300):
        ids, targets = text[step % 4][:-1], text[step % 4][1:]
        losses.append(network.step(ids, targets, ours, rate)[0].loss)
        theirs.zero_grad()
        wanted = torch.tensor(targets.reshape(-1).astype(np.int64))
        loss = torch.nn.functional.cross_entropy(logits(torch.tensor(ids)).reshape(-1, 11), wanted)
        loss.backward()
        torch_step(tensors, theirs, config, rate)
        expected.append(loss.item())
    assert expected[-1] < expected[0] / 2
    np.testing.assert_allclose(losses, expected, rtol=0, atol=tolerance)
