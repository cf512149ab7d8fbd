"""The drop-in under autocast to bfloat16: the dtypes that `torch.nn.LSTM` gives there, and errors of rounding alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from peers import require
from rounded import bfloat16_steps, rounded

from fastlstm.network import reference

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from fastlstm.interop.torch import LSTM

DTYPES = torch.float32, torch.bfloat16
STATES = [None, *itertools.product(DTYPES, DTYPES)]


def dtypes(make: Any, x: Any, states: Any, weights: Any, packed: bool) -> list[Any]:
    """Of the results, and of all gradients."""
    torch.manual_seed(0)
    layer, x = make(3, 4, 2, bidirectional=True).to(weights), torch.randn(5, 2, 3).to(x).requires_grad_()
    hx = None if states is None else [torch.zeros(4, 2, 4, dtype=d, requires_grad=True) for d in states]
    with torch.autocast("cpu", torch.bfloat16):
        out, final = layer(pack_padded_sequence(x, torch.tensor([5, 3])) if packed else x, hx and tuple(hx))
    results = [out.data if packed else out, *final]
    leaves = [x, *(hx or []), *layer.parameters()]
    gradients = torch.autograd.grad(sum(result.float().sum() for result in results), leaves)
    return [each.dtype for each in (*results, *gradients)]


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_results_and_gradients_have_the_dtypes_of_pytorchs_own(packed: bool, onednn: bool) -> None:
    before = torch.backends.mkldnn.set_flags(onednn)
    try:
        for case in itertools.product(DTYPES, STATES, DTYPES):
            ours, theirs = (dtypes(make, *case, packed) for make in (layer_of, nn.LSTM))
            assert ours == theirs, case
    finally:
        torch.backends.mkldnn.set_flags(before[0])


def layer_of(*sizes: int, **options: Any) -> nn.LSTM:
    return LSTM(*sizes, fallback=False, **options)


def error(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def by_the_oracle(
    layer: nn.LSTM, x: Any, h0: Any, c0: Any, dout: Any, lengths: Any, *, coarse: bool
) -> list[np.ndarray]:
    """out, h_n, c_n and the gradients of x, h0, c0 and the weights for a loss of Σ out · dout, sequence by sequence.

    `coarse`: with operands rounded.
    """
    weights = [weight.detach().double().numpy() for weight in layer.parameters()]
    D, (T, B, _), H = len(weights) // 4, x.shape, layer.hidden_size
    out, states = np.zeros((T, B, D * H)), np.zeros((2, D, B, H))
    dx, d_states = np.zeros(x.shape), np.zeros((2, D, B, H))
    gradients = [np.zeros(weight.shape) for weight in weights]
    operand = rounded if coarse else np.asarray
    for d, b in itertools.product(range(D), range(B)):
        w_ih, w_hh, b_ih, b_hh = weights[4 * d : 4 * d + 4]
        W, real, part = operand(np.hstack([w_hh, w_ih])), lengths[b], slice(d * H, (d + 1) * H)
        given = operand(x[:real, b]), W, b_ih + b_hh, h0[d, b], c0[d, b]
        with bfloat16_steps() if coarse else pytest.MonkeyPatch.context():
            y, *states[:, d, b], cache = reference.lstm_sequence_forward(*given, reverse=d == 1)
            found = reference.lstm_sequence_backward(dout[:real, b, part], cache, W, reverse=d == 1)
        out[:real, b, part] = y
        dx[:real, b] += found.x
        d_states[:, d, b] = found.h0, found.c0
        mine = found.W[:, H:], found.W[:, :H], found.b, found.b
        for gradient, own in zip(gradients[4 * d : 4 * d + 4], mine, strict=True):
            gradient += own
    return [out, *states, dx, *d_states, *gradients]


@pytest.mark.parametrize(
    ("T", "B", "I", "H", "bidirectional"),
    [(1, 1, 1, 1, False), (7, 5, 9, 13, True), (3, 2, 20, 261, False), (12, 14, 33, 40, True)],
)
@pytest.mark.parametrize("ragged", [False, True])
def test_errors_are_those_of_rounding(T: int, B: int, I: int, H: int, bidirectional: bool, ragged: bool) -> None:  # fmt: skip
    torch.manual_seed(1)
    D = 2 if bidirectional else 1
    layers = [make(I, H, bidirectional=bidirectional) for make in (layer_of, nn.LSTM)]
    layers[1].load_state_dict(layers[0].state_dict())
    x, h0, c0 = torch.randn(T, B, I), torch.randn(D, B, H), torch.randn(D, B, H)
    lengths = torch.arange(T, T - B, -1).clamp(1) if ragged else torch.full((B,), T)
    # Such as bfloat16 holds, in which it arrives.
    dout = torch.randn(T, B, D * H).bfloat16().float() * (torch.arange(T)[:, None, None] < lengths[:, None])
    ours, theirs = (by_torch(layer, x, h0, c0, dout, lengths, ragged) for layer in layers)
    x, h0, c0, dout = (tensor.double().numpy() for tensor in (x, h0, c0, dout))
    exact, twin = (
        by_the_oracle(layers[0], x, h0, c0, dout, lengths.tolist(), coarse=c) for c in (False, True)
    )
    if not ragged:  # results are in bfloat16
        twin[:3] = map(rounded, twin[:3])
    for n, arrays in enumerate(zip(ours, theirs, exact, twin, strict=True)):
        found, pytorchs, right, emulated = arrays
        assert error(found, right) <= 1.5 * error(emulated, right) + 1e-6, n
        assert error(found, right) <= 1.1 * error(pytorchs, right) + 1e-6, n


def by_torch(
    layer: nn.LSTM, x: Any, h0: Any, c0: Any, dout: Any, lengths: Any, packed: bool
) -> list[np.ndarray]:
    """What `by_the_oracle` computes, by a layer under autocast."""
    leaves = [each.clone().requires_grad_() for each in (x, h0, c0)]
    with torch.autocast("cpu", torch.bfloat16):
        if packed:
            out, final = layer(pack_padded_sequence(leaves[0], lengths), (leaves[1], leaves[2]))
            out = nn.utils.rnn.pad_packed_sequence(out)[0]
        else:
            out, final = layer(leaves[0], (leaves[1], leaves[2]))
    gradients = torch.autograd.grad((out.float() * dout).sum(), [*leaves, *layer.parameters()])
    return [each.detach().double().numpy() for each in (out, *final, *gradients)]
