"""Processes that run the peers, and what is done with them: verify against a truth, then time in pairs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastlstm.benchmark.peers import Variant, module_of
from fastlstm.benchmark.shapes import Shape
from fastlstm.errors import FastLSTMError

TOLERANCES = {"loss": 1e-5, "logits": 1e-5, "out": 1e-5, "gradient": 1e-4, "update": 1e-3, "names": 1e-3}
"""Largest relative error of an array, ‖found − truth‖ / ‖truth‖, in each group of quantities; for drawn names
the share that differs. An update amplifies errors: of a gradient near 0, Adam keeps little but the sign."""
COARSE = {"loss": 1e-3, "logits": 0.02, "gradient": 0.05, "update": 0.5}
"""The same for what computes in bfloat16, whose numbers differ by up to 0.004 of themselves."""
FEWEST_ROUNDS = 3


class PeerError(FastLSTMError):
    """A peer that failed; it is reported and left out."""


class Block(NamedTuple):
    """One stretch of calls: how many, the characters they dealt with, and the seconds they took."""

    calls: int
    characters: int
    seconds: float


class Worker:
    """A process that runs variants of one peer with one number of threads, one at a time."""

    def __init__(self, variant: Variant, environment: dict[str, str] | None = None) -> None:
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastlstm.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=os.environ | variant.environment() | (environment or {}),
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises PeerError where that is an error, or none comes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline() or '{"error": "its process ended"}')
        except BrokenPipeError:
            answer = {"error": "its process ended"}
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def load(self, variant: Variant, job: str, shape: Shape, workload: Path) -> None:
        """Give it a variant, in place of the one it has, and the workload that was saved there."""
        module, variant_, shape_ = module_of(variant.peer, job), asdict(variant), asdict(shape)
        self.ask("load", module=module, variant=variant_, job=job, shape=shape_, workload=str(workload))

    def quantities(self, to: Path) -> dict[str, np.ndarray]:
        self.ask("quantities", to=str(to))
        with np.load(to) as file:
            found = dict(file)
        to.unlink()
        return found

    def block(self, seconds: float) -> Block:
        return Block(**self.ask("block", seconds=seconds))

    def close(self) -> None:
        """End the process and wait until it has ended."""
        self.process.kill()
        self.process.communicate()


def errors(found: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest relative error in each group of quantities; infinite where a value isn't a finite number.

    >>> errors({"loss": np.array([1.0, 2.0])}, {"loss": np.array([1.0, 2.0])})
    {'loss': 0.0}
    """
    worst: dict[str, float] = {}
    for key, expected in truth.items():
        difference = found[key].astype(np.float64) - expected
        if key == "names":
            error = float(difference.any(axis=1).mean())
        else:
            error = float(np.linalg.norm(difference) / max(float(np.linalg.norm(expected)), 1e-30))
        group = key.split()[0]
        worst[group] = max(worst.get(group, 0.0), error if np.isfinite(error) else float("inf"))
    return worst


def disagreement(found: dict[str, float], tolerances: dict[str, float]) -> str:
    """What is too far from the truth, in words; empty where all agrees."""
    return ", ".join(
        f"{group} off by {error:.1e}, {tolerances[group]:.0e} allowed"
        for group, error in found.items()
        if not error <= tolerances[group]
    )


def paired(
    ours: Worker, peer: Worker, seconds: float, rounds: int, told: Callable[[int], None]
) -> list[tuple[Block, Block]]:
    """Alternating blocks of ours and a peer's, the other process blocked; fewer where calls are slow."""
    pairs: list[tuple[Block, Block]] = []
    deadline = time.perf_counter() + 3 * rounds * seconds
    while len(pairs) < rounds and (len(pairs) < FEWEST_ROUNDS or time.perf_counter() < deadline):
        pairs.append((ours.block(seconds), peer.block(seconds)))
        told(len(pairs))
    return pairs


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        return cls(median, low, high)


def ratio(pairs: list[tuple[Block, Block]]) -> Spread:
    """How many times as fast as the peer ours is, in characters a second, block against block."""
    return Spread.of([(p.seconds / p.characters) / (o.seconds / o.characters) for o, p in pairs])


def pace(blocks: list[Block]) -> tuple[float, float]:
    """Median seconds a call, and characters a second."""
    return (
        float(np.median([block.seconds / block.calls for block in blocks])),
        float(np.median([block.characters / block.seconds for block in blocks])),
    )
