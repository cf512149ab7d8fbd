"""State dicts and their files: ours to PyTorch and back, foreign ones in, broken ones refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from peers import require
from safetensors.numpy import load_file, save_file

from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError
from fastlstm.interop.weights import from_state_dict, read_torch, to_state_dict, write_torch
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.training.model_file import Model, save_model

CHARACTERS = "abcdef"
ARCHITECTURES = [
    {},
    {"embedding": 0},
    {"layers": 3, "dropout": 0.25, "embedding_dropout": 0.125, "forget_bias": 0.5},
    {"tied": True, "hidden": 5},
    {"learned_state": True, "layers": 2, "dtype": "float64"},
]


def model(kind: str = "names", **options) -> Model:
    vocabulary = Vocabulary(CHARACTERS, boundary=kind == "names")
    sizes = {"vocabulary": vocabulary.size, "hidden": 6, "embedding": 5, **options}
    network = Network(Architecture(**sizes), seed=3)
    rng = np.random.default_rng(4)
    for _, array in network.parameters.items():
        array[...] = rng.normal(0, 0.5, array.shape)
    return Model(network, vocabulary, kind, {"lowercase": True}, {})


def same(a: Network, b: Network) -> bool:
    """Whether two networks are of one architecture and have the same weights."""
    pairs = zip(a.parameters.items(), b.parameters.items(), strict=True)
    return a.architecture == b.architecture and all(np.array_equal(x, y) for (_, x), (_, y) in pairs)


def batch(V: int) -> tuple[np.ndarray, np.ndarray]:
    """Random ids (T, B) and lengths (B,)."""
    ids = np.random.default_rng(5).integers(0, V, (7, 4)).astype(np.int32)
    return ids, np.array([7, 7, 4, 1], np.int32)


@pytest.mark.parametrize("options", ARCHITECTURES)
def test_round_trip_in_memory(options):
    network = model(**options).network
    state = to_state_dict(network)
    again = from_state_dict(state, network.architecture.as_dict())
    assert same(again, network)
    for array in state.values():
        array[...] = 0
    assert same(again, network)


@pytest.mark.parametrize("kind", ["names", "text"])
@pytest.mark.parametrize("options", ARCHITECTURES)
def test_round_trip_through_a_file(tmp_path, options, kind):
    before = model(kind, **options)
    write_torch(tmp_path / "torch.safetensors", before)
    after = read_torch(tmp_path / "torch.safetensors")
    assert same(after.network, before.network)
    assert after.vocabulary.as_dict() == before.vocabulary.as_dict()
    assert (after.kind, after.preprocessing) == (kind, {"lowercase": True})


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_torch(tmp_path / name, model())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_pytorch_module_computes_the_same(tmp_path):
    torch = require("torch")

    class CharLM(torch.nn.Module):
        def __init__(self, V, H, E, L=1):
            super().__init__()
            self.embedding = torch.nn.Embedding(V, E)
            self.lstm = torch.nn.LSTM(E, H, L)
            self.head = torch.nn.Linear(H, V)

        def forward(self, ids, state=None):
            out, state = self.lstm(self.embedding(ids), state)
            return self.head(out), state

    network = model(layers=2).network
    write_torch(tmp_path / "m.safetensors", model(layers=2))
    theirs = CharLM(V=7, H=6, E=5, L=2)
    theirs.load_state_dict(require("safetensors.torch").load_file(tmp_path / "m.safetensors"))
    ids, _ = batch(7)
    logits, state = network.forward(ids)
    out, (h, c) = theirs(torch.from_numpy(ids))
    for comp, ref in ((logits, out), (state.h, h), (state.c, c)):
        np.testing.assert_allclose(comp, ref.detach().numpy(), atol=1e-5)

    # Trained further, the second biases are no longer zero; a state dict of tensors comes in as it is.
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    assert theirs.lstm.bias_hh_l1.abs().sum() > 0
    again, _ = from_state_dict(theirs.state_dict()).forward(ids)
    np.testing.assert_allclose(again, theirs(torch.from_numpy(ids))[0].detach().numpy(), atol=1e-5)


def test_one_hot_input_and_a_learned_state_in_pytorch():
    torch = require("torch")
    network = model(embedding=0, learned_state=True).network
    state = {name: torch.from_numpy(array) for name, array in to_state_dict(network).items()}
    lstm = torch.nn.LSTM(7, 6)
    lstm.load_state_dict({name[5:]: array for name, array in state.items() if name.startswith("lstm.")})
    ids, _ = batch(7)
    x = torch.nn.functional.one_hot(torch.from_numpy(ids).long(), 7).float()
    h0, c0 = (state[name][:, None].repeat(1, 4, 1) for name in ("h0", "c0"))
    out = lstm(x, (h0, c0))[0] @ state["head.weight"].T + state["head.bias"]
    np.testing.assert_allclose(network.forward(ids)[0], out.detach().numpy(), atol=1e-5)


def test_a_file_without_metadata_needs_its_characters(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(to_state_dict(model().network), path)
    with pytest.raises(FastLSTMError, match="give --characters and --as"):
        read_torch(path)
    read = read_torch(path, CHARACTERS, "names")
    assert read.vocabulary.encode("fab").tolist() == [6, 1, 2]
    assert read.preprocessing == {"lowercase": True}
    assert read_torch(path, "abcdeF", "names").preprocessing == {"lowercase": False}
    assert read_torch(path, "abcdefg", "text").preprocessing == {"lowercase": False}
    with pytest.raises(FastLSTMError, match="for 7 ids, its characters and the boundary make 6"):
        read_torch(path, "abcde", "names")
    with pytest.raises(FastLSTMError, match="for 7 ids, its characters make 6"):
        read_torch(path, CHARACTERS, "text")


def test_biases_and_a_tied_head_may_be_missing():
    state = to_state_dict(model(tied=True, hidden=5).network)
    for name in [name for name in state if "bias" in name or name == "head.weight"]:
        del state[name]
    network = from_state_dict(state)
    assert network.architecture.tied
    assert not network.parameters["lstm.0.b"].any()
    assert not network.parameters["head.b"].any()


def test_a_head_that_grew_apart_from_its_embedding_is_no_longer_tied():
    network = model(tied=True, hidden=5).network
    state = to_state_dict(network)
    state["head.weight"][0, 0] += 1
    again = from_state_dict(state, network.architecture.as_dict())
    assert not again.architecture.tied
    assert np.array_equal(again.parameters["head.W"], state["head.weight"])


def without(name):
    return lambda state: state.pop(name)


def put(name, array):
    return lambda state: state.update({name: np.asarray(array, np.float32)})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without("lstm.weight_ih_l0"), "lstm.weight_ih_l0 is missing: a network needs embedding.weight, "),
        (without("lstm.weight_hh_l0"), "lstm.weight_hh_l0 is missing: name the three modules"),
        (without("head.weight"), "head.weight is missing"),
        (put("decoder.weight", np.zeros((7, 6))), "decoder.weight has no place in the network"),
        (put("lstm.weight_ih_l0", np.zeros((24, 4))), r"lstm.weight_ih_l0 is \(24, 4\), .* \(24, 5\)"),
        (put("lstm.bias_hh_l0", np.zeros(6)), r"lstm.bias_hh_l0 is \(6,\), .* \(24,\)"),
        (put("head.bias", np.zeros((7, 1))), r"head.bias has shape \(7, 1\): biases have one dimension"),
        (put("lstm.weight_ih_l0_reverse", np.zeros((24, 5))), "a bidirectional LSTM cannot generate"),
        (put("lstm.weight_hr_l0", np.zeros((2, 6))), "projections"),
        (put("h0", np.zeros((1, 6))), "c0 is missing"),
        (lambda state: state.clear(), "lstm.weight_hh_l0 is missing"),
        (lambda state: state.update(h0=np.zeros((1, 6))), "the weights are float32 and float64: convert all"),
    ],
)
def test_states_that_are_no_network(change, text):
    state = to_state_dict(model().network)
    change(state)
    with pytest.raises(FastLSTMError, match=text) as caught:
        from_state_dict(state)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_state_dict(tmp_path):
    path = tmp_path / "file.safetensors"

    def refused(text, *arguments):
        with pytest.raises(FastLSTMError, match=text) as caught:
            read_torch(path, *arguments)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused("no such file")
    path.write_bytes(b"PK\x03\x04 a pickle of PyTorch's")
    refused("is no safetensors file .* safetensors.torch.save_file")
    save_model(path, *model()[:4])
    refused("a model file of fastlstm's own")
    state = to_state_dict(model().network)
    save_file({**state, "head.bias": state["head.bias"].astype(np.float16)}, path)
    refused(r"head.bias is F16: convert the weights with .float\(\)")
    write_torch(path, model())
    text = json.loads(metadata(path)["fastlstm.torch"])
    save_file(state, path, {"fastlstm.torch": json.dumps({**text, "format_version": 99})})
    refused("format version 99 is newer than this fastlstm")
    save_file(state, path, {"fastlstm.torch": "{}"})
    refused("metadata fastlstm.torch is damaged")
    save_file({"a": np.zeros(3, np.float32)}, path)
    refused("a has shape", CHARACTERS, "names")


def metadata(path):
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return file.metadata()


def test_the_file_says_what_it_holds(tmp_path):
    write_torch(tmp_path / "m", model())
    facts = json.loads(metadata(tmp_path / "m")["fastlstm.torch"])
    assert facts["vocabulary"]["characters"] == CHARACTERS
    assert facts["kind"] == "names"
    assert facts["architecture"]["hidden"] == 6
    assert sorted(load_file(tmp_path / "m")) == sorted(to_state_dict(model().network))
