"""What each rank of `scaling.py` runs: `mpiexec -n N python bench/scaling_rank.py SECONDS SHAPE…`; the first one prints JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastlstm.benchmark.shapes import SHAPES, Shape
from fastlstm.engine.cores import available_cores
from fastlstm.engine.layout import Share
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.network.optim import Optimizer, OptimizerConfig
from fastlstm.training.ranks import Ranks, world

ROUNDS = 5
NODES = (1, 2, 4, 8, 16, 32, 64)


class Job:
    """Training steps of a shape: alone on the first rank, dealt to all of them, and in their parts."""

    def __init__(self, shape: Shape, ranks: Ranks) -> None:
        self.shape, self.ranks = shape, ranks
        ids = np.random.default_rng(0).integers(0, shape.V, (shape.T + 1, shape.B), dtype=np.int32)
        self.ids, self.targets = ids[:-1], ids[1:]

    def network(self, threads: int) -> tuple[Network, Optimizer]:
        shape = self.shape
        network = Network(
            Architecture(vocabulary=shape.V, hidden=shape.H, embedding=shape.E), threads=threads
        )
        config = OptimizerConfig("adamw", weight_decay=0.01, clip_norm=1.0)
        return network, Optimizer(network.parameters, config)

    def alone(self, threads: int) -> Callable[[], Any]:
        """A step of the whole batch by one rank."""
        network, optimizer = self.network(threads)
        return lambda: network.step(self.ids, self.targets, optimizer, 1e-3, final=False)

    def together(self, weak: bool) -> Callable[[], Any]:
        """A step of the batch dealt to all ranks; `weak`, of a batch that has the shape's rows for each of them."""
        network, optimizer = self.network(1)
        part = self.ranks.part
        whole = self.shape.B * (part.of if weak else 1)
        dealt = part.streams(whole)
        rows = np.arange(dealt.start, dealt.stop)
        start = np.arange(self.shape.T + 1) * whole
        share = Share(rows, start, int(start[-1]))
        ids, targets = (np.ascontiguousarray(a[:, rows % self.shape.B]) for a in (self.ids, self.targets))
        exchange = self.ranks.exchange
        return lambda: network.step(
            ids, targets, optimizer, 1e-3, final=False, share=share, exchange=exchange
        )

    def gradients(self, nodes: int) -> Callable[[], Any]:
        """What one of so many nodes computes before the exchange."""
        rows = -(-self.shape.B // nodes)
        network, _ = self.network(1)
        ids, targets = (np.ascontiguousarray(a[:, :rows]) for a in (self.ids, self.targets))
        return lambda: network.backward(ids, targets)

    def update(self) -> Callable[[], Any]:
        """What all of them do after it."""
        network, optimizer = self.network(1)
        network.backward(self.ids[:, :1], self.targets[:, :1])
        return lambda: optimizer.update(network.gradients, 1e-3, 1)

    def exchange(self, size: int) -> Callable[[], Any]:
        """A sum over so many numbers."""
        buffer = np.zeros(size, np.float32)
        return lambda: self.ranks.exchange and self.ranks.exchange(buffer)


def milliseconds(call: Callable[[], Any], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - started) / count * 1e3


def rest(comm: Any) -> None:
    """Wait for all ranks without keeping a core busy."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.002)


def measure(shape: Shape, ranks: Ranks, seconds: float) -> dict[str, Any]:
    """Medians in milliseconds, of blocks that take turns."""
    job, comm = Job(shape, ranks), ranks.comm
    size = job.network(1)[0].gradients.whole.size
    first = {"one thread": job.alone(1), "all threads": job.alone(available_cores())}
    if comm is None:
        first |= {"update": job.update()} | {f"gradients {nodes}": job.gradients(nodes) for nodes in NODES}
        every = {}
    else:
        every = {"strong": job.together(False), "weak": job.together(True)}
        every |= {"exchange": job.exchange(size), "latency": job.exchange(16)}
    blocks: dict[str, list[float]] = {name: [] for name in (*first, *every)}
    counts: dict[str, int] = {}
    for turn in range(ROUNDS + 1):
        for name, call in first.items():
            if comm is not None:
                rest(comm)
            if ranks.first:
                blocks[name].append(milliseconds(call, counts.get(name, 2)))
        for name, call in every.items():
            rest(comm)
            comm.Barrier()
            blocks[name].append(milliseconds(call, counts.get(name, 2)))
        if turn == 0:  # has compiled, and says how many steps a block may have
            counts = {
                name: ranks.tell(max(2, int(seconds * 1e3 / (found[0] if found else 1))))
                for name, found in blocks.items()
            }
            blocks = {name: [] for name in blocks}
    found: dict[str, Any] = {
        name: [float(np.median(taken)), min(taken), max(taken)] for name, taken in blocks.items() if taken
    }
    return {**found, "bytes": 4 * size}


if __name__ == "__main__":
    mine = Ranks(world())
    results = {name: measure(SHAPES[name], mine, float(sys.argv[1])) for name in sys.argv[2:]}
    if mine.first:
        print(json.dumps(results))
