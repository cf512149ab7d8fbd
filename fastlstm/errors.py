"""The one exception that fastlstm raises on purpose, and the words that its messages are made of."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable


def printable(text: object, most: int = 200) -> str:
    """Text for the middle of a line: what cannot be seen is escaped, what is beyond `most` characters cut.

    Line ends, control characters, marks that turn the direction of writing, halves of characters: whatever a
    file or a file's name may hold, the line stays one line and says what is there.

    >>> printable("an\\nna\\u202e")
    'an\\\\nna\\\\u202e'
    """
    text = str(text)
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:most])
    return shown + "…" * (len(text) > most)


class FastLSTMError(ValueError):
    """What was found, where, and what to do, in one printable line, whatever a file or its name may hold."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, 2000))


def quoted(text: object, most: int = 40) -> str:
    """Text as `printable` shows it, in quotes; what is no string as Python writes it.

    >>> quoted("anna", 3), quoted(None)
    ("'ann'…", 'None')
    """
    if isinstance(text, str):
        return repr(text[:most]) + "…" * (len(text) > most)
    return printable(repr(text), most)


def typed(*words: object) -> str:
    """A command as a person types it at this system's prompt: words with blanks in them are in quotes.

    >>> typed("fastlstm", "info", "runs-1")
    'fastlstm info runs-1'
    """
    plain = [str(word) for word in words]
    return subprocess.list2cmdline(plain) if os.name == "nt" else shlex.join(plain)


def counted(number: int, thing: str) -> str:
    """A number and what it counts, one or several.

    >>> counted(1, "name"), counted(2000, "name")
    ('1 name', '2,000 names')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: which of the known ones is like it, if any is.

    >>> meant("epoch", ["steps", "epochs"])
    '; did you mean epochs?'
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def check_keywords(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, as Python does, for a keyword that is none, with what may have been meant."""
    known = list(known)
    for name in given:
        if name not in known:
            raise TypeError(f"there is no option {name!r}{meant(name, known)}")
