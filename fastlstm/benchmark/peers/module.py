"""`torch.nn.LSTM`, and ours in its place: forward and backward of a dense input, called from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fastlstm.benchmark.peers import OURS, TRUTH, Variant
from fastlstm.benchmark.peers.base import Driver
from fastlstm.benchmark.shapes import Workload, positions, real_mask
from fastlstm.data.batching import Batch


class Peer(Driver):
    def __init__(self, workload: Workload, job: str, variant: Variant) -> None:
        torch.set_num_threads(variant.threads)
        torch.set_flush_denormal(True)
        shape = workload.shape
        I = shape.E or shape.V
        if variant.peer == OURS:
            from fastlstm.interop.torch import LSTM

            self.lstm: nn.LSTM = LSTM(I, shape.H, threads=variant.threads)
        else:
            self.lstm = nn.LSTM(I, shape.H)
        self.dtype = torch.float64 if variant.mode == TRUTH else torch.float32
        self.lstm.to(self.dtype)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.lstm.parameters():
                p.copy_((torch.rand(p.shape, generator=generator) * 2 - 1) * shape.H**-0.5)
        self.batches = [self.load(batch, I, shape.H, generator) for batch in workload.batches]
        self.positions = [positions(batch) for batch in workload.batches]
        self.cycle = len(self.batches) if shape.ragged else 1

    def load(self, batch: Batch, I: int, H: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
        """An input and a gradient of the output, (T, B, ·) or packed (N, ·), and a packed one's sizes."""
        rows = batch.ids.shape if batch.lengths is None else (positions(batch),)
        x, dout = (torch.randn((*rows, width), generator=generator).to(self.dtype) for width in (I, H))
        sizes = None if batch.lengths is None else torch.from_numpy(real_mask(batch).sum(1))
        return x.requires_grad_(), dout, sizes

    def run(self, x: Tensor, dout: Tensor, sizes: Tensor | None) -> Tensor:
        self.lstm.zero_grad()
        x.grad = None
        out: Any = self.lstm(x if sizes is None else PackedSequence(x, sizes))[0]
        out = out if sizes is None else out.data
        out.backward(dout)
        return out

    def quantities(self) -> dict[str, np.ndarray]:
        x, dout, sizes = self.batches[0]
        out = self.run(x, dout, sizes)
        gradients: dict[str, Any] = {"x": x.grad} | {name: p.grad for name, p in self.lstm.named_parameters()}
        found = {f"gradient {name}": gradient.numpy() for name, gradient in gradients.items()}
        return found | {"out": out.detach().numpy()}

    def call(self, i: int) -> int:
        turn = i % len(self.batches)
        self.run(*self.batches[turn])
        return self.positions[turn]
