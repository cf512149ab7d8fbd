"""Units of a network that follow something which has a name, found by correlation over what the model itself draws.

Letters: L layers, H units, N characters, K features.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlstm.generation.sampling import generate
from fastlstm.generation.stream import start

NAMES, TEXTS, LENGTH = 1500, 48, 300  # how much is drawn
LEAST = 0.5  # |r| of a unit worth naming
OCCURRENCES = 20  # and how often what it follows must have changed
VOWELS = frozenset("aeiouyæœøаеиоуыэюяαεηιουω")


class Follower(NamedTuple):
    """A unit, numbered through all layers, and the correlation r of its cell state with what it follows."""

    what: str
    unit: int
    r: float


def followers(model: Any, seed: int = 0) -> list[Follower]:
    """For each feature of names or of text a unit of its own that follows it, the clearest first."""
    names = model.kind == "names"
    if model.kind == "lines":
        texts = generate(model, TEXTS, max_length=LENGTH, seed=seed)
    else:
        texts = (
            generate(model, NAMES, seed=seed) if names else generate(model, TEXTS, length=LENGTH, seed=seed)
        )
    texts = sorted(filter(None, texts), key=len, reverse=True)
    describe = name_features if names else text_features
    described = [describe(text) for text in texts]
    what = list(described[0])
    r = correlations(model, texts, [np.array(list(features.values()), float).T for features in described])
    found: list[Follower] = []
    for k, unit in zip(*np.unravel_index(np.argsort(-abs(r), axis=None), r.shape), strict=True):
        if abs(r[k, unit]) < LEAST:
            break
        if not any(each.what == what[k] or each.unit == unit for each in found):
            found.append(Follower(what[k], int(unit), round(float(r[k, unit]), 3)))
    return found


def correlations(model: Any, texts: Sequence[str], features: Sequence[np.ndarray]) -> np.ndarray:
    """Pearson's r (K, L·H) of features, an array (N, K) for each text, with the cell states after each character.

    The longest text comes first. A feature that hardly changes correlates with nothing.
    """
    vocabulary, state = model.vocabulary, start(model, len(texts))
    first = 0 if vocabulary.boundary else int(vocabulary.encode(vocabulary.start)[0])
    state.read(np.full((1, len(texts)), first))
    ids = [vocabulary.encode(text) for text in texts]
    K, units = features[0].shape[1], state.c.shape[0] * state.c.shape[2]
    N, changes, before = 0, np.zeros(K), np.full((len(texts), K), np.nan)
    f, ff, c, cc, fc = np.zeros(K), np.zeros(K), np.zeros(units), np.zeros(units), np.zeros((K, units))
    for t in range(len(ids[0])):
        active = sum(len(text) > t for text in ids)
        step = np.zeros((1, len(texts)), np.int64)
        step[0, :active] = [text[t] for text in ids[:active]]
        state.read(step, np.array([active]))
        cells = state.c[:, :active].transpose(1, 0, 2).reshape(active, units).astype(float)
        here = np.array([text[t] for text in features[:active]])
        changes += (here != before[:active]).sum(0)
        before[:active] = here
        N += active
        f, ff, c, cc = f + here.sum(0), ff + (here**2).sum(0), c + cells.sum(0), cc + (cells**2).sum(0)
        fc += here.T @ cells
    spread = np.sqrt(np.maximum(np.outer(N * ff - f**2, N * cc - c**2), 0))
    usable = (changes >= len(texts) + OCCURRENCES)[:, None] & (spread > 1e-9)
    return np.divide(N * fc - np.outer(f, c), spread, out=np.zeros_like(fc), where=usable)


def vowel(character: str) -> bool:
    """Whether a letter without its accents is a vowel.

    >>> vowel("Å"), vowel("z")
    (True, False)
    """
    return unicodedata.normalize("NFD", character)[0].lower() in VOWELS


def name_features(name: str) -> dict[str, Sequence[float]]:
    """What can be said of each character of a name.

    >>> name_features("anna")["the same letter twice"]
    [False, False, True, False]
    """
    last = len(name) - 1
    return {
        "position in the name": range(len(name)),
        "letters still to come": range(last, -1, -1),
        "vowels": [vowel(c) for c in name],
        "the first letter": [t == 0 for t in range(len(name))],
        "the last letter": [t == last for t in range(len(name))],
        "the same letter twice": [t > 0 and name[t - 1] == c for t, c in enumerate(name)],
        "a second word": [not all(map(str.isalpha, name[: t + 1])) for t in range(len(name))],
    }


def text_features(text: str) -> dict[str, Sequence[float]]:
    """What can be said of each character of a text.

    >>> text_features('a "b" c')["inside quotes"]
    [0, 0, 1, 1, 0, 0, 0]
    """
    return {
        "position in the line": list(_since(text, "\n")),
        "position in the word": list(_since(text, " \n\t")),
        "vowels": [vowel(c) for c in text],
        "capital letters": [c.isupper() for c in text],
        "digits": [c.isdigit() for c in text],
        "inside quotes": list(_quoted(text)),
        "inside brackets": list(_depth(text)),
        "indentation": list(_indentation(text)),
        "spaces": [c == " " for c in text],
        "ends of lines": [c == "\n" for c in text],
        "full stops": [c in ".!?。" for c in text],
    }


def _since(text: str, marks: str) -> Iterator[int]:
    """How many characters ago each one's line, or word, began."""
    count = 0
    for character in text:
        count = 0 if character in marks else count + 1
        yield count


def _quoted(text: str) -> Iterator[int]:
    """1 between quotation marks, within a paragraph."""
    inside, before = 0, ""
    for character in text:
        if character in '"“”«»':
            inside = int(character in "“«" or (character == '"' and not inside))
        elif before == character == "\n":
            inside = 0
        before = character
        yield inside


def _depth(text: str) -> Iterator[int]:
    """How many brackets are open."""
    depth = 0
    for character in text:
        depth = max(depth + (character in "([{") - (character in ")]}"), 0)
        yield depth


def _indentation(text: str) -> Iterator[int]:
    """The blanks at the beginning of each character's line, so far."""
    count, counting = 0, True
    for character in text:
        if character == "\n":
            count, counting = 0, True
        elif counting and character in " \t":
            count += 1
        else:
            counting = False
        yield count
