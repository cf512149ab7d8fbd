"""The run of a benchmark: every shape and job in turn, each variant of each peer verified, then timed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.benchmark import limits
from fastlstm.benchmark.measure import (
    COARSE,
    TOLERANCES,
    Block,
    PeerError,
    Spread,
    Worker,
    disagreement,
    errors,
    pace,
    paired,
    ratio,
)
from fastlstm.benchmark.peers import LOOP_SHAPES, OURS, Variant, choose, ours, truth, variants
from fastlstm.benchmark.shapes import RATE, SAMPLING, SHAPES, USES, Shape, Workload, make_workload
from fastlstm.data.names import Names

SAMPLER_STEPS = 300
"""Training steps of the model that is sampled from: enough for names of a name's length."""


@dataclass(frozen=True)
class Settings:
    """What to measure: empty `shapes` and `peers` mean all of them."""

    jobs: tuple[str, ...]
    threads: int
    shapes: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    quick: bool = False
    precision: str = "float32"

    @property
    def seconds(self) -> float:
        """Of a block."""
        return 0.1 if self.quick else 0.5

    @property
    def rounds(self) -> int:
        """Pairs of blocks for each variant."""
        return 3 if self.quick else 9

    def shapes_of(self, job: str) -> list[Shape]:
        if job == "sample":
            return list(SAMPLING.values())
        slow = ("charrnn-large",) if self.quick else ()
        asked = self.shapes or [name for name in SHAPES if name not in slow]
        uses = USES if job == "module" else ()
        return [shape for shape in (*SHAPES.values(), *uses) if shape.name.split()[0] in asked]


@dataclass
class Row:
    """One variant's figures: errors against the truth, seconds a call, characters and operations a second.

    `ratio`: how many times as fast as this variant ours is. `problem`: why it was not timed, if it wasn't.
    """

    variant: Variant
    errors: dict[str, float] = field(default_factory=dict)
    problem: str = ""
    seconds: float = 0.0
    characters: float = 0.0
    flops: float = 0.0
    ratio: Spread | None = None
    pairs: list[tuple[Block, Block]] = field(default_factory=list)


@dataclass
class Measurement:
    """One shape and job: the FMA peak by threads, ours first among the rows."""

    shape: Shape
    job: str
    fma_peak: dict[int, float]
    rows: list[Row] = field(default_factory=list)

    def best(self) -> dict[str, Row]:
        """Of each peer the variant as exact as ours that comes closest to it, or is furthest ahead of it.

        Beside ours in bf16 stands ours in float32.
        """
        found: dict[str, Row] = {}
        for row in self.rows[1:]:
            own, like_ours = row.variant.peer == OURS, row.variant.exact == self.rows[0].variant.exact
            if row.ratio is None or own == like_ours:
                continue
            peer = f"{OURS} float32" if own else row.variant.peer
            if peer not in found or row.ratio < (found[peer].ratio or row.ratio):
                found[peer] = row
        return found

    def as_dict(self) -> dict[str, Any]:
        best = {peer: asdict(row.variant) | {"ratio": row.ratio} for peer, row in self.best().items()}
        return asdict(self) | {"best": best}


