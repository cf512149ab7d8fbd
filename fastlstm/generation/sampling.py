"""Generation: names or text drawn from a model, all sequences of a request side by side.

What a request means, in order: a prefix is run once and its state shared by all that begin with it; of each
row of logits the end mark is ruled out while the name is too short; then temperature, top_k, top_p and the
choice itself, as `fastlstm.engine.kernels.choose.choose` defines them. The uniform number behind a choice depends on
(seed, sequence, position) alone, so neither the batch nor the number of threads changes what is drawn, and
`n` only decides how far a list goes: the first names of a longer list are those of the shorter one.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

import numpy as np

from fastlstm.data.given import combinations, conditions_of, numbers_of
from fastlstm.data.novelty import comparable
from fastlstm.data.reading import preprocess
from fastlstm.errors import FastLSTMError, check_keywords, quoted
from fastlstm.generation.drawing import Rules, draw, pick, stream_keys
from fastlstm.generation.request import DEFAULT_LENGTH, DEFAULT_ROOM, Request
from fastlstm.generation.stream import begin, step

MOST_CHARACTERS = 2**26  # drawn side by side


def rules_for(model: Any, request: Request, prefixes: Sequence[str]) -> Rules:
    """The request's numbers for this model, and how many characters each prefix leaves to draw."""
    names = model.vocabulary.boundary
    for name in ("length",) if names else ("min_length", "max_length", "novel", "unique", "avoid"):
        if getattr(request, name):
            other = "text" if names else "names or lines"
            raise FastLSTMError(f"{name} is for models of {other}, and this one is of {model.kind}")
    given = np.array([len(prefix) for prefix in prefixes], np.int64)
    if names:
        shortest = np.maximum((1 if request.min_length is None else request.min_length) - given, 0)
        longest = np.maximum(shortest + DEFAULT_ROOM, model.preprocessing.get("longest", 0) - given)
        if request.max_length is not None:
            longest = request.max_length - given
    else:
        shortest, longest = np.zeros_like(given), np.full_like(given, request.length or DEFAULT_LENGTH)
    if (longest < 0).any():
        prefix = prefixes[int(longest.argmin())]
        raise FastLSTMError(f"the prefix {quoted(prefix)} is longer than max_length {request.max_length}")
    V = model.vocabulary.size
    return Rules(
        temperature=float(request.temperature),
        top_k=min(request.top_k or V, V),
        top_p=float(request.top_p or 1),
        end=0 if model.vocabulary.boundary else -1,
        stop=model.vocabulary.encode(request.stop, f"stop {quoted(request.stop)}"),
        shortest=shortest,
        longest=longest,
    )


def context(vocabulary: Any, ids: np.ndarray) -> np.ndarray:
    """What the network reads before the first drawn character: where data begin, then the prefix's ids.

    Names begin with the end mark, a text after the vocabulary's `start`: training has hardly seen a state
    that comes from nothing.
    """
    first = np.zeros(1, np.int32) if vocabulary.boundary else vocabulary.encode(vocabulary.start)
    return np.concatenate([first, ids])


