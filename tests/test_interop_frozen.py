"""Weights that are packed once: the same bytes, made anew after every change that PyTorch counts, and only where promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fastlstm.interop import frozen  # noqa: E402
from fastlstm.interop.torch import LSTM, accelerate  # noqa: E402

KINDS = {
    "one": {},
    "without biases": {"bias": False},
    "stack": {"num_layers": 2, "bidirectional": True, "dropout": 0.5},
}


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is packed, in turn."""
    made: list[Any] = []
    pack = frozen._pack
    monkeypatch.setattr(frozen, "_pack", lambda *what: made.append(what) or pack(*what))
    return made


def pair(**options: Any) -> tuple[Any, Any]:
    """A frozen layer in eval, and one with the same weights that is not."""
    torch.manual_seed(0)
    layer, other = LSTM(5, 7, frozen=True, **options).eval(), LSTM(5, 7, **options).eval()
    other.load_state_dict(layer.state_dict())
    return layer, other


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_and_packed_once(kind: str, dtype: Any, packed: list[Any]) -> None:
    layer, other = (each.to(dtype) for each in pair(**KINDS[kind]))
    autocast = torch.autocast("cpu", enabled=dtype is torch.bfloat16)
    for context in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        x = torch.randn(4, 3, 5).to(dtype)
        with context(), autocast:
            for ours, theirs in zip(layer(x)[1], other(x)[1], strict=True):
                assert torch.equal(ours, theirs)
    assert len(packed) == (4 if kind == "stack" else 1)


CHANGES: dict[str, Callable[[Any], object]] = {
    "in place": lambda layer: layer.weight_hh_l0.mul_(0.5),
    "a bias": lambda layer: layer.bias_ih_l0.add_(1),
    "another parameter": lambda layer: setattr(
        layer, "weight_ih_l0", torch.nn.Parameter(layer.weight_ih_l0 * 2)
    ),
    "other data": lambda layer: setattr(layer.weight_ih_l0, "data", layer.weight_ih_l0.data * 2),
    "a state dict": lambda layer: layer.load_state_dict({k: 2 * v for k, v in layer.state_dict().items()}),
    "its dtype": lambda layer: layer.to(torch.float64),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(change: str, packed: list[Any]) -> None:
    layer, other = pair()
    x = torch.randn(4, 3, 5)
    with torch.no_grad():
        layer(x)
        for each in (layer, other):
            CHANGES[change](each)
        x = x.to(layer.weight_ih_l0.dtype)
        for _ in range(2):
            assert torch.equal(layer(x)[0], other(x)[0])
    assert len(packed) == 2


def test_only_where_it_was_promised_and_nothing_is_learned(packed: list[Any]) -> None:
    layer, other = pair()
    x = torch.randn(4, 3, 5)
    layer(x)[0].sum().backward()
    with torch.no_grad():
        other(x)
        layer.train()(x)
    assert not packed


def test_inference_tensors_as_weights(packed: list[Any]) -> None:
    with torch.inference_mode():
        layer = LSTM(5, 7, frozen=True).eval()
        layer(torch.zeros(4, 3, 5))
    assert not packed


def test_accelerate_takes_the_promise_too(packed: list[Any]) -> None:
    model = torch.nn.Sequential(torch.nn.LSTM(5, 7)).eval()
    accelerate(model, frozen=True)
    with torch.inference_mode():
        model(torch.zeros(4, 3, 5))
    assert len(packed) == 1
