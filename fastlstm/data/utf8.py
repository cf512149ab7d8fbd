"""A source's text as UTF-8, preprocessed: of files in UTF-8 these are their own bytes, wherever nothing is to be done."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastlstm.data.reading import Source, cutting_point, is_plain, preprocess, preprocessed
from fastlstm.data.vocabulary import CODE_POINTS
from fastlstm.engine.kernels.utf8 import number_utf8
from fastlstm.errors import FastLSTMError

MARK = b"\xef\xbb\xbf"


def clean(source: Source, lowercase: bool) -> Iterator[bytes]:
    """The text in pieces of whole characters of UTF-8, preprocessed, each line ending in a single newline character.

    Raises what `Source.pieces` raises.
    """
    if source.encoding.removesuffix("-sig") != "utf-8":
        for text in preprocessed(source.pieces(), lowercase):
            yield text.encode("utf-8", "surrogatepass")
        return
    plain, rest, first = Plain(), b"", True
    for data in source.raw():
        whole = rest + data
        cut = cutting_place(whole) if data else len(whole)
        piece, rest = whole[:cut], whole[cut:]
        if piece and first:
            piece, first = piece.removeprefix(MARK), False
        if b"\0" in piece:
            raise complaint(source)
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if piece.isascii():
            yield piece.lower() if lowercase else piece
        elif not lowercase and plain.all(piece):
            yield piece
        else:
            try:
                yield preprocess(piece.decode(), lowercase).encode()
            except UnicodeDecodeError:
                raise complaint(source) from None


def cutting_place(data: bytes) -> int:
    """As `cutting_point`, of UTF-8 whose last character may be cut off, and whose line may end in CR and LF."""
    blank = max(data.rfind(b"\n"), data.rfind(b" "))
    return before_newline(data, blank) or before_newline(data, _between_characters(data))


def before_newline(data: bytes, cut: int) -> int:
    """The place itself, or the one before if it would part CR from LF; 0 if that is nowhere."""
    return max(cut - (cut > 0 and data[cut - 1] == ord("\r")), 0)


def _between_characters(data: bytes) -> int:
    text = data.decode("utf-8", "ignore")
    return len(text[: cutting_point(text)].encode())


def complaint(source: Source) -> FastLSTMError:
    """What is wrong with a source that cannot be decoded: reading it as any other says so, and where."""
    try:
        for _ in source.pieces():
            pass
    except FastLSTMError as error:
        return error
    return FastLSTMError(f"{source.name}: changed while it was read; read it again")


class Plain:
    """Tells plain characters by a table, which learns each as it comes."""

    def __init__(self) -> None:
        self._table = np.full(CODE_POINTS, -1, np.int32)
        self._numbers = np.empty(0, np.uint8)

    def all(self, data: bytes) -> bool:
        """Whether bytes are UTF-8 of plain characters, which preprocessing without lower-casing leaves as they are."""
        if len(self._numbers) < len(data):
            self._numbers = np.empty(len(data), np.uint8)
        array, place = np.frombuffer(data, np.uint8), 0
        while True:
            place, _ = number_utf8(array, place, self._table, self._numbers, 0)
            if place == len(data):
                return True
            try:
                character = first_character(data, place)
            except UnicodeDecodeError:
                return False
            if not is_plain(character):
                return False
            self._table[ord(character)] = 0


def first_character(data: bytes, place: int) -> str:
    """The character that begins there; UnicodeDecodeError if none does, but surrogates are taken for characters."""
    byte = data[place]
    size = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
    return data[place : place + size].decode("utf-8", "surrogatepass")
