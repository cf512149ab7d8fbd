"""Putting the page together: one file from the sources in `web`, the weights and what is known of the model."""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm.data.files import write_atomically
from fastlstm.data.given import conditions_of
from fastlstm.data.novelty import index_file, read_index
from fastlstm.errors import FastLSTMError
from fastlstm.interop.page.kernel import module
from fastlstm.interop.page.units import followers
from fastlstm.network.model import Network
from fastlstm.training.folders import METRICS, MODEL
from fastlstm.training.plots import read_metrics

SCRIPTS = "tools", "drawing", "letters", "inside", "curves", "page"
ENGINE = "network", "worker"
LIMIT = 256 << 20  # bytes of weights: browsers hold no string much longer than this in base64
POINTS = 400  # of a curve
HALF = float(np.finfo(np.float16).max)
POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval'; style-src '{style}'; "
    "worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
)


class Page:
    """A model's page: `html` is all of it, `write` makes a file of it, and a notebook shows it."""

    def __init__(self, html: str) -> None:
        self.html = html

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page as one file, replaced atomically."""
        write_atomically(path, self.html.encode())

    def _repr_html_(self) -> str:
        return (
            '<iframe sandbox="allow-scripts allow-downloads" allow="clipboard-write" title="The model" '
            f'style="width: 100%; height: 42rem; border: 0" srcdoc="{html.escape(self.html)}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"Page({len(self.html) / 1e6:.1f} MB; .write('page.html') saves it)"


def build(
    model: Any,
    title: str | None = None,
    metrics: Mapping[str, Sequence[float | None]] | None = None,
    index: Collection[str] | None = None,
    half: bool = False,
) -> Page:
    """The page of a model, which has a network, vocabulary, kind and preprocessing.

    title: its heading. metrics: columns `epoch`, `train_loss`, `validation_loss`, for the curves.
    index: the training names, from which the page can tell new ones, and which it discloses. half: weights in
    half precision, for half the size. Raises FastLSTMError for weights that a page cannot hold.
    """
    from fastlstm import __version__

    facts = {
        **describe(model),
        "half": half,
        "index": None if index is None else sorted(index),
        "curves": curves(metrics) if metrics else None,
        "units": [unit._asdict() for unit in followers(model)],
    }
    style, script = _source("page.css"), "".join(_source(f"{name}.js") for name in SCRIPTS)
    parts = {
        "title": html.escape(title or model.kind.capitalize()),
        "version": __version__,
        "policy": POLICY.format(script=_digest(script), style=_digest(style)),
        "style": style,
        "script": script,
        "worker": "".join(_source(f"{name}.js") for name in ENGINE),
        "kernel": base64.b64encode(module()).decode(),
        "weights": base64.b64encode(stored(model.network, half)).decode(),
        # Inside a script element only "<" could end it; all else that is not ASCII is escaped by JSON.
        "facts": json.dumps(facts).replace("<", "\\u003c"),
    }
    return Page(re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _source("page.html")))


def of_run(
    run: str | os.PathLike[str],
    model: Any,
    title: str | None = None,
    half: bool = False,
    with_index: bool = False,
) -> Page:
    """The page of a run's folder or model file whose model has been loaded: with the run's name and curves.

    Raises FastLSTMError where the index is asked for and not there.
    """
    folder = Path(os.path.abspath(run))
    if not folder.is_dir() and folder.name == MODEL:
        folder = folder.parent
    name = re.sub(r"-\d+$", "", folder.name.removesuffix(".safetensors"))
    index = read_index(run) if with_index else None
    if with_index and index is None:
        missing = index_file(run).name
        raise FastLSTMError(f"{run} has no {missing}, its training names, so its page cannot tell new ones")
    metrics = read_metrics(folder) if (folder / METRICS).is_file() else None
    return build(model, title or name[:1].upper() + name[1:], metrics, index, half)


def describe(model: Any) -> dict[str, Any]:
    """What the engine in the page needs to know of the model.

    `tensors` says from where to where each parameter lies in the weights; `longest`, how long lines may be, 0 for all else.
    `given` has each condition's name and the
    names of its values, in the order of their rows in the tensors `given.h` and `given.c`; the first leaves it open.
    """
    network, vocabulary = model.network, model.vocabulary
    ends = np.cumsum([0, *(view.size for _, view in network.parameters.items())]).tolist()
    names = [name for name, _ in network.parameters.items()]
    return {
        **vocabulary.as_dict(),
        "architecture": network.architecture.as_dict(),
        "tensors": dict(zip(names, itertools.pairwise(ends), strict=False)),
        "parameters": ends[-1],
        "lowercase": bool(model.preprocessing.get("lowercase")),
        "longest": model.preprocessing.get("longest", 0),
        "given": [{"name": c.title, "values": ["any", *c.values]} for c in conditions_of(model)],
    }


def stored(network: Network, half: bool) -> bytes:
    """The parameters one after the other, little-endian in float32 or float16."""
    views = dict(network.parameters.items())
    size = sum(view.size for view in views.values()) * (2 if half else 4)
    if size > LIMIT:
        raise FastLSTMError(
            f"the weights take {size >> 20:,} MB, and a page holds {LIMIT >> 20}"
            + ("" if half else ": half precision takes half of it (--half)")
        )
    for name, view in views.items():
        if half and abs(view).max() > HALF:
            raise FastLSTMError(
                f"{name} has a weight of {abs(view).max():g}, too large for half precision: export without --half"
            )
    return b"".join(view.astype("<f2" if half else "<f4").tobytes() for view in views.values())


def curves(metrics: Mapping[str, Sequence[float | None]]) -> dict[str, list[float | None]] | None:
    """The losses of a training at no more than POINTS moments, None where one was not measured."""
    rows = list(zip(*(metrics[name] for name in ("epoch", "train_loss", "validation_loss")), strict=True))
    rows = [row for row in rows if row[0] is not None and row[1:] != (None, None)]
    if len(rows) < 2:
        return None
    kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), POINTS)).round().astype(int))
    columns = zip(*(rows[k] for k in kept), strict=True)
    rounded = [[None if value is None else round(value, 4) for value in column] for column in columns]
    return dict(zip(("epoch", "train", "validation"), rounded, strict=True))


def _source(name: str) -> str:
    return files("fastlstm.interop.page").joinpath("web", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