class Bench:
    """Runs `Settings`; a context manager that ends its processes and removes its files.

    `say` is told what is being done.
    """

    def __init__(self, settings: Settings, names: Names, say: Callable[[str], None]) -> None:
        self.settings, self.names, self.say = settings, names, say
        self.workers: dict[tuple[str, int, bool], Worker] = {}
        self.folder = tempfile.TemporaryDirectory(prefix="fastlstm-bench-")
        self.workload_file = Path(self.folder.name) / "workload.npz"
        self.peers = {
            job: choose(job, settings.peers, settings.quick, settings.precision) for job in settings.jobs
        }

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()
        self.folder.cleanup()

    def measurements(self) -> Iterator[Measurement]:
        """Every shape and job, as soon as each is done."""
        for job in self.settings.jobs:
            for shape in self.settings.shapes_of(job):
                yield self.measure(shape, job)

    def measure(self, shape: Shape, job: str) -> Measurement:
        self.say(f"{shape.name}, {job}: preparing")
        workload = make_workload(shape, self.names)
        if job == "sample":
            train(workload, self.names)
        workload.save(self.workload_file)
        measurement = Measurement(workload.shape, job, self.fma_peak())
        expected = self.quantities(truth(job, shape, self.settings.threads), measurement)
        first = Row(ours(job, shape, self.settings.threads, self.settings.precision))
        measurement.rows.append(first)
        self.verify(first, measurement, expected)
        if first.problem:
            return measurement
        self.worker(first.variant).ask("warm", calls=0)
        for variant in self.variants(shape, job):
            row = Row(variant)
            measurement.rows.append(row)
            self.verify(row, measurement, expected)
            if not row.problem:
                self.time(row, first, measurement)
        if first.pairs:
            first.seconds, first.characters = pace([mine for mine, _ in first.pairs])
        else:
            block = self.worker(first.variant).block(self.settings.seconds)
            first.seconds, first.characters = pace([block])
        for row in measurement.rows:
            if job in ("training", "forward"):
                row.flops = row.characters * workload.shape.flops(1, training=job == "training")
        after = self.fma_peak()
        measurement.fma_peak = {n: max(peak, after[n]) for n, peak in measurement.fma_peak.items()}
        return measurement

    def variants(self, shape: Shape, job: str) -> list[Variant]:
        """Ours with one thread and, beside bf16, in float32; then every variant of every peer."""
        mine = ours(job, shape, self.settings.threads, self.settings.precision)
        single = [] if self.settings.quick or mine.threads == 1 else [replace(mine, threads=1)]
        single += [] if mine.exact else [ours(job, shape, self.settings.threads)]
        looped = shape.name in LOOP_SHAPES or "loop" in self.settings.peers
        peers = [peer for peer in self.peers[job] if peer != "loop" or looped]
        return single + [
            variant
            for peer in peers
            for variant in variants(
                peer, job, shape, self.settings.threads, self.settings.quick, self.settings.precision
            )
        ]

    def worker(self, variant: Variant) -> Worker:
        """The process for a variant's peer, threads and exactness."""
        key = variant.peer, variant.threads, variant.exact
        if key not in self.workers:
            self.workers[key] = Worker(variant)
        return self.workers[key]

    def quantities(self, variant: Variant, measurement: Measurement) -> dict[str, np.ndarray]:
        worker = self.worker(variant)
        worker.load(variant, measurement.job, measurement.shape, self.workload_file)
        return worker.quantities(Path(self.folder.name) / "quantities.npz")

    def verify(self, row: Row, measurement: Measurement, expected: dict[str, np.ndarray]) -> None:
        """Load the variant and compare it with the truth; what is wrong becomes the row's problem."""
        self.say(f"{measurement.shape.name}, {measurement.job}: verifying {row.variant.label}")
        try:
            row.errors = errors(self.quantities(row.variant, measurement), expected)
        except PeerError as error:
            row.problem = f"failed: {error}"
            self.workers.pop((row.variant.peer, row.variant.threads, row.variant.exact)).close()
            return
        if wrong := disagreement(row.errors, TOLERANCES if row.variant.exact else COARSE):
            row.problem = f"does not agree: {wrong}"

    def time(self, row: Row, first: Row, measurement: Measurement) -> None:
        """Time the row's variant, which is loaded, against ours, which stays loaded."""

        def told(done: int) -> None:
            self.say(f"{measurement.shape.name}, {measurement.job}: timing {row.variant.label}, {done}")

        mine, other = self.worker(first.variant), self.worker(row.variant)
        try:
            other.ask("warm", calls=0)
            row.pairs = paired(mine, other, self.settings.seconds, self.settings.rounds, told)
        except PeerError as error:
            row.problem = f"failed: {error}"
            return
        first.pairs += row.pairs
        row.seconds, row.characters = pace([theirs for _, theirs in row.pairs])
        row.ratio = ratio(row.pairs)

    def fma_peak(self) -> dict[int, float]:
        return {threads: limits.fma_peak(threads) for threads in sorted({1, self.settings.threads})}

    def starts(self) -> Iterator[dict[str, Any]]:
        """Fresh starts of ours and each peer on each shape; the first of ours with an empty compilation cache."""
        threads, empty = self.settings.threads, True
        cache = {"NUMBA_CACHE_DIR": str(Path(self.folder.name) / "cache")}
        for shape in self.settings.shapes_of("training"):
            mine = ours("training", shape, threads)
            if empty:
                yield self.start(shape, mine, cache) | {"label": f"{mine.label} (empty cache)"}
                empty = False
            yield self.start(shape, mine, cache)
            for peer in self.peers["training"]:
                if peer not in ("loop", "numpy"):
                    ways = variants(peer, "training", shape, threads, quick=False)
                    yield self.start(shape, next(way for way in ways if way.threads == threads), {})

    def start(self, shape: Shape, variant: Variant, environment: dict[str, str]) -> dict[str, Any]:
        """Seconds to the end of a fresh process's first training step, and its memory half a second later."""
        self.say(f"{shape.name}: starting {variant.label}")
        workload = make_workload(shape, self.names)
        workload.save(self.workload_file)
        found: dict[str, Any] = {"shape": shape.name, "label": variant.label}
        worker = Worker(variant, environment)
        try:
            worker.load(variant, "training", workload.shape, self.workload_file)
            worker.ask("warm", calls=1)
            found["first_step"] = time.perf_counter() - worker.started
            worker.block(0.5)
            found |= worker.ask("memory")
        except PeerError as error:
            found["problem"] = str(error)
        finally:
            worker.close()
        return found


def train(workload: Workload, names: Names) -> None:
    """Replace the workload's parameters by those of a network that was briefly trained on the names."""
    from fastlstm.data.batching import NameBatches
    from fastlstm.data.vocabulary import Vocabulary
    from fastlstm.network.architecture import Architecture
    from fastlstm.network.model import Network
    from fastlstm.network.optim import Optimizer

    shape = workload.shape
    network = Network(Architecture(vocabulary=shape.V, hidden=shape.H, embedding=shape.E))
    optimizer, rng = Optimizer(network.parameters), np.random.default_rng(0)
    batches = NameBatches(names, Vocabulary.from_texts(names, boundary=True), 128)
    while optimizer.steps < SAMPLER_STEPS:
        for batch in batches.epoch(rng):
            network.step(batch.ids, batch.targets, optimizer, 2 * RATE, batch.lengths)
    workload.parameters.update({name: view.copy() for name, view in network.parameters.items()})
