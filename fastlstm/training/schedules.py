"""Learning rates: a rule from the number of the update to its rate, with nothing to remember in between."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastlstm.errors import FastLSTMError, quoted

KINDS = ("constant", "step", "exponential", "cosine", "onecycle")
# Defaults by kind, 0 where not named; torch's pct_start, div_factor and final_div_factor give onecycle's.
WARMUP = {"onecycle": 0.3}  # shares of the run
FINAL = {"exponential": 0.01, "onecycle": 4e-6}  # shares of the peak
ONECYCLE_START = 1 / 25  # a share of the peak


@dataclass(frozen=True)
class Schedule:
    """A learning rate for each of `steps` updates, highest at `peak`; each kind equals its torch.optim twin.

    - constant: `peak`
    - step: times `decay` after each `every` updates (StepLR)
    - exponential: a geometric fall that would reach `final`·peak at `steps` (ExponentialLR)
    - cosine: half a cosine to `final`·peak (CosineAnnealingLR)
    - onecycle: half a cosine from peak/25 up for the share `warmup` of the run, another one down to
      `final`·peak (OneCycleLR without its momentum cycle)

    `warmup`, for the kinds before onecycle, is the share of the run in which the rate rises linearly first
    (LinearLR). `warmup` and `final` are 0 unless given, but for onecycle 0.3 and 4e-6 and for
    exponential final 0.01. Raises FastLSTMError for values out of range.

    >>> s = Schedule("cosine", peak=1.0, steps=100)
    >>> [round(s.rate(step), 3) for step in (0, 50, 100)]
    [1.0, 0.5, 0.0]
    """

    kind: str
    peak: float
    steps: int
    warmup: float | None = None
    final: float | None = None
    decay: float = 0.5
    every: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FastLSTMError(f"schedule is {quoted(self.kind)}; it must be one of {', '.join(KINDS)}")
        if not (self.peak > 0 and math.isfinite(self.peak)):
            raise FastLSTMError(f"the learning rate is {self.peak}; it must be above 0")
        if self.steps < 1:
            raise FastLSTMError(f"the schedule has {self.steps} steps; it needs at least 1")
        if not 0 <= self._rising < 1:
            raise FastLSTMError(f"warmup is {self.warmup}; it is a share of the run, from 0 to below 1")
        if not 0 <= self._final <= 1 or (self.kind == "exponential" and self.final == 0):
            raise FastLSTMError(
                f"final is {self.final}; it is a share of the peak, from 0 (exponential: above) to 1"
            )
        if self.kind == "step" and (self.every < 1 or not 0 < self.decay <= 1):
            raise FastLSTMError(
                f"the step schedule has decay {self.decay} every {self.every} steps; "
                "decay must be above 0 and at most 1, and every at least 1"
            )

    @property
    def _rising(self) -> float:
        return WARMUP.get(self.kind, 0.0) if self.warmup is None else self.warmup

    @property
    def _final(self) -> float:
        return FINAL.get(self.kind, 0.0) if self.final is None else self.final

    def rate(self, step: int) -> float:
        """The learning rate of update number `step`, counted from 0; past the end it stays as it was."""
        step = min(step, self.steps)
        if self.kind == "onecycle":
            return self._onecycle(min(step, self.steps - 1))
        rising = round(self._rising * self.steps)
        if step < rising:
            return self.peak * (step + 1) / rising
        done, total = step - rising, self.steps - rising
        if self.kind == "step":
            return self.peak * self.decay ** (done // self.every)
        if self.kind == "exponential":
            return self.peak * self._final ** (done / total)
        if self.kind == "cosine":
            return _cosine(self.peak, self._final * self.peak, done / total)
        return self.peak

    def _onecycle(self, step: int) -> float:
        top = max(0.0, self._rising * self.steps - 1)  # where the peak lies, in steps, not always a whole one
        if step < top:
            return _cosine(self.peak * ONECYCLE_START, self.peak, step / top)
        falling = self.steps - 1 - top
        return _cosine(self.peak, self._final * self.peak, (step - top) / falling if falling > 0 else 0.0)


def _cosine(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a cosine, at the share `done` of the way."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
