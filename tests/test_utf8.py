"""Files in UTF-8 without strings: decoded as Python decodes them, and left alone only where preprocessing leaves them."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fastlstm.data import reading
from fastlstm.data.reading import Source, is_plain, preprocessed
from fastlstm.data.utf8 import Plain, clean, first_character
from fastlstm.data.vocabulary import CODE_POINTS, code_points
from fastlstm.engine.kernels.utf8 import number_utf8
from fastlstm.errors import FastLSTMError

TEXTS = st.text(
    st.sampled_from("aA\u03a3 \n\r\0é\u0301\u0323\u1100\u1161\ufeff子\U0001f600\ud800") | st.characters(),
    max_size=30,
)
"""Texts whose characters join, and anything else."""

ENDS = [
    0,
    0x7F,
    0x80,
    0xBF,
    0xC0,
    0xC1,
    0xC2,
    0xDF,
    0xE0,
    0xED,
    0xEF,
    0xF0,
    0xF4,
    0xF5,
    0xFF,
    0x9F,
    0xA0,
    0x8F,
    0x90,
]
"""Bytes at which UTF-8's rules change."""

BYTES = st.lists(
    st.sampled_from([bytes([end]) for end in ENDS])
    | st.binary(max_size=3)
    | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    max_size=8,
).map(b"".join)


def naive(data: bytes) -> str:
    """The longest beginning that is UTF-8, with surrogates."""
    for end in range(len(data), -1, -1):
        try:
            return data[:end].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            pass
    raise AssertionError


def number(data: bytes, table: np.ndarray) -> tuple[int, list[int]]:
    numbers = np.zeros(len(data), np.uint32)
    place, count = number_utf8(np.frombuffer(data, np.uint8), 0, table, numbers, 0)
    return place, numbers[:count].tolist()


OWN = np.arange(CODE_POINTS, dtype=np.int32)


@settings(max_examples=500)
@given(BYTES, st.integers(0, 130), st.integers(0, 130))
@example(b"\xed\x9f\xbf\xed\xa0\x80\xf4\x8f\xbf\xbf", 0, 0)
def test_bytes_are_decoded_as_python_decodes_them(data, before, behind):
    data = b"x" * before + data + b"y" * behind
    text = naive(data)
    place, numbers = number(data, OWN)
    assert (place, numbers) == (len(text.encode("utf-8", "surrogatepass")), code_points(text).tolist())
    if place < len(data):
        with pytest.raises(UnicodeDecodeError):
            first_character(data, place)


def test_what_may_follow_each_first_byte():
    for first in range(0x80, 0x100):
        for second in sorted(ENDS):
            for rest in (b"", b"\x7f", b"\x80", b"\xbf", b"\x80\x80", b"\xbf\xbf", b"\xbf\xc0"):
                data = bytes([first, second]) + rest
                assert number(data, OWN)[0] == len(naive(data).encode("utf-8", "surrogatepass"))


def test_every_character_has_its_number_and_what_has_none_stops():
    text = "".join(map(chr, range(sys.maxunicode + 1)))
    data = text.encode("utf-8", "surrogatepass")
    assert number(data, OWN) == (len(data), list(range(CODE_POINTS)))
    for character in "a\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff":
        table = OWN.copy()
        table[ord(character)] = -1
        place, numbers = number(data, table)
        assert (first_character(data, place), len(numbers)) == (character, ord(character))


def test_plain_characters_are_in_normal_form_whatever_their_order():
    """In all of Unicode; that hardly anything is left out shows in how many are plain."""
    plain = [chr(code) for code in range(CODE_POINTS) if is_plain(chr(code))]
    assert len(plain) > 1_100_000
    rng = np.random.default_rng(0)
    for _ in range(2):
        assert unicodedata.is_normalized("NFC", "".join(plain))
        rng.shuffle(plain)
    for code in range(CODE_POINTS):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<" and unicodedata.is_normalized("NFC", chr(code)):
            assert not is_plain(chr(int(parts[1], 16)))


@settings(max_examples=300)
@given(TEXTS)
def test_what_is_called_plain_stays_as_it_is(text):
    data = text.encode("utf-8", "surrogatepass")
    surrogates = any("\ud800" <= c <= "\udfff" for c in text)
    if Plain().all(data):
        assert not surrogates
        assert unicodedata.normalize("NFC", text) == text
    else:
        assert surrogates or not all(map(is_plain, text))


def outcome(pieces) -> str | bytes:
    """All of it, or what is wrong with it."""
    try:
        return b"".join(pieces)
    except FastLSTMError as error:
        return str(error)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BYTES | TEXTS.map(lambda text: text.encode("utf-8", "replace")), st.integers(1, 20), st.booleans())
@example(b"\r\n" + "子".encode() * 30, 3, False)
@example(b"a\r\nb\r\n", 3, False)
@example(b"\xef\xbb\xbf\xef\xbb\xbfa", 1, True)
def test_a_file_reads_as_any_other_and_its_faults_are_named_alike(
    tmp_path, monkeypatch, data, piece, lowercase
):
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    try:
        source = Source(path)
    except FastLSTMError:
        return
    monkeypatch.setattr(reading, "PIECE", piece)
    expected = outcome(text.encode() for text in preprocessed(source.pieces(), lowercase))
    assert outcome(clean(source, lowercase)) == expected


def test_a_file_that_was_mended_meanwhile_is_to_be_read_again(tmp_path, monkeypatch):
    path = tmp_path / "t.txt"
    path.write_bytes(b"sound")
    source = Source(path)
    monkeypatch.setattr(Source, "raw", lambda _: iter([b"\xff", b""]))
    monkeypatch.setattr(Source, "pieces", lambda _: iter(["sound"]))
    assert "changed while it was read" in str(outcome(clean(source, False)))
