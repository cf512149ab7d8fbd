"""The vocabulary: stable ids, exact round trips, clear errors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlstm.data.vocabulary import REPLACEMENT, Counter, Vocabulary
from fastlstm.errors import FastLSTMError

CHARACTERS = st.characters(exclude_categories=["Cs"])  # no surrogates


@given(st.lists(st.text(CHARACTERS), min_size=1).filter(any), st.booleans())
def test_every_text_survives_encoding_and_decoding(texts, boundary):
    vocabulary = Vocabulary.from_texts(texts, boundary)
    assert vocabulary.characters == tuple(sorted(set("".join(texts))))
    assert vocabulary.size == len(vocabulary.characters) + boundary
    for text in texts:
        ids = vocabulary.encode(text)
        assert ids.dtype == np.int32
        assert ids.tolist() == [vocabulary.characters.index(c) + boundary for c in text]
        assert vocabulary.decode(ids) == text
        assert vocabulary.decode(ids.tolist()) == text


def test_the_boundary_is_id_0_and_decodes_to_nothing():
    vocabulary = Vocabulary.from_texts(["anna"], boundary=True)
    assert vocabulary.decode([0, 1, 2, 2, 1, 0]) == "anna"
    assert Vocabulary.from_texts(["anna"], boundary=False).decode([0, 1, 1, 0]) == "anna"


def test_an_order_other_than_by_code_point_is_kept():
    vocabulary = Vocabulary("ban", boundary=False)
    assert vocabulary.encode("ban").tolist() == [0, 1, 2]


def test_beyond_the_basic_plane_and_beyond_ascii():
    vocabulary = Vocabulary.from_texts(["Åsa", "straße", "子", "👩‍🚀"], boundary=True)
    assert vocabulary.characters == ("a", "e", "r", "s", "t", "Å", "ß", "\u200d", "子", "👩", "🚀")
    assert vocabulary.decode(vocabulary.encode("子👩‍🚀Å")) == "子👩‍🚀Å"


def test_unknown_characters_are_all_named_with_the_place():
    vocabulary = Vocabulary.from_texts(["anna"], boundary=True)
    with pytest.raises(FastLSTMError) as caught:
        vocabulary.encode("béb\n子", "prefix")
    assert str(caught.value).startswith(r"prefix: '\n', 'b', 'é', '子' did not occur in training")
    with pytest.raises(FastLSTMError, match="and 10 more"):
        vocabulary.encode("".join(map(chr, range(0x4E00, 0x4E00 + 30))))


def test_an_unknown_character_beyond_the_known_code_points_is_found():
    vocabulary = Vocabulary("ab", boundary=False)
    with pytest.raises(FastLSTMError, match="'c'"):
        vocabulary.encode("c")
    with pytest.raises(FastLSTMError, match="'🚀'"):
        vocabulary.encode("a🚀")


def test_a_limited_vocabulary_keeps_the_most_frequent_and_replaces_the_others():
    vocabulary = Vocabulary.from_texts(["aaaabbbccd"], boundary=False, limit=3)
    assert vocabulary.characters == ("a", "b", REPLACEMENT)
    assert vocabulary.replacement == REPLACEMENT
    assert vocabulary.decode(vocabulary.encode("abcdx🚀")) == "ab" + 4 * REPLACEMENT
    # Ties go to the lower code point; a limit that is not reached replaces nothing.
    assert Vocabulary.from_texts(["zyx"], boundary=True, limit=2).characters == ("x", REPLACEMENT)
    assert Vocabulary.from_texts(["zyx"], boundary=True, limit=3).replacement is None


def test_a_replacement_character_in_the_text_itself_is_no_second_one():
    vocabulary = Vocabulary.from_texts([REPLACEMENT * 5 + "aab"], boundary=False, limit=2)
    assert vocabulary.characters == (REPLACEMENT,)
    assert vocabulary.encode("ab").tolist() == [0, 0]


@given(st.text(CHARACTERS, min_size=1), st.booleans(), st.sampled_from([None, 2, 5]))
def test_it_survives_json(text, boundary, limit):
    vocabulary = Vocabulary.from_texts([text], boundary, limit)
    again = Vocabulary.from_dict(json.loads(json.dumps(vocabulary.as_dict())))
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert (again.encode(text) == vocabulary.encode(text)).all()


def test_a_text_starts_from_its_newline_or_its_most_frequent_character():
    def start(text, boundary=False, limit=None):
        return Vocabulary.from_texts([text], boundary, limit).start

    assert (start("b\naaa"), start("bananas"), start("no nan o"), start("xxyz", limit=2)) == (
        "\n",
        "a",
        "n",
        "x",
    )
    assert start("bananas", boundary=True) is None
    assert Vocabulary("ba", boundary=False).start == "b"


def test_different_vocabularies_differ():
    first = Vocabulary("ab", boundary=True)
    assert first != Vocabulary("ab", boundary=False)
    assert first != Vocabulary("ba", boundary=True)
    assert first != Vocabulary("ab", boundary=True, replacement="a")
    assert first != "ab"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", True), "at least one"),
        ((["ab"], True), "single code points"),
        ((["a", ""], True), "single code points"),
        ((["\ud800"], True), "surrogates"),
        (("aba", True), "occurs twice"),
        (("ab", True, "c"), "replacement 'c'"),
        (("ab", False, None, "c"), "start 'c'"),
    ],
)
def test_what_is_no_vocabulary_is_refused(arguments, message):
    with pytest.raises(FastLSTMError, match=message):
        Vocabulary(*arguments)


@pytest.mark.parametrize("stored", [{}, {"characters": 3, "boundary": True, "replacement": None}, [], None])
def test_what_describes_no_vocabulary_is_refused(stored):
    with pytest.raises(FastLSTMError, match="stored vocabulary"):
        Vocabulary.from_dict(stored)


def test_ids_out_of_range_and_tiny_limits_are_refused():
    vocabulary = Vocabulary("ab", boundary=True)
    for ids in ([3], [-1], np.array([0, 7])):
        with pytest.raises(FastLSTMError, match="ids go from 0 to 2"):
            vocabulary.decode(ids)
    with pytest.raises(FastLSTMError, match="limit is 1"):
        Vocabulary.from_texts(["ab"], True, limit=1)
    with pytest.raises(FastLSTMError, match="at least one"):
        Vocabulary.from_texts([], True)


def test_empty_strings_have_no_ids_and_do_not_stop_the_counting():
    vocabulary = Vocabulary.from_texts([""] * 70_000 + ["ab"], boundary=True)
    assert vocabulary.characters == ("a", "b")
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


def test_the_counter_counts():
    counter = Counter()
    for piece in ("abba", "", "ca🚀"):
        counter.add(piece)
    codes, counts = counter.items()
    assert [chr(code) for code in codes] == ["a", "b", "c", "🚀"]
    assert counts.tolist() == [3, 2, 1, 1]
