"""Our LSTM in PyTorch's graph: what is kept and for how long, and what may change meanwhile."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from peers import require

torch = require("torch")  # first: without it the file is skipped, and what follows cannot be imported
# ruff: noqa: E402

from torch import nn

from fastlstm.interop import autograd
from fastlstm.interop.torch import LSTM

DOUBLE = torch.float64


def gradients(layer, x):
    """Of a scalar by the layer's parameters, with the two states used too."""
    out, (h, c) = layer(x)
    return torch.autograd.grad(out.pow(2).sum() + h.sum() + c.sum(), list(layer.parameters()))


def test_calls_from_several_threads_do_not_touch_each_other():
    torch.manual_seed(0)
    layer = LSTM(3, 16, 2, bidirectional=True)
    batches = [torch.randn(12, B, 3) for B in (1, 5, 2, 9)] * 4
    expected = [gradients(layer, x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda x: gradients(layer, x), batches)
        for ref, comp in zip(expected, found, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ref, comp, strict=True))


def test_the_two_biases_do_not_share_a_gradient():
    layer = LSTM(3, 4)
    layer(torch.randn(2, 2, 3))[0].sum().backward()
    assert torch.equal(layer.bias_ih_l0.grad, layer.bias_hh_l0.grad)
    layer.bias_ih_l0.grad.zero_()
    assert layer.bias_hh_l0.grad.abs().sum() > 0


def test_used_twice_in_one_graph():
    torch.manual_seed(0)
    theirs, x = nn.LSTM(3, 5, dtype=DOUBLE), torch.randn(6, 4, 3, dtype=DOUBLE)
    ours = LSTM(3, 5, dtype=DOUBLE)
    ours.load_state_dict(theirs.state_dict())
    for layer in (ours, theirs):
        out, state = layer(x)
        again, _ = layer(out[..., :3] * 2, state)
        (again.sum() + out.pow(2).sum()).backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_outputs_may_change_before_the_backward_pass():
    layer = LSTM(3, 4, dtype=DOUBLE)
    x = torch.randn(3, 2, 3, dtype=DOUBLE)
    layer(x)[0].sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    out, _ = layer(x)
    loss = out.sum()
    with torch.no_grad():
        out.zero_()
    loss.backward()
    for p, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_frozen_weights_get_no_gradient():
    layer = LSTM(3, 4)
    layer.weight_hh_l0.requires_grad_(False)
    layer.bias_ih_l0.requires_grad_(False)
    layer(torch.randn(2, 2, 3))[0].sum().backward()
    grads = {name: p.grad is not None for name, p in layer.named_parameters()}
    assert grads == {"weight_ih_l0": True, "weight_hh_l0": False, "bias_ih_l0": False, "bias_hh_l0": True}


@pytest.fixture
def caches(monkeypatch):
    """What the engine returns as caches, weakly, in the order of the calls; None where nothing was kept."""
    found = []
    forward = autograd.forward

    def spy(*arguments):
        result = forward(*arguments)
        found.append(result and weakref.ref(result))
        return result

    monkeypatch.setattr(autograd, "forward", spy)
    return found


def test_nothing_is_kept_where_no_gradient_is_wanted(caches):
    layer, x = LSTM(3, 4), torch.randn(2, 2, 3)
    with torch.no_grad():
        assert not layer(x)[0].requires_grad
    with torch.inference_mode():
        assert not layer(x)[0].requires_grad
    assert layer(x)[0].requires_grad
    assert not layer.requires_grad_(False)(x)[0].requires_grad
    assert [cache is None for cache in caches] == [True, True, False, True]


def test_caches_live_until_the_backward_pass_or_the_graphs_end(caches):
    loss = LSTM(3, 4, 2, bidirectional=True)(torch.randn(2, 2, 3))[0].sum()
    loss.backward(retain_graph=True)
    assert [cache() is None for cache in caches] == [False, False]
    loss.backward()
    assert [cache() is None for cache in caches] == [True, True]
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    out = LSTM(3, 4)(torch.randn(2, 2, 3))
    assert caches[-1]() is not None
    del out
    assert caches[-1]() is None


def test_recomputation_under_checkpoint():
    from torch.utils.checkpoint import checkpoint

    layer = LSTM(3, 4, dtype=DOUBLE)
    grads = []
    for function in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        x = torch.arange(12, dtype=DOUBLE).reshape(2, 2, 3).requires_grad_()
        layer.zero_grad()
        function(x)[0].sum().backward()
        grads.append([x.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)
