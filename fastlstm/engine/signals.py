"""Signals kept back while something runs that must not be cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Signals:
    """Signals, noted while a block runs; a second one is not held back. Only the main thread gets any."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


@contextmanager
def uncut() -> Iterator[None]:
    """Let a block end before a signal's handler, such as Ctrl-C's, may raise an exception in it.

    While machine code is made or loaded, an exception between two lines is lost in a callback from LLVM, or leaves an
    object that is freed twice.
    """
    with Signals(*(n for n in signal.valid_signals() if callable(signal.getsignal(n)))) as signals:
        try:
            yield
        finally:
            signals.__exit__()
            if signals.received is not None:
                signal.raise_signal(signals.received)
