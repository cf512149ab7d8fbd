"""Model files: safetensors with one metadata key, replaced atomically, never a pickle.

A file holds named arrays and, under the key `fastlstm`, one JSON object with sorted keys: the format's
version, the architecture, the vocabulary, the kind ("names", "lines" or "text"), the preprocessing that prefixes and
evaluation data go through, and `extra`, what else its writer keeps. `checksums` has a CRC-32 of each array and, under
the empty name, of the other facts; files from before have none. The same contents give the same bytes.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.files import write_atomically
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError, printable
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.training.stored import described, is_whole

FORMAT_VERSION = 1
NEWEST = (
    2  # the version of files with conditions, which an older fastlstm would read without them, and of lines
)
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

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    check_finite(path, contiguous, "was not written")
    facts = {"format_version": FORMAT_VERSION, **facts}
    text = _text({**facts, "checksums": checksums(contiguous, facts)})
    write_atomically(path, save(contiguous, {METADATA_KEY: text}))


def _text(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, sort_keys=True, ensure_ascii=False)


def checksums(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> dict[str, int]:
    """CRC-32 of each contiguous array's bytes and, under the empty name, of the facts."""
    sums = {name: zlib.crc32(array.reshape(-1).view(np.uint8).data) for name, array in arrays.items()}
    return {"": zlib.crc32(_text(facts).encode("utf-8", "surrogatepass")), **sums}


def check_finite(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], what: str) -> None:
    """Raise FastLSTMError for an array with NaN or infinite numbers."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FastLSTMError(f"{name} holds NaN or infinite numbers; {path} {what}")


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save_arrays` wrote: the arrays, owned by the caller, and the facts.

    Raises FastLSTMError for a missing, truncated or foreign file, for one of a newer format, and for a damaged one,
    saying which array is.
    """
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise FastLSTMError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="np") as file:
            facts = _parsed(path, (file.metadata() or {}).get(METADATA_KEY))
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        why = printable(str(error).splitlines()[0])
        raise FastLSTMError(f"{path} is truncated or no safetensors file ({why})") from None
    except TypeError:
        raise FastLSTMError(f"{path} holds arrays of a type that no model has; it is damaged") from None
    kept = facts.pop("checksums", None)
    if kept is not None:
        found = checksums(arrays, facts)
        for name in sorted({*found, *kept} if isinstance(kept, dict) else found):
            if not isinstance(kept, dict) or found.get(name) != kept.get(name):
                what = f"{printable(name)} is" if name else "its description is"
                raise FastLSTMError(
                    f"{path}: {what} damaged, its checksum is another; take a copy of the file"
                )
    check_finite(path, arrays, "is damaged, or its training diverged")
    return arrays, facts


def _parsed(path: str | os.PathLike[str], text: str | None) -> dict[str, Any]:
    """The facts in a file's metadata."""
    if text is None:
        raise FastLSTMError(f"{path} is safetensors, but not of fastlstm; see `fastlstm import --help`")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not is_whole(facts.get("format_version")):
        raise FastLSTMError(f"{path}: its metadata cannot be read; the file is damaged")
    version = facts["format_version"]
    if version > NEWEST:
        raise FastLSTMError(
            f"{path} has format version {version}, and this fastlstm reads up to {NEWEST}: upgrade it"
        )
    return facts


def model_facts(
    network: Network, vocabulary: Vocabulary, kind: str, preprocessing: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON-able description of a model that `build_model` reads."""
    return {
        "format_version": NEWEST if preprocessing.get("given") or kind == "lines" else FORMAT_VERSION,
        "architecture": network.architecture.as_dict(),
        "kind": kind,
        "preprocessing": dict(preprocessing),
        "vocabulary": vocabulary.as_dict(),
    }


def build_model(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> Model:
    """The model described by `facts` with the weights in `arrays`; `path` is for the error texts alone."""
    architecture, vocabulary = fitting(path, arrays, facts)
    network = Network(architecture)
    for name, view in network.parameters.items():
        view[...] = arrays[name]
    return Model(network, vocabulary, facts["kind"], facts["preprocessing"], facts.get("extra", {}))


def fitting(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> tuple[Architecture, Vocabulary]:
    """The architecture and the vocabulary in a file's facts, whose parameters `arrays` are; FastLSTMError if not."""
    architecture, vocabulary = described(path, facts)
    check_arrays(path, arrays, architecture.shapes(), architecture.dtype)
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
                f"{path}: {printable(name)} is {found}, but the model needs {needed}: it is of another model"
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

    `kind` is "names", "lines" or "text"; `preprocessing` and `extra` are JSON-able. Raises FastLSTMError for
    weights that are not finite.
    """
    facts = model_facts(network, vocabulary, kind, preprocessing)
    save_arrays(path, dict(network.parameters.items()), {**facts, "extra": dict(extra or {})})


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read a model from a `.safetensors` file or a run's folder; FastLSTMError says what is wrong with it."""
    return build_model(*read_model(path))


def read_model(path: str | os.PathLike[str]) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
    """What `build_model` takes, from a file or a run's folder."""
    file = Path(path)
    if file.is_dir():
        if not (file / "model.safetensors").is_file():
            raise FastLSTMError(
                f"{path} holds no model.safetensors; it is no run, or a run without a first validation"
            )
        file = file / "model.safetensors"
    arrays, facts = load_arrays(file)
    if "position" in facts:
        raise FastLSTMError(
            f"{file} is where a run goes on, not a model: give the run's folder, or another file in it"
        )
    return file, arrays, facts
