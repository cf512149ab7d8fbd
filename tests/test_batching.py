"""Splits, ragged batches and streams, compared with the obvious."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlstm.data.batching import Batch, NameBatches, split_names, split_text
from fastlstm.data.names import Names
from fastlstm.data.streams import TextStreams
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError

NAMES = st.lists(st.text("abcß子🚀", min_size=1, max_size=9), min_size=1, max_size=40)


def obvious_batch(names: list[str], vocabulary: Vocabulary) -> Batch:
    names = sorted(names, key=len, reverse=True)
    T = len(names[0]) + 1
    ids, targets = np.zeros((T, len(names)), np.int32), np.zeros((T, len(names)), np.int32)
    for b, name in enumerate(names):
        for t, character in enumerate(name):
            ids[t + 1, b] = targets[t, b] = vocabulary.characters.index(character) + 1
    return Batch(ids, targets, np.array([len(name) + 1 for name in names], np.int32))


def names_of(batch: Batch, vocabulary: Vocabulary) -> list[str]:
    assert batch.lengths is not None
    return [vocabulary.decode(batch.targets[:n, b]) for b, n in enumerate(batch.lengths)]


@settings(deadline=None)
@given(NAMES, st.integers(1, 50), st.integers(0, 5))
def test_batches_equal_the_obvious_ones(raw, batch_size, seed):
    names = Names(raw)
    vocabulary = Vocabulary.from_texts(names, boundary=True)
    batches = NameBatches(names, vocabulary, batch_size)
    for epoch in (list(batches.epoch(np.random.default_rng(seed))), list(batches.ordered())):
        assert len(epoch) == len(batches)
        seen = []
        for batch in epoch:
            drawn = names_of(batch, vocabulary)
            expected = obvious_batch(drawn, vocabulary)
            assert batch.given is None
            for array, other in zip(batch[:3], expected[:3], strict=True):
                assert array is not None
                assert other is not None
                assert array.dtype == np.int32
                assert array.flags.c_contiguous
                assert np.array_equal(array, other)
            assert len(drawn) == batch_size or batch is epoch[-1]
            seen += drawn
        assert Counter(seen) == Counter(raw)


def test_an_epoch_depends_on_its_generator_alone_and_can_begin_anywhere():
    names = Names([f"n{i:x}" for i in range(100)])
    batches = NameBatches(names, Vocabulary.from_texts(names, boundary=True), 7)

    def epoch(key, start=0):
        return [batch.ids.tolist() for batch in batches.epoch(np.random.default_rng(key), start)]

    assert epoch([1, 0]) == epoch([1, 0])
    assert epoch([1, 0]) != epoch([1, 1])
    assert epoch([1, 0])[4:] == epoch([1, 0], start=4)
    assert epoch([1, 0], start=len(batches)) == []


def test_evaluation_goes_from_long_to_short():
    names = Names(["a", "bbbb", "cc", "dddd", "e"])
    batches = NameBatches(names, Vocabulary.from_texts(names, boundary=True), 2)
    assert [np.asarray(batch.lengths).tolist() for batch in batches.ordered()] == [[5, 5], [3, 2], [2]]


def weighted(weights: list[float]) -> tuple[NameBatches, Vocabulary]:
    names = Names([chr(ord("a") + i % 4) for i in range(len(weights))], weights=weights)
    vocabulary = Vocabulary("abcd", boundary=True)
    return NameBatches(names, vocabulary, 100), vocabulary


def test_weights_are_the_odds_of_being_drawn():
    # 4,000 rows: a has weight 1 in each of its rows, b 2, c none, d 5.
    batches, vocabulary = weighted([1, 2, 0, 5] * 1000)
    drawn = Counter(
        n for batch in batches.epoch(np.random.default_rng(0)) for n in names_of(batch, vocabulary)
    )
    assert sum(drawn.values()) == 4000
    assert set(drawn) == {"a", "b", "d"}
    for name, odds in zip("abd", (1 / 8, 2 / 8, 5 / 8), strict=True):
        assert abs(drawn[name] - 4000 * odds) < 5 * np.sqrt(4000 * odds * (1 - odds))
    again = [batch.ids.tolist() for batch in batches.epoch(np.random.default_rng(0))]
    assert again == [batch.ids.tolist() for batch in batches.epoch(np.random.default_rng(0))]


@given(st.lists(st.integers(0, 9), min_size=4, max_size=60).filter(any))
def test_evaluation_takes_each_name_by_its_share(weights):
    batches, vocabulary = weighted([float(w) for w in weights])
    drawn = Counter(n for batch in batches.ordered() for n in names_of(batch, vocabulary))
    assert sum(drawn.values()) == len(weights)
    for i, name in enumerate("abcd"):
        share = len(weights) * sum(weights[i::4]) / sum(weights)
        assert abs(drawn[name] - share) <= 1 + 1e-9


def test_batches_of_nothing_or_with_foreign_characters_are_refused():
    names = Names(["anna", "bo"])
    vocabulary = Vocabulary.from_texts(names, boundary=True)
    with pytest.raises(FastLSTMError, match="batch size is 0"):
        NameBatches(names, vocabulary, 0)
    with pytest.raises(FastLSTMError, match="no name"):
        NameBatches(Names([]), vocabulary, 2)
    with pytest.raises(FastLSTMError, match="'x'"):
        NameBatches(Names(["xena"]), vocabulary, 2)
    with pytest.raises(FastLSTMError, match="boundary"):
        NameBatches(names, Vocabulary.from_texts(names, boundary=False), 2)


@given(NAMES, st.integers(0, 3), st.sampled_from([0, 0.1, 0.5, 1, 3]))
def test_no_name_is_on_both_sides_of_a_split(raw, seed, validation):
    weights = np.arange(1.0, len(raw) + 1)
    names = Names(raw, weights=weights)
    total = len(names.distinct)
    count = validation if isinstance(validation, int) else max(1, round(validation * total))
    if count >= total:
        with pytest.raises(FastLSTMError, match="leaves none"):
            split_names(names, validation, seed)
        return
    train, held_out = split_names(names, validation, seed)
    assert len(held_out.distinct) == count
    assert not set(train.distinct) & set(held_out.distinct)
    for part in (train, held_out):
        # Rows keep their order, their duplicates and their weights.
        expected = [(n, w) for n, w in zip(raw, weights, strict=True) if n in set(part.distinct)]
        assert part.weights is not None
        assert list(zip(part, part.weights, strict=True)) == expected
        assert set(part.distinct) == set(part)


def test_a_split_depends_on_the_seed_and_the_set_of_names_only():
    raw = [f"name{i:03}" for i in range(100)]
    first = set(split_names(Names(raw), 10, 0)[1])
    assert first == set(split_names(Names(raw), 0.1, 0)[1])
    assert first == set(split_names(Names([*reversed(raw), *raw]), 10, 0)[1])
    assert first != set(split_names(Names(raw), 10, 1)[1])


@pytest.mark.parametrize("validation", [-1, -0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_what_is_neither_a_fraction_nor_a_number_is_refused(validation):
    names = Names(["ada", "bo", "cy"])
    with pytest.raises(FastLSTMError, match="must be a fraction under 1 or a whole number"):
        split_names(names, validation, 0)
    with pytest.raises(FastLSTMError, match="must be a fraction under 1 or a whole number"):
        split_text(np.arange(10), validation)


def test_a_text_is_split_before_its_last_part():
    ids = np.arange(100, dtype=np.uint8)
    train, held_out = split_text(ids, 0.1)
    assert train.tolist() == list(range(90))
    assert held_out.tolist() == list(range(90, 100))
    assert np.shares_memory(train, ids)
    assert [len(part) for part in split_text(ids, 7)] == [93, 7]
    assert [len(part) for part in split_text(ids, 0)] == [100, 0]
    with pytest.raises(FastLSTMError, match="leaves none"):
        split_text(ids, 100)


@settings(max_examples=50)
@given(
    st.integers(2, 300), st.integers(1, 9), st.integers(1, 40), st.sampled_from(["uint8", "uint16", "int32"])
)
def test_streams_read_the_text_once_and_in_order(length, B, T, dtype):
    ids = (np.arange(length) % 251).astype(dtype)
    if length - 1 < B:
        with pytest.raises(FastLSTMError, match="too short"):
            TextStreams(ids, B, T)
        return
    streams = TextStreams(ids, B, T)
    windows = [streams.window(i) for i in range(streams.windows)]
    for i, batch in enumerate(windows):
        assert batch.lengths is None
        assert batch.ids.dtype == batch.targets.dtype == np.int32
        assert batch.ids.flags.c_contiguous
        assert batch.targets.flags.c_contiguous
        assert batch.ids.shape == batch.targets.shape
        assert batch.ids.shape[1] == B
        assert len(batch.ids) == T or (i == len(windows) - 1 and 1 <= len(batch.ids) < T)
    inputs = np.concatenate([batch.ids for batch in windows]).T
    targets = np.concatenate([batch.targets for batch in windows]).T
    per_stream = (length - 1) // B
    assert inputs.ravel().tolist() == ids[: B * per_stream].tolist()
    assert targets.ravel().tolist() == ids[1 : B * per_stream + 1].tolist()


def test_streams_of_nothing_are_refused():
    for streams, steps in ((0, 5), (5, 0)):
        with pytest.raises(FastLSTMError, match="at least 1 stream"):
            TextStreams(np.arange(100), streams, steps)
