"""From bytes to checked text: files, gzip, standard input; decoding, line ends, normal form.

Everything is read in pieces of about a million characters, so that a corpus may be larger than memory.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import shutil
import sys
import tempfile
import unicodedata
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO

from fastlstm.data.encodings import format_of, marked, suggestions, unmarked
from fastlstm.errors import FastLSTMError, counted, printable, quoted

PIECE = 1 << 20  # bytes read at once
AHEAD = 1 << 24  # bytes that the disk fetches meanwhile
HEAD = 1 << 16  # bytes that say what a file is
LONGEST_LINE = 2 * PIECE  # characters, of a table or a list of names


def preprocess(string: str, lowercase: bool) -> str:
    """The string in Unicode's normal form C, lower-cased first if asked for.

    >>> preprocess("A\\u030asa", lowercase=True)
    'åsa'
    """
    if lowercase:
        string = string.lower()
    return string if string.isascii() else unicodedata.normalize("NFC", string)


class Source:
    """Bytes that can be read as text from their beginning any number of times.

    A regular file is opened anew each time; standard input (`-`) and pipes are copied to a temporary file.
    A byte order mark decides the encoding, whatever was asked for; `notes` say so.
    Raises FastLSTMError for a file that is missing, a directory, unreadable or of a format that is no text,
    and for an unknown encoding.
    """

    def __init__(self, path: str | os.PathLike[str], encoding: str = "utf-8") -> None:
        self.path = os.fspath(path)
        self.name = "standard input" if self.path == "-" else printable(self.path)
        self.notes: list[str] = []
        self._copy: IO[bytes] | None = None
        self._controls = False  # whether it has been said that there are some
        try:
            self.encoding = codecs.lookup(encoding).name
            io.TextIOWrapper(io.BytesIO(), encoding)  # refuses what is a codec, but not of text
        except (LookupError, ValueError):
            raise FastLSTMError(
                f"there is no text encoding called {quoted(encoding)}; utf-8, cp1252 and utf-16 are some"
            ) from None
        with self._explained():
            if self.path == "-":
                self._keep(sys.stdin.buffer)
            else:
                with open(self.path, "rb") as stream:
                    if not os.path.isfile(self.path):
                        self._keep(stream)
            with self._bytes() as stream:
                self._recognize(stream.read(HEAD))

    def _keep(self, stream: IO[bytes]) -> None:
        self._copy = tempfile.TemporaryFile()  # noqa: SIM115, closed with the Source's end
        weakref.finalize(self, self._copy.close)
        shutil.copyfileobj(stream, self._copy, PIECE)

    def _recognize(self, head: bytes) -> None:
        """Take in what the first bytes say of the file."""
        if other := format_of(head):
            raise FastLSTMError(f"{self.name} is {other[0]}, not text: {other[1]}")
        asked, mark = self.encoding.removesuffix("-sig"), marked(head)
        if mark:
            self.encoding = mark
            if not mark.startswith(asked):
                self.notes.append(f"read as {mark}, as its byte order mark says")
        elif asked in ("utf-16", "utf-32"):
            self.encoding = unmarked(head, asked)
            self.notes.append(f"read as {self.encoding}, the likelier order of bytes where no mark says it")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in a FastLSTMError what is wrong with a file that can't be opened, read or unpacked."""
        try:
            yield
        except FileNotFoundError:
            raise FastLSTMError(f"{self.name}: there is no such file") from None
        except IsADirectoryError:
            raise FastLSTMError(f"{self.name}: is a directory, name a file in it") from None
        except gzip.BadGzipFile as error:
            raise FastLSTMError(f"{self.name}: is not a sound gzip file ({error}), pack it anew") from None
        except EOFError:
            raise FastLSTMError(f"{self.name}: the gzip file was cut off early, copy it anew") from None
        except zlib.error as error:
            raise FastLSTMError(f"{self.name}: the gzip file is damaged ({error}), copy it anew") from None
        except OSError as error:
            raise FastLSTMError(f"{self.name}: cannot be read ({error.strerror or error})") from None

    @contextmanager
    def _bytes(self) -> Iterator[IO[bytes] | gzip.GzipFile]:
        """The bytes from the beginning, unpacked if they are gzip by name or by their first two bytes."""
        stream = self._copy or open(self.path, "rb")  # noqa: SIM115, closed below unless it is the copy
        try:
            stream.seek(0)
            magic = stream.read(2)
            stream.seek(0)
            if magic == b"\x1f\x8b" or (magic and self.path.lower().endswith(".gz")):
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    yield unpacked
            else:
                yield stream
        finally:
            if stream is not self._copy:
                stream.close()

    def raw(self) -> Iterator[bytes]:
        """The bytes in pieces as they are, of which the last one is empty."""
        with self._explained(), self._bytes() as stream:
            ahead = getattr(os, "posix_fadvise", None) if isinstance(stream, io.BufferedReader) else None
            place, data = 0, b"-"
            while data:
                if ahead:
                    # The disk goes on while what has come is worked on.
                    with suppress(OSError):
                        ahead(stream.fileno(), place + PIECE, AHEAD, os.POSIX_FADV_WILLNEED)
                data = stream.read(PIECE)
                place += len(data)
                yield data

    def pieces(self) -> Iterator[str]:
        """The text in pieces, without a byte order mark, each line ending in a single newline character.

        Raises FastLSTMError with the line's number for bytes that the encoding doesn't allow and for a NUL.
        """
        decoder = codecs.getincrementaldecoder(self.encoding)()
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        line, first = 1, True
        for data in self.raw():
            try:
                text = newlines.decode(decoder.decode(data, not data), not data)
            except UnicodeError as error:
                raise self._undecodable(error, newlines, line) from None
            if first and text:
                text, first = text.removeprefix("\ufeff"), False
            if "\0" in text:
                line += text.count("\n", 0, text.index("\0"))
                advice = suggestions(data, max(data.find(b"\0"), 0), self.encoding)
                raise FastLSTMError(
                    f"{self.name}, line {line}: a NUL character, so this is no text in {self.encoding}; {advice}"
                )
            self._check_controls(text)
            if text:
                yield text
                line += text.count("\n")

    def _undecodable(
        self, error: UnicodeError, newlines: io.IncrementalNewlineDecoder, line: int
    ) -> FastLSTMError:
        """The message about bytes that are not in the encoding, in a piece that begins in line `line`."""
        found, advice = str(error), suggestions(b"", 0, self.encoding)
        if isinstance(error, UnicodeDecodeError):
            sound = error.object[: error.start]
            try:
                text = sound.decode(self.encoding, "replace")
            except UnicodeError:  # "idna" knows no replacement
                text = sound.decode("latin-1")
            line += newlines.decode(text, True).count("\n")
            found = f"the byte 0x{error.object[error.start]:02x}"
            advice = suggestions(error.object, error.start, self.encoding)
        return FastLSTMError(f"{self.name}, line {line}: {printable(found)} is not {self.encoding}; {advice}")

    def _check_controls(self, text: str) -> None:
        """Say, once, if Latin-1 makes invisible controls of what Windows has as quotes and dashes."""
        if self.encoding != "iso8859-1" or self._controls or text.isascii():
            return
        found = "".join(sorted({c for c in text if "\x80" <= c <= "\x9f"}))
        if found:
            self._controls = True
            windows = found.encode("latin-1").decode("cp1252", "replace")
            self.notes.append(
                f"{counted(len(found), 'character')} become invisible controls in latin-1; "
                f"--encoding cp1252 would read {quoted(windows)}"
            )

    def lines(self) -> Iterator[str]:
        """The text's lines with their newline characters; FastLSTMError for one of millions of characters."""
        rest, count = "", 0
        for piece in self.pieces():
            whole, newline, tail = piece.rpartition("\n")
            if newline:
                count += piece.count("\n")
                yield from io.StringIO(rest + whole + newline, newline="\n")
                rest = ""
            rest += tail
            if len(rest) > LONGEST_LINE:
                raise FastLSTMError(
                    f"{self.name}, line {count + 1}: a line of more than {LONGEST_LINE:,} characters; "
                    "is this a text rather than names?"
                )
        if rest:
            yield rest


