"""A network's weights as a PyTorch state dict, in memory and in safetensors files; PyTorch is not needed.

    embedding.weight (V, E)             absent where the input is one-hot
    lstm.weight_ih_l{l} (4H, inputs)    the columns x of W; the rows are the gates i, f, g, o in both worlds
    lstm.weight_hh_l{l} (4H, H)         the columns h of W
    lstm.bias_ih_l{l} (4H,)             b
    lstm.bias_hh_l{l} (4H,)             PyTorch's second bias: zero going out, added to the first coming in
    head.weight (V, H), head.bias (V,)  head.weight repeats embedding.weight where the two are tied
    h0, c0 (L, H)                       only where the initial state is learned
    given.h, given.c (K, L, H)          only with conditions: what each of their K values adds to the initial states

Letters: V characters, E embedding size, H hidden size, L layers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastlstm.data.files import write_atomically
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.training.model_file import METADATA_KEY as OWN_KEY
from fastlstm.training.model_file import NEWEST, Model, model_facts

# Not the key of fastlstm's own files: those name their arrays differently.
METADATA_KEY = "fastlstm.torch"
GIVEN = ("given.h", "given.c")


def to_state_dict(network: Network) -> dict[str, np.ndarray]:
    """The network's weights under PyTorch's names, copied.

    >>> network = Network(Architecture(vocabulary=5, hidden=4, embedding=3))
    >>> to_state_dict(network)["lstm.weight_ih_l0"].shape
    (16, 3)
    """
    state = {}
    for name, view in _views(network).items():
        state[name] = view.copy()
        if "bias_ih" in name:
            state[_second(name)] = np.zeros_like(view)
    return state


def from_state_dict(state: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Network:
    """A network with the weights of a state dict of arrays or CPU tensors, whose shapes decide its sizes.

    Biases may be missing. `options` may hold what shapes don't tell: `tied`, `dropout`, `embedding_dropout`
    and `forget_bias`. Raises FastLSTMError naming what is missing, unknown or of another shape or dtype.
    """
    arrays = {name: np.asarray(value) for name, value in state.items()}
    network = Network(_architecture(arrays, options or {}))
    views = _views(network)
    for name, array in arrays.items():
        view = views.get(name.replace("bias_hh", "bias_ih"))
        if view is None:
            raise FastLSTMError(f"{name} has no place in the network: it has {', '.join(views)}")
        if array.shape != view.shape:
            raise FastLSTMError(f"{name} is {array.shape}, the other weights ask for {view.shape}")
    for name, view in views.items():
        if name in arrays:
            view[...] = arrays[name]
        elif "bias" in name:
            view[...] = 0
        elif not (name == "head.weight" and network.architecture.tied):
            raise FastLSTMError(f"{name} is missing: a network needs {', '.join(views)}")
        if _second(name) in arrays and _second(name) != name:
            view += arrays[_second(name)]
    return network


def write_torch(path: str | os.PathLike[str], model: Any) -> None:
    """Write the model's state dict as safetensors, and all else it needs as JSON in the metadata.

    `model` has a network, vocabulary, kind and preprocessing: a `CharLM`, or what `load_model` returns.
    """
    from safetensors.numpy import save

    facts = model_facts(model.network, model.vocabulary, model.kind, model.preprocessing)
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    write_atomically(path, save(to_state_dict(model.network), {METADATA_KEY: text}))


def read_torch(path: str | os.PathLike[str], characters: str | None = None, kind: str | None = None) -> Model:
    """The model in a safetensors file that holds a PyTorch state dict.

    A file without our metadata needs `characters`, in the order of their ids, and the `kind`: "names" or
    "lines" (ids from 1 on, where 0 begins and ends each) or "text" (ids from 0 on). Raises FastLSTMError.
    """
    state, metadata = _read(path)
    if OWN_KEY in metadata:
        raise FastLSTMError(
            f"{path} is a model file of fastlstm's own: use it as it is, there is nothing to import"
        )
    try:
        if METADATA_KEY in metadata:
            facts = json.loads(metadata[METADATA_KEY])
            if facts["format_version"] > NEWEST:
                raise FastLSTMError(
                    f"format version {facts['format_version']} is newer than this fastlstm: upgrade it"
                )
            vocabulary, kind = Vocabulary.from_dict(facts["vocabulary"]), str(facts["kind"])
            preprocessing, options = dict(facts["preprocessing"]), dict(facts["architecture"])
        elif characters is None or kind is None:
            raise FastLSTMError("the file does not say what its ids stand for: give --characters and --as")
        else:
            vocabulary = Vocabulary(characters, boundary=kind != "text")
            # Names are lower-cased before they are read, unless the model knows capitals.
            preprocessing = {"lowercase": kind == "names" and characters == characters.lower()}
            options = {}
        network = from_state_dict(state, options)
    except FastLSTMError as error:
        raise FastLSTMError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise FastLSTMError(f"{path}: its metadata {METADATA_KEY} is damaged; export it anew") from None
    if vocabulary.size != network.architecture.vocabulary:
        raise FastLSTMError(
            f"{path}: the weights are for {network.architecture.vocabulary} ids, its characters "
            f"{'and the boundary ' if vocabulary.boundary else ''}make {vocabulary.size}"
        )
    return Model(network, vocabulary, kind, preprocessing, {})


def _read(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FastLSTMError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            for name in names:
                if (dtype := file.get_slice(name).get_dtype()) not in ("F32", "F64"):
                    raise FastLSTMError(f"{path}: {name} is {dtype}: convert the weights with .float()")
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        why = str(error).splitlines()[0]
        raise FastLSTMError(
            f"{path} is no safetensors file ({why}): write one with safetensors.torch.save_file"
        ) from None


def _views(network: Network) -> dict[str, np.ndarray]:
    """The network's arrays, or columns of them, under PyTorch's names; the second biases have none."""
    p, a = network.parameters, network.architecture
    views = {"embedding.weight": p["embedding"]} if a.embedding else {}
    for layer in range(a.layers):
        W = p[f"lstm.{layer}.W"]
        views[f"lstm.weight_ih_l{layer}"] = W[:, a.hidden :]
        views[f"lstm.weight_hh_l{layer}"] = W[:, : a.hidden]
        views[f"lstm.bias_ih_l{layer}"] = p[f"lstm.{layer}.b"]
    views["head.weight"] = p["embedding" if a.tied else "head.W"]
    views["head.bias"] = p["head.b"]
    if a.learned_state:
        views |= {"h0": p["h0"], "c0": p["c0"]}
    if a.conditions:
        views |= {name: p[name] for name in GIVEN}
    return views


def _second(name: str) -> str:
    return name.replace("bias_ih", "bias_hh")


def _architecture(arrays: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> Architecture:
    """The sizes that a few arrays tell; whether the others agree is not yet known."""
    for name, array in arrays.items():
        if name.endswith("_reverse"):
            raise FastLSTMError(f"{name}: a bidirectional LSTM cannot generate, a single direction is needed")
        if "weight_hr" in name:
            raise FastLSTMError(f"{name}: an LSTM with projections (proj_size) has no counterpart here")
        if array.ndim != (1 if "bias" in name else 3 if name in GIVEN else 2):
            raise FastLSTMError(
                f"{name} has shape {array.shape}: biases have one dimension, given.h and given.c three, all else two"
            )
    embedding, head = arrays.get("embedding.weight"), arrays.get("head.weight")
    recurrent, output = arrays.get("lstm.weight_hh_l0"), embedding if head is None else head
    if recurrent is None:
        raise FastLSTMError("lstm.weight_hh_l0 is missing: name the three modules embedding, lstm and head")
    if output is None or (head is None and output.shape[1] != recurrent.shape[1]):
        raise FastLSTMError("head.weight is missing: name the three modules embedding, lstm and head")
    dtypes = sorted({str(array.dtype) for array in arrays.values()})
    if dtypes not in (["float32"], ["float64"]):
        raise FastLSTMError(
            f"the weights are {' and '.join(dtypes)}: convert all to float32 or all to float64"
        )
    equal = embedding is not None and (head is None or np.array_equal(head, embedding))
    kept = {
        name: options[name] for name in ("dropout", "embedding_dropout", "forget_bias") if name in options
    }
    return Architecture(
        vocabulary=len(output),
        hidden=recurrent.shape[1],
        embedding=0 if embedding is None else embedding.shape[1],
        layers=sum(name.startswith("lstm.weight_hh_l") for name in arrays),
        tied=equal and (head is None or bool(options.get("tied"))),
        learned_state="h0" in arrays,
        conditions=options.get("conditions", [len(arrays["given.h"])]) if "given.h" in arrays else (),
        dtype=dtypes[0],
        **kept,
    )
