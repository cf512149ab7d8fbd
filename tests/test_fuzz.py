"""A few hundred of the cases of scripts/fuzz.py, the same ones every time."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "fuzz.py"
CASES = 25  # of each kind


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module
    spec.loader.exec_module(module)
    return module


def test_success_or_one_clear_line(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found: Counter[str] = Counter()
    bench = fuzz.Bench(tmp_path)
    assert fuzz.failures(bench, list(fuzz.CASES), 0, range(CASES), math.inf, found) == []
    assert found.total() == CASES * len(fuzz.CASES)
    # Cases that all stop at the first check would find nothing.
    assert {kind for kind in fuzz.CASES if found[f"{kind} success"]} == set(fuzz.CASES)


def test_a_failure_is_seen(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def long_line(rng: object, bench: object) -> None:
        raise fuzz.fl.FastLSTMError("a" * 2000)

    def another_error(rng: object, bench: object) -> None:
        raise KeyError("x")

    cases = {"long": long_line, "error": another_error, "fine": lambda rng, bench: None}
    monkeypatch.setattr(fuzz, "CASES", cases)
    found: Counter[str] = Counter()
    failed = fuzz.failures(None, list(cases), 3, range(1), math.inf, found)
    assert [line.split("  ")[0] for line in failed] == ["long-3-0", "error-3-0"]
    assert found == {"long FAILURE": 1, "error FAILURE": 1, "fine success": 1}
