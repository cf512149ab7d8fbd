"""Model files: safetensors with one metadata key, replaced atomically, never a pickle.

A file holds named arrays and, under the key `fastlstm`, one JSON object with sorted keys: the format's
version, the architecture, the vocabulary, the kind ("names" or "text"), the preprocessing that prefixes and
evaluation data go through, and `extra`, what else its writer keeps. The same contents give the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.files import write_atomically
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network

FORMAT_VERSION = 1
METADATA_KEY = "fastlstm"


class Model(NamedTuple):
    """What a model file holds: all that sampling and evaluation need."""

    network: Network
    vocabulary: Vocabulary
    kind: str
    preprocessing: dict[str, Any]
    extra: dict[str, Any]


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> None:
    """Write named arrays and JSON-able facts as one file; refuses, with FastLSTMError, NaN and infinities."""
    from safetensors.numpy import save

    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise FastLSTMError(f"{name} holds NaN or infinite numbers; {path} was not written")
    text = json.dumps({"format_version": FORMAT_VERSION, **facts}, sort_keys=True, ensure_ascii=False)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_atomically(path, save(contiguous, {METADATA_KEY: text}))


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save_arrays` wrote: the arrays, owned by the caller, and the facts.

    Raises FastLSTMError for a missing, truncated or foreign file and for one of a newer format.
    """
    with _opened(path) as (file, facts):
        return {name: np.array(file.get_tensor(name)) for name in file.keys()}, facts  # noqa: SIM118


def load_facts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts of a file alone; raises what `load_arrays` raises."""
    with _opened(path) as (_, facts):
        return facts


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, dict[str, Any]]]:
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FastLSTMError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="np") as file:
            yield file, _parsed(path, (file.metadata() or {}).get(METADATA_KEY))
    except SafetensorError as error:
        why = str(error).splitlines()[0]
        raise FastLSTMError(f"{path} is truncated or no safetensors file ({why})") from None


def _parsed(path: str | os.PathLike[str], text: str | None) -> dict[str, Any]:
    """The facts in a file's metadata."""
    if text is None:
        raise FastLSTMError(f"{path} is safetensors, but not of fastlstm; see `fastlstm import --help`")
    try:
        facts = json.loads(text)
        version = int(facts["format_version"])
    except (ValueError, TypeError, KeyError):
        raise FastLSTMError(f"{path}: its metadata cannot be read; the file is damaged") from None
    if version > FORMAT_VERSION:
        raise FastLSTMError(
            f"{path} has format version {version}, and this fastlstm reads up to {FORMAT_VERSION}: upgrade it"
        )
    return facts


def model_facts(
    network: Network, vocabulary: Vocabulary, kind: str, preprocessing: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON-able description of a model that `build_model` reads."""
    return {
        "architecture": network.architecture.as_dict(),
        "kind": kind,
        "preprocessing": dict(preprocessing),
        "vocabulary": vocabulary.as_dict(),
    }


def build_model(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> Model:
    """The model described by `facts` with the weights in `arrays`; `path` is for the error texts alone."""
    architecture, vocabulary = described(path, facts)
    check_arrays(path, arrays, architecture.shapes(), architecture.dtype)
    network = Network(architecture)
    for name, view in network.parameters.items():
        view[...] = arrays[name]
    return Model(network, vocabulary, facts["kind"], facts["preprocessing"], facts.get("extra", {}))


def described(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> tuple[Architecture, Vocabulary]:
    """The architecture and the vocabulary in a file's facts; FastLSTMError where they are damaged."""
    try:
        architecture = Architecture(**facts["architecture"])
        vocabulary = Vocabulary.from_dict(facts["vocabulary"])
        architecture.shapes()
        sound = facts["kind"] in ("names", "text") and isinstance(facts["preprocessing"], dict)
    except FastLSTMError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise FastLSTMError(f"{path}: its description of the model is damaged ({error!r})") from None
    if not sound:
        raise FastLSTMError(f"{path}: its description of the model is damaged (kind or preprocessing)")
    if vocabulary.size != architecture.vocabulary:
        raise FastLSTMError(
            f"{path}: the vocabulary has {vocabulary.size} entries, the network {architecture.vocabulary}"
        )
    return architecture, vocabulary


def check_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
) -> None:
    """Raise FastLSTMError unless `arrays` are exactly the named ones, of these shapes and this dtype."""
    for name in [*shapes, *arrays]:
        found = f"{arrays[name].dtype} {arrays[name].shape}" if name in arrays else "missing"
        needed = f"{dtype} {shapes[name]}" if name in shapes else "no such array"
        if found != needed:
            raise FastLSTMError(
                f"{path}: {name} is {found}, but the model needs {needed}: it is of another model"
            )


def save_model(
    path: str | os.PathLike[str],
    network: Network,
    vocabulary: Vocabulary,
    kind: str,
    preprocessing: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a model file that stands alone; the old one stays whole if anything goes wrong.

    `kind` is "names" or "text"; `preprocessing` and `extra` are JSON-able. Raises FastLSTMError for
    weights that are not finite.
    """
    facts = model_facts(network, vocabulary, kind, preprocessing)
    save_arrays(path, dict(network.parameters.items()), {**facts, "extra": dict(extra or {})})


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model from a `.safetensors` file or a run's folder; FastLSTMError says what is wrong with it."""
    file = Path(path)
    if file.is_dir():
        if not (file / "model.safetensors").is_file():
            raise FastLSTMError(
                f"{path} holds no model.safetensors; it is no run, or a run without a first validation"
            )
        file = file / "model.safetensors"
    arrays, facts = load_arrays(file)
    return build_model(file, arrays, facts)
