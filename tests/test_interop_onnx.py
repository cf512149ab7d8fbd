"""ONNX files: the checker's word, and onnxruntime's numbers beside ours."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from peers import require
from test_interop_weights import ARCHITECTURES, CHARACTERS, batch, model

onnx = require("onnx")
onnxruntime = require("onnxruntime")
write_onnx = require("fastlstm.interop.onnx").write_onnx


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed(ids, lengths, state):
    h, c = (s.astype(np.float32) for s in state)
    return {"ids": ids.astype(np.int64), "lengths": lengths.astype(np.int32), "h0": h, "c0": c}


@pytest.mark.parametrize("options", ARCHITECTURES)
def test_onnxruntime_computes_the_same(tmp_path, options):
    given = model(**options)
    write_onnx(tmp_path / "m.onnx", given)
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    runtime, network, rng = session(tmp_path / "m.onnx"), given.network, np.random.default_rng(6)
    for T, B in ((7, 4), (1, 1), (3, 9)):
        ids = rng.integers(0, 7, (T, B)).astype(np.int32)
        lengths = np.sort(rng.integers(1, T + 1, B))[::-1].astype(np.int32)
        real = np.arange(T)[:, None] < lengths
        state = network.initial_state(B)
        state = type(state)(*(s + rng.normal(0, 0.5, s.shape).astype(s.dtype) for s in state))
        logits, final = network.forward(ids, lengths, state)
        out, h, c = runtime.run(None, feed(ids, lengths, state))
        np.testing.assert_allclose(out[real], logits[real], atol=1e-5)
        np.testing.assert_allclose(h, final.h, atol=1e-5)
        np.testing.assert_allclose(c, final.c, atol=1e-5)


def test_streaming_by_states(tmp_path):
    write_onnx(tmp_path / "m.onnx", model("text", layers=2))
    runtime = session(tmp_path / "m.onnx")
    ids, _ = batch(6)
    full = np.full(4, 7)
    zero = np.zeros((2, 4, 6), np.float32)
    whole, h_n, c_n = runtime.run(None, feed(ids, full, (zero, zero)))
    state, parts = (zero, zero), []
    for t in range(7):
        out, *state = runtime.run(None, feed(ids[t : t + 1], np.ones(4), state))
        parts.append(out)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    np.testing.assert_allclose(state, [h_n, c_n], atol=1e-6)


def test_metadata(tmp_path):
    given = model(learned_state=True, layers=2)
    write_onnx(tmp_path / "m.onnx", given)
    facts = json.loads(session(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map["fastlstm"])
    assert facts["vocabulary"]["characters"] == CHARACTERS
    assert facts["kind"] == "names"
    for name in ("h0", "c0"):
        assert np.array_equal(np.float32(facts["initial_state"][name]), given.network.parameters[name])


def test_any_batch_and_time(tmp_path):
    write_onnx(tmp_path / "m.onnx", model())
    shapes = {x.name: x.shape for x in session(tmp_path / "m.onnx").get_inputs()}
    assert shapes == {"ids": ["T", "B"], "lengths": ["B"], "h0": [1, "B", 6], "c0": [1, "B", 6]}


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_onnx(tmp_path / name, model())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_without_onnx_the_extra_is_named():
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import fastlstm, fastlstm.commands.export_\n"
        "try:\n    import fastlstm.interop.onnx\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ONNX export needs the onnx package: pip install 'fastlstm[onnx]'\n"