class _Source:
    """The endless streams of texts, one for each prefix under each combination of conditions, that a seed draws."""

    def __init__(self, model: Any, request: Request) -> None:
        self.vocabulary, self.request = model.vocabulary, request
        self.threads = request.threads or model.network.threads
        self.lowercase = bool(model.preprocessing.get("lowercase"))
        conditions = conditions_of(model)
        asked = [request.prefix] if request.prefixes is None else request.prefixes
        streams = list(product(combinations(conditions, request.given), asked))
        self.given = [given for given, _ in streams]
        self.prefixes = [preprocess(prefix, self.lowercase) for _, prefix in streams]
        self.rules = rules_for(model, request, self.prefixes)
        encoded = [self.vocabulary.encode(prefix, f"prefix {quoted(prefix)}") for prefix in self.prefixes]
        numbers = np.array([numbers_of(conditions, given) for given in self.given], np.int32)
        self.state, self.logits = begin(model, [context(self.vocabulary, ids) for ids in encoded], numbers)
        self.seed = secrets.randbits(64) if request.seed is None else request.seed
        self.queues = [deque[str]() for _ in self.prefixes]
        self.sequences = [0] * len(self.prefixes)

    def next(self, prefix: int, want: int) -> str:
        """The next text of a prefix's stream, when about `want` of them will be asked for."""
        if not self.queues[prefix]:
            self._fill(prefix, want)
        return self.queues[prefix].popleft()

    def _fill(self, prefix: int, want: int) -> None:
        """Draw a batch: `want` of one prefix and, while there is room, the first n of those behind it."""
        room = min(self.request.batch_size, max(1, MOST_CHARACTERS // max(1, int(self.rules.longest.max()))))
        origins, numbers = [], []
        for p in range(prefix, len(self.prefixes)):
            first = self.sequences[p]
            count = min(room, want if p == prefix else self.request.n - first)
            origins += [p] * count
            numbers += range((p << 40) + first, (p << 40) + first + count)
            self.sequences[p] += max(count, 0)
            room -= max(count, 0)
        keys = stream_keys(self.seed, np.array(numbers, np.uint64))
        ids, lengths = draw(self.state, np.array(origins, np.int64), keys, self.rules, self.threads)
        for p, text in zip(origins, self._texts(ids, lengths), strict=True):
            self.queues[p].append(self.prefixes[p] + text)

    def _texts(self, ids: np.ndarray, lengths: np.ndarray) -> list[str]:
        """The strings of drawn ids, decoded as one and then cut; a stop text at the end is left out."""
        ids = ids[:, : lengths.max()]
        joined = self.vocabulary.decode(ids[np.arange(ids.shape[1]) < lengths[:, None]])
        ends = lengths.cumsum()
        texts = [joined[a:b] for a, b in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]
        return [text.removesuffix(self.request.stop) for text in texts] if self.request.stop else texts


def drawn(model: Any, request: Request) -> Iterator[tuple[str, dict[str, str]]]:
    """The names (or texts) of a request as they are found, each with the values of the conditions it was drawn under.

    All of one prefix and combination of values come before those of the next; fewer than n of them if
    `request.limit` draws did not bring forth enough. Raises FastLSTMError for unknown characters, for what the model
    cannot do, and for novel=True where it has no `index`.
    """
    source = _Source(model, request)
    known = getattr(model, "index", None) if request.novel is True else request.novel or ()
    if known is None:
        raise FastLSTMError("novel needs the training names, and this model came without its index of them")
    return _select(source, known, {comparable(name, source.lowercase) for name in request.avoid})


def _select(source: _Source, known: Collection[str], taken: set[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The texts of each stream that are neither known nor taken, up to n of them, with what was given."""
    request = source.request
    for prefix in range(len(source.prefixes)):
        found = tried = 0
        while found < request.n and tried < request.limit:
            want = (request.n - found) * (tried + 1) // (found + 1)
            text = source.next(prefix, min(want, request.limit - tried))
            tried += 1
            name = comparable(text) if request.selective else text
            if name in taken or name in known:
                continue
            if request.unique:
                taken.add(name)
            found += 1
            yield text, source.given[prefix]


def generate(model: Any, n: int = 20, **keywords: Any) -> list[str]:
    """Draw n names (or texts) for each prefix and each combination of given values; the keywords are the fields of `Request`.

    `model` has a network, vocabulary, kind and preprocessing, and for novel=True an index of its training
    names. The list is shorter where tries ran out. Raises FastLSTMError for whatever cannot be done.
    """
    check_keywords(keywords, [field.name for field in fields(Request)])
    return [text for text, _ in drawn(model, Request(n=n, **keywords))]


def stream(model: Any, **keywords: Any) -> Iterator[str]:
    """One text in pieces as it is drawn: joined, what `generate` draws with n=1 and these keywords."""
    request = Request(n=1, **keywords)
    source = _Source(model, request)
    if request.selective or request.prefixes is not None:
        raise FastLSTMError("novel, unique, avoid and prefixes choose among whole names: use generate")
    if len(source.prefixes) > 1:
        raise FastLSTMError("several values of a condition ask for several texts: use generate")
    yield from source.prefixes
    rules, state, logits = source.rules, source.state, source.logits
    keys, held = stream_keys(source.seed, np.zeros(1)), ""
    chosen = np.empty(1, np.int64)
    for position in range(int(rules.longest[0])):
        if position:
            logits = step(state, chosen)
        chosen = pick(logits, keys, position, position < rules.shortest, rules)
        if chosen[0] == rules.end:
            break
        held += model.vocabulary.decode(chosen)
        if request.stop and held.endswith(request.stop):
            held = held.removesuffix(request.stop)
            break
        ready = max(len(held) - max(len(request.stop) - 1, 0), 0)
        yield held[:ready]
        held = held[ready:]
    yield held
