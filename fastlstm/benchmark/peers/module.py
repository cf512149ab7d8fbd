"""`torch.nn.LSTM`, and ours in its place: forward and backward of a dense input, forward of characters, or a training loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fastlstm.benchmark.peers import OURS, TRUTH, Variant
from fastlstm.benchmark.peers.base import Driver
from fastlstm.benchmark.shapes import RATE, Workload, positions, real_mask
from fastlstm.data.batching import Batch


class Peer(Driver):
    def __init__(self, workload: Workload, job: str, variant: Variant) -> None:
        torch.set_num_threads(variant.threads)
        torch.set_flush_denormal(True)
        self.shape = shape = workload.shape
        self.I = shape.E or shape.V
        self.lstm = nn.LSTM(self.I, shape.H, shape.layers, bidirectional=shape.directions == 2)
        if variant.peer == OURS:
            from fastlstm.interop.torch import accelerate

            accelerate(self.lstm, threads=variant.threads)
        width = shape.directions * shape.H
        self.model = nn.ModuleDict({"lstm": self.lstm})
        if shape.use == "loop":
            self.model.update({"embedding": nn.Embedding(shape.V, self.I), "head": nn.Linear(width, shape.V)})
        self.dtype = torch.float64 if variant.mode == TRUTH else torch.float32
        self.model.to(self.dtype)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_((torch.rand(p.shape, generator=generator) * 2 - 1) * shape.H**-0.5)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE)
        load = self.load_ids if shape.use == "loop" else self.load
        self.batches: list[Any] = [load(batch, width, generator) for batch in workload.batches]
        self.run: Any = {"loop": self.train, "inference": self.infer}.get(shape.use, self.differentiate)
        self.positions = [positions(batch) for batch in workload.batches]
        self.cycle = len(self.batches) if shape.ragged else 1

    def load(self, batch: Batch, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Any]:
        """An input and a gradient of the output, (T, B, ·) or packed (N, ·), and a packed one's sizes."""
        rows = batch.ids.shape if batch.lengths is None else (positions(batch),)
        x, dout = (torch.randn((*rows, n), generator=generator).to(self.dtype) for n in (self.I, width))
        if self.shape.use == "inference":
            x = torch.randn((self.shape.V, self.I), generator=generator).to(self.dtype)[
                torch.from_numpy(batch.ids).long()
            ]
        sizes = None if batch.lengths is None else torch.from_numpy(real_mask(batch).sum(1))
        return x.requires_grad_(self.shape.use != "inference"), dout, sizes

    def load_ids(self, batch: Batch, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(batch.ids).long(), torch.from_numpy(batch.targets).long()

    def differentiate(self, x: Tensor, dout: Tensor, sizes: Tensor | None) -> Tensor:
        self.lstm.zero_grad()
        x.grad = None
        out: Any = self.lstm(x if sizes is None else PackedSequence(x, sizes))[0]
        out = out if sizes is None else out.data
        out.backward(dout)
        return out

    def infer(self, x: Tensor, dout: Tensor, sizes: None) -> Tensor:
        self.lstm.eval()
        with torch.inference_mode():
            return self.lstm(x)[0]

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        logits = self.model["head"](self.lstm(self.model["embedding"](ids))[0])
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    def train(self, ids: Tensor, targets: Tensor) -> float:
        """A step as most programs write it."""
        loss = self.loss(ids, targets)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def quantities(self) -> dict[str, np.ndarray]:
        batch = self.batches[0]
        if self.shape.use == "loop":
            out = self.loss(*batch)
            out.backward()
        else:
            out = self.run(*batch)
        name = "loss" if self.shape.use == "loop" else "out"
        found: dict[str, Any] = {name: out.detach().numpy()}
        if self.shape.use != "inference":
            gradients: dict[str, Any] = {name: p.grad for name, p in self.model.named_parameters()}
            found |= {f"gradient {name}": gradient.numpy() for name, gradient in gradients.items()}
        if not self.shape.use:
            found["gradient x"] = batch[0].grad.numpy()
        return found

    def call(self, i: int) -> int:
        turn = i % len(self.batches)
        self.run(*self.batches[turn])
        return self.positions[turn]
