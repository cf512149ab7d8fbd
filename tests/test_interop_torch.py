"""`fastlstm.interop.torch.LSTM` beside `torch.nn.LSTM`: outputs, gradients, memory, refusals."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from itertools import product

import pytest
from peers import require

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from fastlstm.interop import autograd
from fastlstm.interop.torch import LSTM

DOUBLE = torch.float64
SHAPES = [
    {},
    {"bias": False},
    {"num_layers": 3, "batch_first": True},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "bias": False, "batch_first": True},
]


def pair(dtype=DOUBLE, I=3, H=5, **options):
    """Our layer and PyTorch's with the same weights."""
    torch.manual_seed(0)
    theirs = nn.LSTM(I, H, dtype=dtype, **options)
    ours = LSTM(I, H, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def inputs(kind, layer, dtype=DOUBLE):
    """An input of some kind and matching states (h, c), all wanting gradients."""
    torch.manual_seed(1)
    LD = layer.num_layers * (2 if layer.bidirectional else 1)
    B = 4
    if kind == "unbatched":
        x = torch.randn(6, 3, dtype=dtype)
    elif kind == "packed":
        x = torch.randn(11, 3, dtype=dtype)
    else:
        x = torch.randn(*((B, 6, 3) if layer.batch_first else (6, B, 3)), dtype=dtype)
    shape = (LD, layer.hidden_size) if kind == "unbatched" else (LD, B, layer.hidden_size)
    states = tuple(torch.randn(*shape, dtype=dtype, requires_grad=True) for _ in "hc")
    return x.requires_grad_(), states


def wrap(kind, x):
    """The rows of x as a packed batch of lengths 3, 5, 1, 2, if that is asked for."""
    return pack_sequence(x.split([3, 5, 1, 2]), enforce_sorted=False) if kind == "packed" else x


def run(layer, kind, given):
    """All outputs and all gradients of a scalar that depends on every output."""
    x, states = inputs(kind, layer)
    out, final = layer(wrap(kind, x), states if given else None)
    outputs = [out.data if kind == "packed" else out, *final]
    torch.manual_seed(2)
    sum((y * torch.randn_like(y)).sum() for y in outputs).backward()
    leaves = [x, *(states if given else ()), *layer.parameters()]
    return [y.detach() for y in outputs], [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("kind", ["batched", "unbatched", "packed"])
@pytest.mark.parametrize("options", SHAPES)
def test_outputs_and_gradients_are_pytorchs(options, kind, given):
    ours, theirs = pair(**options)
    for comp, ref in zip(run(ours, kind, given), run(theirs, kind, given), strict=True):
        for a, b in zip(comp, ref, strict=True):
            assert a.shape == b.shape
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("H", [1, 7, 64])
def test_float32_is_close_to_pytorch(H):
    ours, theirs = pair(torch.float32, H=H)
    x = torch.randn(9, 5, 3)
    for a, b in zip(flat(ours(x)), flat(theirs(x)), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def flat(result):
    out, (h, c) = result
    return [out.data if isinstance(out, PackedSequence) else out, h, c]


def test_a_packed_result_keeps_the_order_of_its_sequences():
    ours, theirs = pair()
    x = torch.randn(5, 3, 3, dtype=DOUBLE)
    packed = pack_padded_sequence(x, [2, 5, 3], enforce_sorted=False)
    for a, b in zip(ours(packed)[0], theirs(packed)[0], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("bias", "bidirectional", "layers"), [*product([True, False], [True, False], [1, 2])]
)
def test_gradcheck(bias, bidirectional, layers):
    layer = LSTM(2, 2, layers, bias=bias, bidirectional=bidirectional, dtype=DOUBLE)
    names, weights = zip(*layer.named_parameters(), strict=True)
    LD = layers * (2 if bidirectional else 1)
    states = [torch.randn(LD, 2, 2, dtype=DOUBLE, requires_grad=True) for _ in "hc"]

    def function(x, h, c, *weights):
        return tuple(
            flat(torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, (h, c))))
        )

    x = torch.randn(3, 2, 2, dtype=DOUBLE, requires_grad=True)
    fast = layers > 1  # every entry was checked in one layer; in two, their composition
    assert torch.autograd.gradcheck(function, (x, *states, *weights), fast_mode=fast)
    rows = torch.randn(4, 2, dtype=DOUBLE, requires_grad=True)

    def ragged(rows, h, c, *weights):
        return function(pack_sequence(rows.split([3, 1])), h, c, *weights)

    assert torch.autograd.gradcheck(ragged, (rows, *states, *weights), fast_mode=fast)


def test_dropout_draws_the_same_mask_as_pytorch():
    ours, theirs = pair(num_layers=3, dropout=0.4)
    results = []
    for layer, kind in product((ours, theirs), ("batched", "packed")):
        x = wrap(kind, inputs(kind, layer)[0])
        torch.manual_seed(3)
        results.append(flat(layer(x))[0])
    torch.testing.assert_close(results[0], results[2])
    torch.testing.assert_close(results[1], results[3])
    x = inputs("batched", ours)[0]
    assert not torch.equal(flat(ours(x))[0], flat(ours(x))[0])
    torch.testing.assert_close(flat(ours.eval()(x))[0], flat(theirs.eval()(x))[0])


def test_save_load_and_copy():
    ours, theirs = pair(num_layers=2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(4, 2, 3, dtype=DOUBLE)
    file = io.BytesIO()
    torch.save(ours, file)
    file.seek(0)
    for other in (copy.deepcopy(ours), torch.load(file, weights_only=False)):
        assert other.forward.__self__.layer() is other
        assert torch.equal(other(x)[0], ours(x)[0])
        other.weight_hh_l0.data.zero_()
        assert not torch.equal(other(x)[0], ours(x)[0])


def test_threads_reach_the_engine(monkeypatch):
    seen = []
    forward, backward = autograd.forward, autograd.backward
    monkeypatch.setattr(autograd, "forward", lambda *a: seen.append(a[9]) or forward(*a))
    monkeypatch.setattr(autograd, "backward", lambda *a: seen.append(a[6]) or backward(*a))
    LSTM(3, 4, threads=1)(torch.zeros(2, 2, 3))[0].sum().backward()
    assert seen == [1, 1]


def test_without_pytorch_the_extra_is_named():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import fastlstm, fastlstm.commands.cli, fastlstm.interop.weights, fastlstm.interop.keras\n"
        "try:\n    import fastlstm.interop.torch\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "fastlstm.interop.torch needs PyTorch: pip install 'fastlstm[torch]'\n"
