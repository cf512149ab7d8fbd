"""How probable names are under a model, and which are the most probable. Log-probabilities are natural."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlstm.data.given import conditions_of, numbers_of
from fastlstm.data.reading import preprocess
from fastlstm.errors import FastLSTMError, quoted
from fastlstm.generation.drawing import NOT_FINITE
from fastlstm.generation.request import DEFAULT_ROOM, LONGEST, whole
from fastlstm.generation.sampling import context
from fastlstm.generation.stream import begin, start, step

BATCH, CHARACTERS = (
    480,
    1 << 20,
)  # names scored at once, and their characters where all are as long as the longest


class Score(NamedTuple):
    """log p of a whole name in nats, and -log2 p a character; the end of the name counts as one."""

    logprob: float
    bits_per_character: float


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log of softmax over the last axis, in float64."""
    z = logits.astype(np.float64)
    z -= z.max(-1, keepdims=True)
    if not np.isfinite(z).all():
        raise FastLSTMError(NOT_FINITE)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def score(
    model: Any,
    names: Sequence[str],
    prepared: bool = False,
    given: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
) -> list[Score]:
    """The scores of names, or of texts under a text model, in their order.

    `given` are values of the model's conditions by title, for all names or a mapping for each. Names are preprocessed
    as the training data were, unless `prepared`. A text's first character is scored as the first of a sample without a
    prefix. Raises FastLSTMError for unknown characters, naming them, and for an empty text.
    """
    vocabulary, lowercase = model.vocabulary, bool(model.preprocessing.get("lowercase"))
    targets = []
    for name in names:
        ids = vocabulary.encode(name if prepared else preprocess(name, lowercase), quoted(name))
        if vocabulary.boundary:
            ids = np.append(ids, np.int32(0))
        elif not len(ids):
            raise FastLSTMError("an empty text has no score: give at least one character")
        targets.append(ids)
    conditions = conditions_of(model)
    if given is None or isinstance(given, Mapping):
        numbers = np.array([numbers_of(conditions, given or {})] * len(targets), np.int32)
    else:
        numbers = np.array([numbers_of(conditions, each) for each in given], np.int32)
    logprobs = _all_logprobs(model, targets, numbers)
    return [
        Score(float(logprob), float(-logprob / math.log(2) / len(ids)))
        for logprob, ids in zip(logprobs, targets, strict=True)
    ]


def _all_logprobs(model: Any, targets: list[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """log p of id sequences in any order, each from where data begin, under their conditions' values."""
    first = int(context(model.vocabulary, np.zeros(0, np.int32))[0])
    order = sorted(range(len(targets)), key=lambda k: -len(targets[k]))
    logprobs = np.zeros(len(targets))
    k = 0
    while k < len(order):
        block = order[k : k + max(1, min(BATCH, CHARACTERS // max(1, len(targets[order[k]]))))]
        logprobs[block] = _logprobs(model, [targets[i] for i in block], first, numbers[block])
        k += len(block)
    return logprobs


def _logprobs(model: Any, targets: list[np.ndarray], first: int, numbers: np.ndarray) -> np.ndarray:
    """log p (B,) of id sequences, the longest first, each after the single id `first`."""
    B, sizes = len(targets), np.array([len(ids) for ids in targets])
    after = np.zeros((sizes[0], B), np.int64)
    for b, ids in enumerate(targets):
        after[: len(ids), b] = ids
    before = np.concatenate([np.full((1, B), first), after[:-1]])
    state, sums = start(model, B, numbers), np.zeros(B)
    for t in range(len(after)):
        active = np.count_nonzero(sizes > t)
        logits = state.read(before[t : t + 1], np.array([active]))[:active]
        sums[:active] += log_softmax(logits)[np.arange(active), after[t, :active]]
    return sums


class Beam(NamedTuple):
    """The most probable names, best first, and whether it is certain that no other one is more probable."""

    names: list[tuple[str, Score]]
    proven: bool


def beam(
    model: Any,
    k: int = 20,
    prefix: str = "",
    width: int = 1000,
    max_length: int | None = None,
    given: Mapping[str, Any] | None = None,
) -> Beam:
    """The k most probable names that begin with `prefix` and have at most max_length characters.

    `given` has values of the model's conditions, one for each title.

    All beginnings of one length go on together, the `width` most probable of them. One that is no more
    probable than k whole names is dropped for good, since a name only loses by going on: the answer is proven
    unless `width` cut one that might have mattered. Each beginning occurs once, so no name comes twice.
    Raises FastLSTMError for a text model, unknown characters and a prefix longer than max_length.
    """
    vocabulary = model.vocabulary
    if not vocabulary.boundary:
        raise FastLSTMError(
            "beam search needs a model of names or lines: one of text does not know where to end"
        )
    for name, value in (("k", k), ("width", width)):
        whole(name, value, 1)
    prefix = preprocess(prefix, bool(model.preprocessing.get("lowercase")))
    limit = max(len(prefix) + DEFAULT_ROOM, model.preprocessing.get("longest", 0))
    if max_length is not None:
        limit = whole("max_length", max_length, max(len(prefix), 1), LONGEST)
    ids = context(vocabulary, vocabulary.encode(prefix, f"prefix {quoted(prefix)}"))
    numbers = np.array([numbers_of(conditions_of(model), given or {})], np.int32)
    state, logits = begin(model, [ids], numbers)
    beginnings = [prefix]
    probable = _logprobs(model, [ids[1:]], 0, numbers) if prefix else np.zeros(1)
    best: list[tuple[float, str]] = []
    lost = bound = -math.inf
    for length in range(len(prefix), limit + 1):
        logp = probable[:, None] + log_softmax(logits)
        best += [(-end, name) for end, name in zip(logp[:, 0].tolist(), beginnings, strict=True) if name]
        best = sorted(best)[:k]
        bound = -best[-1][0] if len(best) == k else -math.inf
        onward = logp[:, 1:].ravel()
        kept = np.flatnonzero(onward > bound)
        kept = kept[np.argsort(-onward[kept], kind="stable")]
        if length == limit or not len(kept):
            break
        lost = max(lost, onward[kept[width]] if len(kept) > width else -math.inf)
        kept = kept[:width]
        parents, characters = np.divmod(kept, logp.shape[1] - 1)
        steps = zip(parents.tolist(), characters.tolist(), strict=True)
        beginnings = [beginnings[parent] + vocabulary.characters[character] for parent, character in steps]
        probable, state = onward[kept], state.take(parents)
        logits = step(state, characters + 1)
    names = [(name, Score(-cost, cost / math.log(2) / (len(name) + 1))) for cost, name in best]
    return Beam(names, bool(lost <= bound))
