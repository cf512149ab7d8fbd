"""The processes that train one model together over MPI: what each does of it, and what they tell one another.

Every one of them, a rank, holds the data and the whole network, and computes the gradients of its part of each batch. The
first rank alone has the terminal and the run's folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b
from time import monotonic, sleep
from typing import Any, NoReturn, TypeVar

import numpy as np

from fastlstm.data.batching import WHOLE, Part
from fastlstm.data.names import Names
from fastlstm.data.opening import open_data
from fastlstm.data.paths import Paths
from fastlstm.data.texts import Text
from fastlstm.engine.workers import available_cores, thread_count
from fastlstm.errors import FastLSTMError, counted
from fastlstm.training.launchers import launched

Result = TypeVar("Result")


class Agreed(FastLSTMError):
    """An error that all ranks raise at the same place, so that none waits for another."""


class Ranks:
    """The ranks of an mpi4py communicator, or with None this process alone.

    `part` is which of how many this one is, `first` whether it is the first, `threads` its share of its machine's cores
    (None: all of them). `exchange` sums a buffer over all ranks in place; it is None for one alone.
    """

    def __init__(self, comm: Any = None) -> None:
        self.comm: Any = comm if comm is not None and comm.Get_size() > 1 else None
        self.part, self.threads, self.host, self.machines, turn = WHOLE, None, "", 1, 0
        self.exchange: Callable[[np.ndarray], None] | None = None
        self._wishes = {"stop": False, "save": False}
        self._heard = dict(self._wishes)
        if self.comm is not None:
            self.part = Part(self.comm.Get_rank(), self.comm.Get_size())
            self.exchange = self._sum
            self._endings = self.comm.Dup()  # whoever ends asks here, not where another may be at work
            self.threads, turn = self._place(self.comm)
        self.first = self.part.number == 0
        self._turn = 0 if self.first else turn

    def _place(self, comm: Any) -> tuple[int | None, int]:
        """Threads for this rank, and its turn to read: after the first one's, each machine's first (1), then the rest (2)."""
        from mpi4py import MPI

        self.host = MPI.Get_processor_name()
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        try:
            # Ranks that a launcher bound to cores of their own share them with nobody.
            cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
            sharing = node.allgather(cores).count(cores)
            self.machines = sum(comm.allgather(node.Get_rank() == 0))
            told = os.environ.get("FASTLSTM_NUM_THREADS")
            return None if told else max(1, available_cores() // sharing), 1 + (node.Get_rank() > 0)
        finally:
            node.Free()

    def describe(self) -> str:
        """The facts in a line: ranks, machines, threads."""
        machines, threads = counted(self.machines, "machine"), counted(thread_count(self.threads), "thread")
        return f"{self.part.of} ranks on {machines}, {threads} each unless --threads says otherwise"

    def _sum(self, buffer: np.ndarray) -> None:
        """The one exchange of a step: gradients, what lies behind them and, as the last numbers, everybody's wishes."""
        places = buffer[-len(self._wishes) :]
        places[:] = list(self._wishes.values())
        self.comm.Allreduce(_in_place(), buffer)
        self._heard = dict(zip(self._wishes, (places > 0).tolist(), strict=True))

    def ask(self, name: str, wish: bool) -> bool:
        """Whether all ranks now stop, or save: at once when alone, else as soon as a step's exchange has told everybody."""
        if self.comm is None:
            return wish
        heard = self._heard[name]
        self._wishes[name] = wish and not heard
        return heard

    def agree(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What `function` returns; Agreed on all ranks if it raised FastLSTMError or OSError on any."""
        if self.comm is None:
            return function(*arguments)
        result, problem = None, None
        try:
            result = function(*arguments)
        except FastLSTMError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}"
        self._settle(problem)
        return result  # pyright: ignore[reportReturnType] - where there is no problem, there is a result

    def on_first(self, function: Callable[..., Result], *arguments: Any) -> Result | None:
        """As `agree`, on the first rank alone; None on the others."""
        return self.agree(function if self.first else lambda *_: None, *arguments)

    def in_turn(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """As `agree`: the first rank, then one of each other machine, then the rest, who find what these have made."""
        if self.comm is None:
            return function(*arguments)
        result: Any = None
        for turn in range(3):
            if turn == self._turn:
                result = self.agree(function, *arguments)
            else:
                self._settle(None)
        return result

    def open(self, path: Paths | None, **how: Any) -> Names | Text:
        """`open_data` on all ranks; Agreed if one of them cannot, or has read something else."""
        if path == "-" and self.part.of > 1:
            raise Agreed(
                "standard input reaches one rank alone; give the name of a file that all of them can read"
            )
        data = self.in_turn(partial(open_data, path, **how))
        self.compare(f"{data.source}: the data", data.digest())
        return data

    def _settle(self, problem: str | None) -> None:
        """Raise Agreed if there is a problem anywhere: the first rank's that has one."""
        problems = self.comm.allgather(problem and (problem, self.host))
        found = [(number, *what) for number, what in enumerate(problems) if what]
        if found:
            number, text, host = found[0]
            everywhere = len(found) == len(problems) or number == 0
            raise Agreed(text if everywhere else f"rank {number} on {host}: {text}")

    def all_end(self, patience: float) -> bool:
        """Whether all ranks call this within so many seconds."""
        request, deadline = self._endings.Ibarrier(), monotonic() + patience
        while not (together := request.Test()) and monotonic() < deadline:
            sleep(0.01)
        return together

    def abort(self, code: int) -> NoReturn:
        """End all ranks at once; what there is to say of it has been said."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        self.comm.Abort(code)
        raise SystemExit(code)

    def tell(self, value: Result) -> Result:
        """The first rank's value, on all of them."""
        return value if self.comm is None else self.comm.bcast(value)

    def compare(self, what: str, fingerprint: str) -> None:
        """Raise Agreed unless all ranks have the same fingerprint of something."""
        if self.comm is None:
            return
        others = self.comm.allgather((fingerprint, self.host))
        for number, (other, host) in enumerate(others):
            if other != others[0][0]:
                raise Agreed(
                    f"{what} of rank {number} on {host} differ from those of rank 0 on {others[0][1]}"
                )

    def compare_arrays(self, what: str, array: np.ndarray) -> None:
        """`compare` for an array."""
        if self.comm is not None:
            self.compare(what, blake2b(array.data, digest_size=16).hexdigest())

    def sums(self, *numbers: float) -> Iterable[float]:
        """Each number summed over all ranks."""
        if self.comm is None:
            return numbers
        sums = np.array(numbers, np.float64)
        self.comm.Allreduce(_in_place(), sums)
        return sums.tolist()

    def slowest(self, seconds: float) -> float:
        """The longest time that any rank has taken."""
        return seconds if self.comm is None else max(self.comm.allgather(seconds))

    def gather(self, array: np.ndarray) -> np.ndarray:
        """All ranks' streams (L, b, H) side by side, on the first one; its own on the others."""
        if self.comm is None:
            return array
        every = self.comm.gather(array)
        return array if every is None else np.concatenate(every, axis=1)


ALONE = Ranks()


def _in_place() -> Any:
    from mpi4py import MPI

    return MPI.IN_PLACE


def world() -> Any:
    """The communicator of all processes that were started together; None for one alone, without importing mpi4py.

    Raises FastLSTMError on the first of them if mpi4py cannot serve them; the others end without a word.
    """
    number, count = launched()
    if count == 1:
        return None
    try:
        from mpi4py import MPI

        seen = MPI.COMM_WORLD.Get_size()
        problem = (
            f"{count} processes were started, of which mpi4py sees {seen}: start them with the mpiexec of its own MPI, "
            f"{MPI.Get_library_version().split(chr(10))[0].strip(chr(0))}"
        )
    except (ImportError, RuntimeError) as error:
        seen = 0
        problem = (
            f"{count} processes were started, which train together over mpi4py, and it cannot be used "
            f"({' '.join(str(error).split())}); pip install 'fastlstm[mpi]' mpich, or start one process"
        )
    if seen == count:
        return MPI.COMM_WORLD  # pyright: ignore[reportPossiblyUnboundVariable] - seen is 0 without it
    if number == 0:
        raise FastLSTMError(problem)
    sys.exit(1)
