"""PyTorch as a sampler: nn.LSTM one step at a time, or nn.LSTMCell, then softmax and multinomial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastlstm.benchmark.peers import Variant
from fastlstm.benchmark.peers.base import CHECKED_NAMES, NAMES_A_CALL, SEED, Driver
from fastlstm.benchmark.peers.torch_ import Network
from fastlstm.benchmark.shapes import Workload

BATCH = 2048
"""Sequences drawn together, where more than one are: 512 and 10,000 were slower."""
Pick = Callable[[Tensor, Tensor, int], Tensor]
"""From probabilities (B, V), the rows' numbers (B,) and the position, the characters drawn (B,)."""


def by_multinomial(p: Tensor, rows: Tensor, position: int) -> Tensor:
    return torch.multinomial(p, 1)[:, 0]


def by_uniforms(uniforms: Tensor) -> Pick:
    """The first character whose running sum of probabilities exceeds the row's number at the position."""

    def pick(p: Tensor, rows: Tensor, position: int) -> Tensor:
        running = p.double().cumsum(1)
        target = uniforms[position][rows] * running[:, -1]
        return (running <= target[:, None]).sum(1)

    return pick


class Peer(Driver):
    def __init__(self, workload: Workload, job: str, variant: Variant) -> None:
        self.shape, self.dropping = workload.shape, "dropping" in variant.mode
        self.network = Network(workload.shape, workload.parameters, variant.threads)
        self.cell = None
        if "LSTMCell" in variant.mode:
            self.cell = nn.LSTMCell(self.network.lstm.input_size, workload.shape.H)
            weights = self.network.lstm.state_dict().items()
            self.cell.load_state_dict({name.removesuffix("_l0"): value for name, value in weights})

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Outputs (B, H) and the state after one step, from inputs (B, E)."""
        if self.cell:
            state = self.cell(x, state)
            return state[0], state
        out, state = self.network.lstm(x[None], state)
        return out[0], state

    def draw(self, n: int, pick: Pick) -> tuple[Tensor, Tensor]:
        """n names together: ids (n, T) padded with 0, and the characters of each, its end mark included."""
        net = self.network
        ids, counts = torch.zeros((n, self.shape.T), dtype=torch.int64), torch.zeros(n, dtype=torch.int64)
        rows, x = torch.arange(n), torch.zeros(n, dtype=torch.int64)
        on = torch.ones(n, dtype=torch.bool)
        state: Any = None
        for t in range(self.shape.T):
            out, state = self.step(net.rows[x], state)
            x = pick(torch.softmax(net.head(out), 1), rows, t) * on
            ids[rows, t] = x
            counts[rows] += on
            on = on & (x != 0)
            if not on.any():
                break
            if self.dropping:
                rows, x, state = rows[on], x[on], tuple(s[..., on, :] for s in state)
                on = on[on]
        return ids, counts

    @torch.inference_mode()
    def quantities(self) -> dict[str, np.ndarray]:
        from fastlstm.generation.drawing import (  # here, so that timing is free of Numba's import
            stream_keys,
            uniforms,
        )

        numbers = uniforms(stream_keys(SEED, np.arange(CHECKED_NAMES)), self.shape.T)
        ids, _ = self.draw(CHECKED_NAMES, by_uniforms(torch.from_numpy(numbers)))
        return {"names": ids.numpy()}

    @torch.inference_mode()
    def call(self, i: int) -> int:
        n = NAMES_A_CALL if self.shape.B == 1 else self.shape.B
        sizes = [min(BATCH, self.shape.B, n - done) for done in range(0, n, min(BATCH, self.shape.B))]
        return sum(int(self.draw(size, by_multinomial)[1].sum()) for size in sizes)