def preprocessed(pieces: Iterable[str], lowercase: bool) -> Iterator[str]:
    """What `preprocess` makes of the whole text, piece by piece, cut where neither side changes the other."""
    rest = ""
    for piece in pieces:
        rest += piece
        cut = cutting_point(rest)
        if cut:
            yield preprocess(rest[:cut], lowercase)
            rest = rest[cut:]
    if rest:
        yield preprocess(rest, lowercase)


def cutting_point(text: str) -> int:
    """The last place where normal form and lower-casing can stop and start anew; 0 if there is none.

    Before a blank both can: the lower case of a Greek sigma depends on whether its word goes on. In a text
    without blanks, only normal form counts, and the place is before a character that never joins the one to its left.
    """
    blank = max(text.rfind("\n"), text.rfind(" "))
    if blank > 0:
        return blank
    return next((place for place in range(len(text) - 1, 0, -1) if not joins(text[place])), 0)


def joins(character: str) -> bool:
    """Whether normal form may join a character to those on its left, or change their order."""
    first = unicodedata.normalize("NFD", character)[0]
    return unicodedata.combining(first) > 0 or first in second_halves() or "\u1160" <= first <= "\u11ff"


def is_plain(character: str) -> bool:
    """Whether a character is one that normal form leaves as it is behind whatever other such characters.

    >>> is_plain("ä"), is_plain("\N{COMBINING DIAERESIS}"), is_plain("\N{ANGSTROM SIGN}")
    (True, False, False)
    """
    surrogate = "\ud800" <= character <= "\udfff"
    return not surrogate and unicodedata.is_normalized("NFC", character) and not joins(character)


@cache
def second_halves() -> frozenset[str]:
    """Of all characters that are made of two; but for Hangul's vowels and finals, which follow a rule of their own."""
    pairs = (unicodedata.decomposition(chr(code)).split() for code in range(0x20000))
    return frozenset(chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and pair[0][0] != "<")
