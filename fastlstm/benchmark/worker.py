"""The process in which a peer runs: it obeys a JSON request a line, and blocks on its input between them."""

from __future__ import annotations

import importlib
import json
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.benchmark.machine import peak_memory, resident_memory
from fastlstm.benchmark.peers import Variant
from fastlstm.benchmark.peers.base import Driver
from fastlstm.benchmark.shapes import Shape, Workload


class Process:
    """The requests: `load` a workload, write its `quantities`, run a `block` of calls, tell the `memory`."""

    def __init__(self) -> None:
        self.driver: Driver | None = None
        self.turn = 0
        self.pace = 0.0
        self.memory_before = 0

    def load(self, module: str, variant: dict, job: str, shape: dict, workload: str) -> dict[str, Any]:
        code = importlib.import_module(f"fastlstm.benchmark.peers.{module}")
        self.memory_before = self.memory_before or resident_memory()
        self.driver = None  # one at a time in memory
        self.driver = code.Peer(Workload.load(Path(workload), Shape(**shape)), job, Variant(**variant))
        self.turn, self.pace = 0, 0.0
        return {}

    def quantities(self, to: str) -> dict[str, Any]:
        assert self.driver is not None
        quantities: dict[str, Any] = self.driver.quantities()
        np.savez(to, **quantities)
        return {}

    def warm(self, calls: int) -> dict[str, Any]:
        """So many calls (0: a whole cycle), after which all that first use compiles or sets up is there."""
        assert self.driver is not None
        for i in range(calls or self.driver.cycle):
            self.driver.call(i)
        return {}

    def block(self, seconds: float) -> dict[str, Any]:
        """Calls for about `seconds`, in whole cycles; where a call is short, one untimed before them."""
        assert self.driver is not None
        if self.pace < seconds / 4:
            self.driver.call(self.turn)
        calls = characters = 0
        start = time.perf_counter()
        while True:
            characters += self.driver.call(self.turn + calls)
            calls += 1
            elapsed = time.perf_counter() - start
            if elapsed >= seconds and calls % self.driver.cycle == 0:
                break
        self.turn, self.pace = self.turn + calls, elapsed / calls
        return {"calls": calls, "characters": characters, "seconds": elapsed}

    def memory(self) -> dict[str, Any]:
        """In bytes: the most that was resident, and how much of it came after the libraries were imported."""
        peak = peak_memory()
        return {"peak": peak, "beyond_libraries": peak - self.memory_before}


def main() -> None:
    # Answers go to the pipe that was standard output; what libraries print must not get between them.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    process = Process()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(process, request.pop("do"))(**request)
        except Exception as error:  # whatever a peer raises is reported, and that peer is left out
            answer = {"error": textwrap.shorten(f"{type(error).__name__}: {error}", 100, placeholder=" …")}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
