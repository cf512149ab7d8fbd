"""bench/scaling.py: its model of a step, and what its ranks measure for it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from fastlstm.benchmark.shapes import Shape
from fastlstm.training.ranks import ALONE

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(scope="module")
def scaling():
    sys.path.insert(0, str(BENCH))
    try:
        spec = importlib.util.spec_from_file_location("scaling", BENCH / "scaling.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCH))


FOUND = {
    "gradients 1": [8.0],
    "gradients 2": [4.5],
    "gradients 4": [3.0],
    "update": [1.0],
    "latency": [0.2],
    "exchange": [1.2],
    "bytes": 4_000_000,
}


def test_the_model_of_a_step(scaling):
    link = scaling.Link.of(FOUND)
    assert (link.latency, link.bandwidth) == (0.1, pytest.approx(4e6))
    # On two nodes what was measured; on four, twice log₂ 4 messages and 2 · 3/4 of the bytes.
    assert link.exchange(2, 4_000_000) == pytest.approx(1.2)
    assert link.exchange(4, 4_000_000) == pytest.approx(4 * 0.1 + 1.5)
    assert scaling.step(FOUND, 1, link) == 9
    assert scaling.step(FOUND, 2, link) == pytest.approx(4.5 + 1 + 1.2)
    assert scaling.step(FOUND, 4, link, crowd=2) == pytest.approx(2 * 4 + 1.9)


def test_a_rank_alone_takes_the_step_of_the_whole_batch(scaling):
    """Its parts are those that the model adds up."""
    from scaling_rank import Job, measure

    tiny = Shape("tiny", 5, 4, 3, 8, 11, "")
    job = Job(tiny, ALONE)
    whole, _ = job.alone(1)()
    for dealt in (job.together(False), job.together(True)):
        metrics, _ = dealt()
        assert (metrics.loss, metrics.norm, metrics.count) == (whole.loss, whole.norm, 20)
    found = measure(tiny, ALONE, 1e-4)
    assert found.pop("bytes") == job.network(1)[0].gradients.whole.nbytes
    assert {"one thread", "all threads", "update", "gradients 1", "gradients 64"} <= set(found)
    assert all(0 < least <= median <= most for median, least, most in found.values())
