"""Small models for the tests of sampling, and the obvious twin: one sequence, one character, float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fastlstm.data.vocabulary import Vocabulary
from fastlstm.network import reference
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def small_model(characters: str = "abc", kind: str = "names", scale: float = 3.0, **options: Any) -> Any:
    """A network of random weights, large enough that its choices are neither even nor certain."""
    vocabulary = Vocabulary(characters, boundary=kind == "names")
    sizes = {"hidden": 5, "embedding": 3, "dtype": "float64", **options}
    network = Network(Architecture(vocabulary.size, **sizes), seed=3)
    network.parameters.flat[:] = np.random.default_rng(1).normal(0, scale / 4, network.parameters.flat.shape)
    return SimpleNamespace(
        network=network, vocabulary=vocabulary, kind=kind, preprocessing={"lowercase": True}
    )


def naive_logits(model: Any, ids: list[int]) -> np.ndarray:
    """The logits (V,) after the network has read `ids`, by the reference's steps."""
    a, p = model.network.architecture, model.network.parameters
    parameters = {name: view.astype(np.float64) for name, view in p.items()}
    start = [parameters.get(name, np.zeros((a.layers, a.hidden))) for name in ("h0", "c0")]
    h, c = ([array[layer] for layer in range(a.layers)] for array in start)
    for i in ids:
        x = parameters["embedding"][i] if a.embedding else np.eye(a.vocabulary)[i]
        for layer in range(a.layers):
            W, b = parameters[f"lstm.{layer}.W"], parameters[f"lstm.{layer}.b"]
            h[layer], step = reference.step_forward(x, h[layer], c[layer], W, b)
            x, c[layer] = h[layer], step.c_next
    return parameters["embedding" if a.tied else "head.W"] @ h[-1] + parameters["head.b"]


def naive_probabilities(
    logits: np.ndarray,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    banned: int = -1,
) -> np.ndarray:
    """What each id is chosen with: the end mark ruled out, then temperature, top_k and top_p."""
    z = np.array(logits, np.float64)
    if banned >= 0:
        z[banned] = -np.inf
    ranked = np.argsort(-z, kind="stable")
    if temperature == 0:
        return np.eye(len(z))[ranked[0]]
    weights = np.exp((z - z.max()) / temperature)
    weights[ranked[len(z) if top_k is None else top_k :]] = 0
    if top_p < 1:
        enough = np.cumsum(weights[ranked]) >= top_p * np.cumsum(weights)[-1]
        weights[ranked[enough.argmax() + 1 :]] = 0
    return weights / weights.sum()


def mix(x: int) -> int:
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & MASK
    return x ^ x >> 31


def naive_uniform(seed: int, sequence: int, position: int) -> float:
    key = mix((mix(seed) + (sequence + 1) * GOLDEN) & MASK)
    return (mix((key + (position + 1) * GOLDEN) & MASK) >> 11) / 2**53


def naive_sample(
    model: Any,
    seed: int,
    sequence: int,
    prefix: str = "",
    shortest: int = 1,
    longest: int = 100,
    **controls: Any,
) -> str:
    """One name (or text) as the definitions say; `shortest` and `longest` count drawn characters."""
    names = model.kind == "names"
    first = [0] if names else model.vocabulary.encode(model.vocabulary.start).tolist()
    ids = first + model.vocabulary.encode(prefix).tolist()
    drawn: list[int] = []
    while len(drawn) < longest:
        banned = 0 if names and len(drawn) < shortest else -1
        p = naive_probabilities(naive_logits(model, ids + drawn), **controls, banned=banned)
        chosen = int((np.cumsum(p) > naive_uniform(seed, sequence, len(drawn)) * np.cumsum(p)[-1]).argmax())
        if names and chosen == 0:
            break
        drawn.append(chosen)
    return prefix + model.vocabulary.decode(drawn)


def naive_names(model: Any, longest: int, **controls: Any) -> dict[str, float]:
    """Every name of up to `longest` characters with its probability; one that is cut there is whole."""
    found: dict[str, float] = {}
    beginnings = {"": 1.0}
    for length in range(longest):
        onward: dict[str, float] = {}
        for beginning, mass in beginnings.items():
            logits = naive_logits(model, [0, *model.vocabulary.encode(beginning).tolist()])
            p = naive_probabilities(logits, **controls, banned=-1 if length else 0)
            if length:
                found[beginning] = mass * p[0]
            for i, character in enumerate(model.vocabulary.characters, 1):
                onward[beginning + character] = mass * p[i]
        beginnings = onward
    return found | beginnings
