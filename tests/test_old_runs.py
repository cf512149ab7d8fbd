"""Runs and model files that fastlstm 0.1.0 left behind open, resume and end where 0.1.0 ended."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.training.model_file import load_arrays
from fastlstm.training.runs import Run

OLD = Path(__file__).parent / "old_runs"
DATA = {"names": OLD / "names.csv", "text": OLD / "fox.txt"}


@pytest.mark.parametrize("kind", DATA)
def test_an_interrupted_run_goes_on_to_the_same_end(kind, tmp_path):
    folder = tmp_path / kind
    shutil.copytree(OLD / kind, folder)
    with Run.resume(folder, source=str(DATA[kind])) as run:
        records = list(run.follow())
        total = run.session.total
    assert [record.step for record in records] == list(range(8, total + 1))
    for ours, theirs in (("model", f"{kind}-whole"), ("checkpoint", f"{kind}-whole-checkpoint")):
        arrays, _ = load_arrays(folder / f"{ours}.safetensors")
        expected, _ = load_arrays(OLD / f"{theirs}.safetensors")
        assert arrays.keys() == expected.keys()
        for name, array in expected.items():
            # Other CPUs round otherwise; the same one gives the same bytes.
            np.testing.assert_allclose(arrays[name], array, rtol=1e-3, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("kind", DATA)
def test_an_old_model_samples_and_scores(kind):
    lm = fl.CharLM.load(OLD / f"{kind}-whole.safetensors")
    assert lm.kind == kind
    controls = {} if kind == "names" else {"length": 20}
    assert lm.sample(2, seed=1, **controls) == lm.sample(2, seed=1, **controls)
    data = ["anna", "otto"] if kind == "names" else "the lazy dog"
    assert 0 < lm.evaluate(data).loss < 5


def test_the_training_names_are_still_known():
    lm = fl.CharLM.load(OLD / "names")
    assert lm.index is not None
    assert lm.index["åsa"] == 1
