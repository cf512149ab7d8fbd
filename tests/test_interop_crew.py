"""The engine's programs on PyTorch's own threads: who runs them, what comes back, and what a fork leaves."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fastlstm.engine import workers  # noqa: E402
from fastlstm.engine.kernels.native import native  # noqa: E402
from fastlstm.engine.workers import Crew  # noqa: E402
from fastlstm.interop import crew  # noqa: E402
from fastlstm.interop.torch import LSTM  # noqa: E402

pytestmark = pytest.mark.skipif(crew._parallel is None, reason="PyTorch has no OpenMP here")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def outputs(threads: int, dtype: Any = torch.float32) -> list[bytes]:
    """Of a layer, forward and backward; bfloat16 is autocast to it."""
    autocast = dtype is torch.bfloat16
    layer, of = LSTM(17, 48, threads=threads), torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=of)
    layer.to(torch.float32 if autocast else dtype)
    x = torch.randn(9, 40, 17, generator=of).to(layer.bias_ih_l0.dtype).requires_grad_()
    with torch.autocast("cpu", enabled=autocast):
        out = layer(x)[0].float()
    out.backward(torch.ones_like(out))
    found: list[Any] = [out.detach(), x.grad, *(p.grad for p in layer.parameters())]
    return [tensor.numpy().tobytes() for tensor in found]


def test_pytorchs_threads_where_it_may_use_as_many(two_threads: None) -> None:
    assert isinstance(crew.crew(2), Crew)
    assert crew.crew(1) == 1
    assert crew.crew(3) == 3
    torch.set_num_threads(1)
    assert crew.crew(2) == 2


def test_all_call_at_once_and_have_ended_after_it(two_threads: None) -> None:
    met, ran = threading.Barrier(2), []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def part(argument: int) -> None:
        met.wait(10)
        ran.append((threading.get_ident(), argument))

    for i in range(1, 50):
        ran.clear()
        crew.together(ctypes.cast(part, ctypes.c_void_p).value or 0, i, 2)
        assert len(set(ran)) == 2
        assert (threading.get_ident(), i) in ran


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_results_are_those_of_one_thread(
    two_threads: None, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    monkeypatch.setattr(workers, "native", lambda *what: ran.append(what) or native(*what))
    assert outputs(2, dtype) == outputs(1, dtype)
    assert len(ran) == 2


def test_several_callers_at_once(two_threads: None) -> None:
    expected = outputs(1)
    with ThreadPoolExecutor(4) as callers:
        assert set(map(tuple, callers.map(outputs, [2] * 20))) == {tuple(expected)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_none_of_them(two_threads: None) -> None:
    expected = outputs(2)
    child = os.fork()
    if child == 0:
        os._exit(0 if crew._parallel is None and outputs(2) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
