"""PyTorch's own checks of every module, asked of ours: test_interop_torch_cases lists which apply."""

from __future__ import annotations

import pickle
import warnings

import pytest
from peers import require

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn

from fastlstm.interop.torch import LSTM

MODULES = [LSTM, nn.LSTM]  # what is asked of ours must hold for PyTorch's, or it is no transcription


@pytest.fixture(params=MODULES, ids=["ours", "theirs"])
def Module(request):
    torch.manual_seed(0)
    return request.param


def test_repr():
    options = {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.5, "bidirectional": True}
    assert repr(LSTM(3, 5, **options)) == repr(nn.LSTM(3, 5, **options))


def test_attributes_and_parameters():
    for options in ({}, {"num_layers": 2, "bidirectional": True, "bias": False}):
        ours, theirs = LSTM(3, 5, **options), nn.LSTM(3, 5, **options)
        assert [(n, p.shape) for n, p in ours.named_parameters()] == [
            (n, p.shape) for n, p in theirs.named_parameters()
        ]
        assert [len(w) for w in ours.all_weights] == [len(w) for w in theirs.all_weights]
        for name in nn.LSTM.__constants__:
            assert getattr(ours, name) == getattr(theirs, name)


def test_initial_weights_are_pytorchs():
    layers = []
    for Module in MODULES:
        torch.manual_seed(4)
        layers.append(Module(3, 5, 2))
    for a, b in zip(*(layer.parameters() for layer in layers), strict=True):
        assert torch.equal(a, b)


def test_pickle(Module):
    layer, x = Module(3, 5, 2), torch.randn(4, 2, 3)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], layer(x)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factory_arguments_and_conversion(Module, dtype):
    layer = Module(3, 5, device="cpu", dtype=dtype)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    assert layer(torch.randn(4, 2, 3, dtype=dtype))[0].dtype == dtype
    assert layer.double()(torch.randn(4, 2, 3).double())[0].dtype == torch.float64
    empty = Module(3, 5, device="meta").to_empty(device="cpu")
    empty.load_state_dict(layer.float().state_dict())
    x = torch.randn(4, 2, 3)
    assert torch.equal(empty(x)[0], layer(x)[0])


def test_training_and_evaluation_differ_only_in_dropout(Module):
    x = torch.randn(4, 2, 3)
    with warnings.catch_warnings(action="error"):
        for options in ({}, {"num_layers": 2}):
            layer = Module(3, 5, **options)
            assert torch.equal(layer.train()(x)[0], layer.eval()(x)[0])


@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_ih_l1"])
def test_weight_norm_as_a_parametrization(Module, name):
    layer, x = Module(3, 5, 2), torch.randn(4, 2, 3)
    before = layer(x)[0]
    nn.utils.parametrizations.weight_norm(layer, name)
    torch.testing.assert_close(layer(x)[0], before)
    layer(x)[0].sum().backward()
    original = getattr(layer.parametrizations, name).original1
    assert original.grad.abs().sum() > 0
    with torch.no_grad():
        original.mul_(2)
    torch.testing.assert_close(layer(x)[0], before)  # the norm is in the other parameter
    nn.utils.parametrize.remove_parametrizations(layer, name)
    torch.testing.assert_close(layer(x)[0], before)


def test_tied_weights():
    results = []
    for Module in MODULES:
        torch.manual_seed(0)
        layer = Module(5, 5, 2, dtype=torch.float64)
        layer.weight_hh_l1 = layer.weight_hh_l0
        out, _ = layer(torch.randn(4, 2, 5, dtype=torch.float64))
        out.sum().backward()
        results.append([out, layer.weight_hh_l0.grad])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_functional_call_uses_the_weights_it_is_given(Module):
    layer, other, x = Module(3, 5), Module(3, 5), torch.randn(4, 2, 3)
    out = torch.func.functional_call(layer, dict(other.named_parameters()), (x,))[0]
    assert torch.equal(out, other(x)[0])
    assert not torch.equal(out, layer(x)[0])


def test_gradients_follow_requires_grad(Module):
    layer, x = Module(3, 5), torch.randn(4, 2, 3)
    layer.requires_grad_(False)
    assert not layer(x)[0].requires_grad
    assert layer(x.requires_grad_())[0].requires_grad
    layer.requires_grad_(True)
    layer(x.detach())[0].sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
