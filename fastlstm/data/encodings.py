"""What bytes say of themselves: byte order marks, files that are no text, and encodings that would fit."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from fastlstm.errors import quoted

MARKS = (  # UTF-32's before UTF-16's, with which one of them begins
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
SHEET = "save the sheet as CSV (UTF-8) and give that"
DOCUMENT = "save it as plain text (UTF-8) and give that"
PACKED = "unpack it and give a file that was inside"
OTHER = "give a text or a table"
COLUMN = 'give one of its columns in Python, as in CharLM.fit(frame["Name"]), or save it as CSV'
# What a file begins with, what it is, what to do.
FORMATS = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel or Word file of the old kind", "save it as CSV or text"),
    (b"%PDF-", "a PDF", DOCUMENT),
    (b"{\\rtf", "a document in rich text (RTF)", DOCUMENT),
    (b"PAR1", "a Parquet table", COLUMN),
    (b"ARROW1", "an Arrow table", COLUMN),
    (b"\x89HDF", "an HDF5 file", COLUMN),
    (b"\x93NUMPY", "a NumPy array", "give the array itself in Python: CharLM.fit(numpy.load(path))"),
    (b"SQLite format 3", "an SQLite database", "export a query of it as CSV"),
    (b"BZh", "a bzip2 file", PACKED),
    (b"\xfd7zXZ", "an xz file", PACKED),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", PACKED),
    (b"7z\xbc\xaf", "a 7z archive", PACKED),
    (b"Rar!\x1a", "a RAR archive", PACKED),
    (b"\x89PNG", "a picture", OTHER),
    (b"\xff\xd8\xff", "a picture", OTHER),
    (b"GIF8", "a picture", OTHER),
    (b"\x7fELF", "a program", OTHER),
)
# What a zip file has inside.
ZIPPED = (
    (b"xl/", "an Excel workbook", SHEET),
    (b"opendocument.spreadsheet", "an OpenDocument spreadsheet", SHEET),
    (b"word/", "a Word document", DOCUMENT),
    (b"opendocument.text", "an OpenDocument text", DOCUMENT),
    (b"ppt/", "a PowerPoint file", DOCUMENT),
    (b"epub+zip", "an e-book (EPUB)", DOCUMENT),
    (b"", "a zip archive", PACKED),
)
CANDIDATES = ("utf-8", "cp1252", "cp1250", "cp1251", "koi8-r", "gb18030", "shift_jis", "big5", "euc_kr",
              "utf-16-le", "utf-16-be")  # fmt: skip
SAMPLE = 1 << 13  # bytes by which encodings are compared
SUGGESTED = 3  # encodings at most
NEAR = 0.8  # of the best one's fitness is worth being suggested
HAN = ("gb2312", "big5", "shift_jis", "euc_kr")


def marked(head: bytes) -> str | None:
    """The encoding that a byte order mark at the beginning stands for.

    >>> marked(b"\\xff\\xfea\\0"), marked(b"a")
    ('utf-16-le', None)
    """
    return next((encoding for mark, encoding in MARKS if head.startswith(mark)), None)


def format_of(head: bytes) -> tuple[str, str] | None:
    """What a file that begins like this is, if it is no text, and what to do about it.

    >>> format_of(b"%PDF-1.7")
    ('a PDF', 'save it as plain text (UTF-8) and give that')
    """
    kinds = ZIPPED if head.startswith(b"PK\x03\x04") else FORMATS
    inside = head.__contains__ if kinds is ZIPPED else head.startswith
    for sign, what, advice in kinds:
        if inside(sign):
            return what, advice
    if re.match(rb".{8}\{\s*\"", head, re.DOTALL) and b"\0" in head[:8]:
        return "a model's weights (safetensors)", "give what it is to be trained on"
    return None


def unmarked(head: bytes, family: str) -> str:
    """The byte order of UTF-16 or UTF-32 without a mark: the one in which more looks like words."""
    orders = (f"{family}-le", f"{family}-be")
    return max(orders, key=lambda order: fitness(head[:SAMPLE].decode(order, "replace")))


def suggestions(data: bytes, place: int, tried: str) -> str:
    """Which encodings would make words of the bytes around `place`, each with the line as it would read it.

    >>> suggestions("anna\\nZoë’s\\n".encode("cp1252"), 7, "utf-8")
    "--encoding cp1252 would read 'Zoë’s'"
    """
    begin = data.rfind(b"\n", 0, place) + 1
    end = data.find(b"\n", place)
    line = data[begin : end if end >= 0 else len(data)][:SAMPLE]
    sample = line + data[begin + len(line) :][:SAMPLE].rpartition(b"\n")[0]
    found = []
    for encoding in CANDIDATES:
        wide = encoding.startswith("utf-16")
        if encoding != tried and wide == (b"\0" in data):
            try:
                whole = (data[: 2 * SAMPLE] if wide else sample).decode(encoding)
                shown = whole.lstrip().split("\n")[0] if wide else line.decode(encoding)
            except UnicodeDecodeError:
                continue
            found.append((fitness(whole), encoding, quoted(shown.strip(), 30)))
    found.sort(key=lambda entry: -entry[0])
    if not found or found[0][0] < 0.5:
        return "if it is text, give its encoding (--encoding)"
    readings: dict[str, str] = {}
    for score, encoding, reading in found:
        if score >= NEAR * found[0][0]:
            readings.setdefault(reading, encoding)
    said = [f"{encoding} would read {reading}" for reading, encoding in readings.items()]
    return "--encoding " + ", ".join(said[:SUGGESTED])


def fitness(text: str) -> float:
    """How much of what is not ASCII in a text makes sense: from 0 to 1 for its share of letters in sound words.

    A word is sound if its letters are of one script and none is a capital after a small one; Latin ones have
    some ASCII between two other letters.
    """
    special = sum(c > "~" or c < " " for c in text) - sum(map(text.count, "\n\r\t"))
    good = 0.0
    for word in re.findall(r"[^\W\d_]+", text):
        beyond, scripts = [c for c in word if c > "~"], {_script(c) for c in word}
        foreign = scripts == {"LATIN"} and 1 < len(beyond) == len(word)
        if (
            len(scripts) == 1
            and not foreign
            and not any(a.islower() and b.isupper() for a, b in pairwise(word))
        ):
            good += sum(map(_familiar, beyond))
    good += 0.9 * sum(c > "~" and unicodedata.category(c)[0] == "P" for c in text)
    return good / special if special else 1.0


def _script(character: str) -> str:
    name = unicodedata.name(character, "?").split(" ")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else name


def _familiar(character: str) -> float:
    """Less for letters that are there but hardly ever written: Han of one legacy set alone, half-width forms."""
    if _script(character) in ("HALFWIDTH", "FULLWIDTH", "?"):
        return 0.2
    if not "\u4e00" <= character <= "\u9fff":
        return 1.0
    held = 0
    for encoding in HAN:
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            continue
        held += 1
    return held / len(HAN)
