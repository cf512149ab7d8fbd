"""What a single call costs: `CharLM.step` at batch 1, and the PyTorch module's own share of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from fastlstm import CharLM
from fastlstm.benchmark.peers import missing
from fastlstm.benchmark.report import columns, figure

SECONDS = 0.5


def microseconds(call: Callable[[], Any]) -> str:
    """The median time of a call, over batches of calls for about `SECONDS`."""
    for _ in range(20):
        call()
    found, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(100):
            call()
        found.append((time.perf_counter() - start) / 100)
    return figure(1e6 * float(np.median(found)))


def ours(hidden: int) -> Callable[[], Any]:
    lm = CharLM(hidden=hidden, embedding=64, seed=0)
    lm.fit(["abcdefghijklmnopqrstuvwxyz"], steps=1, validation=0)
    state, ids = lm.start(), np.array([3], np.int32)
    return lambda: lm.step(state, ids)


def torch_cell(hidden: int) -> Callable[[], Any]:
    """PyTorch's quickest way to one step of the same model."""
    import torch

    torch.set_num_threads(1)
    rows, cell, head = torch.randn(27, 64), torch.nn.LSTMCell(64, hidden), torch.nn.Linear(hidden, 27)
    state = (torch.zeros(1, hidden), torch.zeros(1, hidden))
    ids = torch.tensor([3])

    @torch.inference_mode()
    def step() -> Any:
        nonlocal state
        state = cell(rows[ids], state)
        return head(state[0])

    return step


def layer(kind: Any, graph: bool) -> Callable[[], Any]:
    """A layer so small that the call is all there is: forward without a graph, or forward and backward."""
    import torch

    lstm, x, dout = kind(1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    if graph:
        return lambda: lstm(x)[0].backward(dout)
    return torch.no_grad()(lambda: lstm(x))


class Context:
    """What the module asks of PyTorch's."""

    needs_input_grad = (True, *[False] * 4, *[True] * 4)

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def set_materialize_grads(self, wanted: bool) -> None:
        pass


def own(graph: bool) -> str:
    """Microseconds of the module's own part of such a call: without PyTorch's module and graph, and without our programs."""
    import torch

    from fastlstm.engine import workers
    from fastlstm.engine.layout import full_plan
    from fastlstm.interop.autograd import Layer, run
    from fastlstm.interop.gate import Options

    weights, context = list(torch.nn.LSTM(1, 1).parameters()), Context()
    x, dout, plan = torch.zeros(1, 1, 1), torch.ones(1, 1, 1), full_plan(1, 1)
    options = Options(threads=1)

    def call() -> None:
        if graph:
            Layer.forward(context, x, None, None, plan, options, *weights)
            Layer.backward(context, dout, None, None)
        else:
            run(x, None, None, plan, options, *weights)

    program, workers.run = workers.run, lambda *arguments, **options: None
    try:
        with torch.no_grad():
            return microseconds(call)
    finally:
        workers.run = program


@click.command()
def main() -> None:
    """Print microseconds a call."""
    rows = [["one step at batch 1, E 64, V 27", "fastlstm", "torch LSTMCell"]]
    for hidden in (25, 256):
        theirs = "–" if missing("torch") else microseconds(torch_cell(hidden))
        rows.append([f"H {hidden}", microseconds(ours(hidden)), theirs])
    click.echo(columns(rows))
    if missing("torch"):
        return
    import torch

    from fastlstm.interop.torch import LSTM

    rows = [["LSTM(1, 1) on one step", "interop.torch.LSTM", "of it the module's own", "torch.nn.LSTM"]]
    for label, graph in (("forward, no gradients", False), ("forward + backward", True)):
        calls = [microseconds(layer(kind, graph)) for kind in (LSTM, torch.nn.LSTM)]
        rows.append([label, calls[0], own(graph), calls[1]])
    click.echo(columns(rows))


if __name__ == "__main__":
    main()
