"""The engine's programs on PyTorch's own threads: who runs them, what comes back, and what a fork leaves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

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


def outputs(threads: int) -> list[bytes]:
    torch.manual_seed(0)
    layer, x = LSTM(17, 48, threads=threads), torch.randn(9, 40, 17, requires_grad=True)
    out = layer(x)[0]
    out.backward(torch.ones_like(out))
    found: list[Any] = [out.detach(), x.grad, *(p.grad for p in layer.parameters())]
    return [tensor.numpy().tobytes() for tensor in found]


def test_pytorchs_threads_where_it_may_use_as_many(two_threads: None) -> None:
    assert isinstance(crew.crew(2), Crew)
    assert crew.crew(1) == 1
    assert crew.crew(3) == 3
    torch.set_num_threads(1)
    assert crew.crew(2) == 2


def test_all_run_at_once_and_have_ended_after_the_call(two_threads: None) -> None:
    met, ran = threading.Barrier(2), []

    def part() -> None:
        met.wait(10)
        ran.append(threading.get_ident())

    for _ in range(50):
        ran.clear()
        crew.together(part, 2)
        assert len(set(ran)) == 2
        assert threading.get_ident() in ran


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("mine", [True, False])
def test_what_one_of_them_raises_reaches_the_caller(
    two_threads: None, mine: bool, kind: type[BaseException]
) -> None:
    caller = threading.get_ident()

    def part() -> None:
        if (threading.get_ident() == caller) is mine:
            raise kind

    with pytest.raises(kind):
        crew.together(part, 2)


def test_results_are_those_of_one_thread(two_threads: None) -> None:
    assert outputs(2) == outputs(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_none_of_them(two_threads: None) -> None:
    expected = outputs(2)
    child = os.fork()
    if child == 0:
        os._exit(0 if crew._parallel is None and outputs(2) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
