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


def layer(kind: Any) -> Callable[[], Any]:
    """Forward and backward of a layer so small that the call is all there is."""
    import torch

    lstm, x = kind(1, 1), torch.zeros(1, 1, 1)
    return lambda: lstm(x)[0].backward(torch.ones(1, 1, 1))


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

    rows = [["forward + backward of LSTM(1, 1) on one step", "interop.torch.LSTM", "torch.nn.LSTM"]]
    rows.append(["", microseconds(layer(LSTM)), microseconds(layer(torch.nn.LSTM))])
    click.echo(columns(rows))


if __name__ == "__main__":
    main()
