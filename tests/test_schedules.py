"""Learning rates against formulas written out by hand, and against torch.optim where torch is installed."""

from __future__ import annotations

import itertools
import math

import pytest
from peers import require

from fastlstm.errors import FastLSTMError
from fastlstm.training.schedules import KINDS, Schedule


def test_constant_warms_up_linearly_to_the_peak():
    s = Schedule("constant", 0.2, 100, warmup=0.04)
    assert [s.rate(i) for i in range(6)] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])


def test_step_halves_at_each_interval():
    s = Schedule("step", 1.0, 100, decay=0.5, every=10)
    assert [s.rate(i) for i in (0, 9, 10, 19, 20, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.5**9]


def test_exponential_falls_by_the_same_factor_each_step():
    s = Schedule("exponential", 2.0, 50, final=0.1)
    rates = [s.rate(i) for i in range(51)]
    assert rates[-1] == pytest.approx(0.2)
    assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx([0.1 ** (1 / 50)] * 50)


def test_cosine_is_half_way_down_in_the_middle_and_stays_at_its_end():
    s = Schedule("cosine", 1.0, 100, warmup=0.1, final=0.2)
    assert s.rate(9) == 1.0
    assert s.rate(55) == pytest.approx(0.6)
    assert s.rate(100) == s.rate(1000) == pytest.approx(0.2)


def test_onecycle_starts_at_a_25th_peaks_at_its_share_and_ends_near_nothing():
    s = Schedule("onecycle", 1.0, 101, warmup=31 / 101)
    rates = [s.rate(i) for i in range(101)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates.index(max(rates)) == 30
    assert rates[-1] == pytest.approx(4e-6)
    assert s.rate(500) == rates[-1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_short_runs_have_rates_above_zero_and_at_most_the_peak(kind, steps):
    s = Schedule(kind, 0.5, steps, warmup=0.3, every=1)
    assert all(0 < s.rate(i) <= 0.5 for i in range(steps))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "linear"}, "must be one of"),
        ({"peak": 0.0}, "learning rate is 0.0"),
        ({"peak": math.nan}, "learning rate is nan"),
        ({"steps": 0}, "0 steps"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"final": 2.0}, "final is 2.0"),
        ({"kind": "exponential", "final": 0.0}, "final is 0.0"),
        ({"kind": "step", "every": 0}, "every 0 steps"),
        ({"kind": "step", "every": 5, "decay": 0.0}, "decay 0.0"),
    ],
)
def test_values_out_of_range_are_named(changes, says):
    with pytest.raises(FastLSTMError, match=says):
        Schedule(**{"kind": "cosine", "peak": 1.0, "steps": 10, **changes})


def _torch_rates(make, peak, steps):
    torch = require("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Schedule("constant", 0.1, 100), lambda s, o: s.ConstantLR(o, 1.0)),
        (Schedule("step", 0.1, 100, decay=0.3, every=17), lambda s, o: s.StepLR(o, 17, 0.3)),
        (Schedule("exponential", 0.1, 100, final=0.05), lambda s, o: s.ExponentialLR(o, 0.05**0.01)),
        (Schedule("cosine", 0.1, 100, final=0.1), lambda s, o: s.CosineAnnealingLR(o, 100, 0.01)),
        (
            Schedule("cosine", 0.1, 100, warmup=0.1),
            lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1, 9), s.CosineAnnealingLR(o, 90)], [10]),
        ),
        (Schedule("onecycle", 0.1, 100), lambda s, o: s.OneCycleLR(o, 0.1, 100, cycle_momentum=False)),
        (
            Schedule("onecycle", 0.1, 99, warmup=0.125, final=0.004),
            lambda s, o: s.OneCycleLR(o, 0.1, 99, pct_start=0.125, cycle_momentum=False, final_div_factor=10),
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Schedule) else "",
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # SequentialLR's own
def test_equal_to_torch(schedule, make):
    expected = _torch_rates(make, schedule.peak, schedule.steps)
    assert [schedule.rate(i) for i in range(schedule.steps)] == pytest.approx(expected, rel=1e-6, abs=1e-9)
