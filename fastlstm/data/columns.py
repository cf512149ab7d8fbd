"""Which column of a table is which: by its title, by its number, or by what its cells look like."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Sequence
from itertools import islice

from fastlstm.data.dialects import is_number
from fastlstm.data.gathering import Column, spec
from fastlstm.data.reading import preprocess
from fastlstm.data.tables import Rows
from fastlstm.errors import meant, printable, quoted

# Titles of columns of names, and of what else a list of names may be of.
TITLES = (
    "name", "names", "full name", "first name", "firstname", "given name", "forename", "vorname", "prénom", "prenom",
    "nom", "nombre", "nome", "naam", "voornaam", "imię", "imie", "jméno", "namn", "förnamn", "navn", "fornavn", "nimi",
    "etunimi", "név", "nume", "ime", "isim", "имя", "όνομα", "名前", "名字", "姓名", "이름", "surname", "last name",
    "nachname", "apellido", "cognome", "city", "town", "place", "ville", "stadt", "ort", "ciudad", "città", "cidade",
    "species", "brand", "product", "title", "word",
)  # fmt: skip
SHOWN = 20  # titles in a message


def known(*wanted: str | int | None) -> set[str]:
    """Titles, in small letters, that show a row to be a header: those of names, and those that are `wanted`."""
    said = {preprocess(str(title).strip(), False).casefold() for title in wanted if title is not None}
    return {*TITLES, *(title for title in said if not title.isdecimal())}


def choose(table: Rows, kind: str) -> int:
    """The place of the likeliest column of names or lines, with a note; FastLSTMError where there is none."""
    if table.width == 1 and table.titles is None:
        return 0
    texts = [place for place in range(table.width) if _is_text(table, place)]
    if not texts:
        deque(islice(table.rows(), len(table.head)), 0)  # a broken row says more
        raise table.refusal("no column holds text, name the one to read (--column)")
    if kind == "lines" and len(texts) > 1:
        place = max(texts, key=lambda place: sum(map(len, _cells(table, place))))
        called = place + 1 if table.titles is None else quoted(table.titles[place])
        table.notes.append(f"the lines are in column {called}, which has the most text")
        return place
    if table.width == 1 and _rank(table, 0) < len(TITLES):
        return 0
    place = min(texts, key=lambda place: (_rank(table, place), _repeats(table, place), place))
    table.notes.append(f"the {kind} are in column {_why(table, place, texts[0])}")
    return place


def find(table: Rows, wanted: str | int, role: str, why: str = "") -> int:
    """The column of a given title or number from 1; FastLSTMError saying which there are, and `why` it is looked for."""
    titles, wanted = table.titles, preprocess(str(wanted).strip(), False)
    for same in (str, str.casefold):
        places = [i for i, title in enumerate(titles or ()) if same(title) == same(wanted)]
        if len(places) > 1:
            raise table.refusal(
                f"{len(places)} columns are called {quoted(wanted)}, give the {role}'s number"
            )
        if places:
            return places[0]
    if wanted.isdecimal() and 1 <= int(wanted) <= table.width:
        return int(wanted) - 1
    if titles is None:
        there = f"numbered 1 to {table.width}, without a header"
    else:
        shown = [printable(title, 40) for title in titles]
        there = ", ".join(shown[:SHOWN]) + "…" * (len(shown) > SHOWN) + meant(wanted, shown)
    raise table.refusal(f"there is no {role} {quoted(wanted)}{why}; the columns are {there}")


def given(table: Rows, specs: Sequence[str]) -> list[tuple[int, Column]]:
    """The place of each column that is given, and what gathers its cells; FastLSTMError for one that is not there."""
    found = []
    for text in specs:
        title, width = spec(text, table.titles)
        place = find(table, title, "column to be given,")
        called = f"column {place + 1}" if table.titles is None else table.titles[place]
        found.append((place, Column(called, width)))
    return found


def weight_of(cell: str) -> float:
    """The number in a cell; ValueError if it is negative, infinite or none."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"the weight {quoted(cell)} is not a number from 0 up")
    return value


def _cells(table: Rows, place: int) -> list[str]:
    """What the first rows have in a column, blanks left out."""
    return [row[place].strip() for row in table.head if place < len(row) and row[place].strip()]


def _is_text(table: Rows, place: int) -> bool:
    """Whether most of a column's cells hold text."""
    cells = _cells(table, place)
    return 2 * sum(map(is_number, cells)) < len(cells)


def _repeats(table: Rows, place: int) -> bool:
    """Whether a column has the same handful of values again and again."""
    cells = _cells(table, place)
    return len(set(cells)) < len(cells) and len(set(cells)) <= max(2, len(cells) // 4)


def _rank(table: Rows, place: int) -> int:
    """How little a column's title is one of names: its place in `TITLES`, just past them for some "name"."""
    if table.titles is None:
        return len(TITLES) + 1
    title = re.sub(r"[\W_]+", " ", table.titles[place].casefold()).strip()
    if title in TITLES:
        return TITLES.index(title)
    named = re.search(r"name\b|\bvorname|prénom", title) and not _repeats(table, place)
    return len(TITLES) + (not named)


def _why(table: Rows, place: int, first: int) -> str:
    """What a column is called or numbered, and why it was taken."""
    titles = table.titles
    if titles is not None and _rank(table, place) <= len(TITLES):
        return quoted(titles[place])
    shown = f"{place + 1}" if titles is None else f"{place + 1}, {quoted(titles[place])}"
    if place != first:
        values = ", ".join(quoted(cell, 12) for cell in sorted(set(_cells(table, first)))[:3])
        return f"{shown}; column {first + 1} repeats a few values ({values})"
    why = f"{shown}, the first with text"
    if titles is None:
        return why
    return f"{why}; its header is not taken for a name unless you say header=False (--no-header)"
