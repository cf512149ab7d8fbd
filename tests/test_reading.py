"""Reading names and text: what is kept, what is announced, and what is refused in one line."""

from __future__ import annotations

import errno
import gzip
import io
import os
import threading
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlstm.data import reading
from fastlstm.data.joined import read_names
from fastlstm.data.names import Names
from fastlstm.data.opening import decide_kind
from fastlstm.data.reading import preprocess
from fastlstm.data.texts import Text, read_text
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError

TABLE = "Id,Name,Year,Count\n1,Mary,1880,7065\n2,Anna,1880,2604\n3,Mary,1881,6919\n"


@pytest.fixture
def write(tmp_path):
    """A function that makes a file of some text or bytes and gives its path."""

    def write(name: str, content: str | bytes, encoding: str = "utf-8"):
        data = content if isinstance(content, bytes) else content.encode(encoding)
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") and isinstance(content, str) else data)
        return path

    return write


@pytest.fixture
def stdin(monkeypatch):
    """A function that puts bytes on standard input."""
    return lambda data: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def refusal(function, *arguments, **options) -> str:
    """The message of a FastLSTMError, which has one line."""
    with pytest.raises(FastLSTMError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "\0" not in message
    return message


# Names as a value


def test_names_keep_duplicates_and_drop_blanks():
    names = Names(["Anna", " anna", "", "Bo\t", "   "], source="a list", weights=[1, 2, 0, 3, 9])
    assert list(names) == ["anna", "anna", "bo"]
    assert names.distinct == ("anna", "bo")
    assert len(names) == 3
    assert (names.duplicates, names.blanks) == (1, 2)
    assert names.weights is not None
    assert names.weights.tolist() == [1, 2, 3]
    assert names.describe() == (
        "a list: 3 names, 2 distinct, 1 duplicate kept, 2 blank rows left out, "
        "turned to lower case (--no-lowercase keeps capitals), drawn by weight"
    )


def test_names_are_in_normal_form_and_lower_case_unless_that_is_switched_off():
    decomposed = [
        unicodedata.normalize("NFD", name) for name in ("Åsa", "ÅSA", "Đặng", "İpek", "ΝΙΚΟΣ", "子")
    ]
    assert Names(decomposed).distinct == ("åsa", "đặng", "i̇pek", "νικος", "子")
    assert Names(decomposed, lowercase=False).distinct == ("Åsa", "ÅSA", "Đặng", "İpek", "ΝΙΚΟΣ", "子")


def test_the_digest_tells_data_apart():
    digests = [
        names.digest()
        for names in (
            Names(["anna", "bo"]),
            Names(["bo", "anna"]),
            Names(["anna", "bo", "bo"]),
            Names(["anna", "b\u200bo"]),
            Names(["anna", "bo"], weights=[1, 2]),
            Names(["anna", "bo"], weights=[2, 1]),
        )
    ]
    assert len(set(digests)) == len(digests)
    assert Names(["Anna", "bo"], source="elsewhere").digest() == digests[0]


@pytest.mark.parametrize(
    ("raw", "options", "message"),
    [
        (["anna", "x" * 5001], {}, "list, name 2: a name of 5,001 characters ('xxxxxxxxxxxxxxxxxxxx'…)"),
        (
            ["anna", "bobby"],
            {"longest": 4},
            "list, name 2: a name of 5 characters ('bobby'), and 4 are the most",
        ),
        (["anna\nbo"], {}, r"list, name 1: a line break inside the name 'anna\nbo'"),
        (["a\0b"], {}, "a NUL inside the name"),
        (["anna", 5], {}, "list, name 2: 5 is not a string"),
        (["anna", ["bo"]], {}, "list, name 2: ['bo'] is not a string"),
        (["anna"], {"weights": [1, 2]}, "list: weights"),
        (["anna"], {"weights": [-1]}, "list: weights"),
        (["anna"], {"weights": [float("nan")]}, "list: weights"),
        (["anna"], {"weights": [0]}, "list: all weights are 0"),
    ],
)
def test_bad_lists_of_names_are_refused(raw, options, message):
    assert message in refusal(Names, raw, "list", **options)


def test_a_name_of_256_characters_is_not_too_long():
    assert len(Names(["x" * 256]).distinct[0]) == 256


# Tables


def test_a_table_with_a_header_and_its_name_column_announced(write):
    names = read_names(write("t.csv", TABLE))
    assert list(names) == ["mary", "anna", "mary"]
    assert names.notes == ["the names are in column 'Name'"]
    assert names.weights is None
    assert "t.csv: 3 names, 2 distinct, 1 duplicate kept" in names.describe()


@pytest.mark.parametrize("column", ["Name", "name", 2, "2"])
def test_a_column_by_name_or_number_from_1_needs_no_announcement(write, column):
    names = read_names(write("t.csv", TABLE), column=column)
    assert list(names) == ["mary", "anna", "mary"]
    assert names.notes == []


def test_a_title_that_is_a_number_goes_before_a_position(write):
    assert list(read_names(write("t.csv", "2,1\nanna,bo\ncy,di\n"), column=2, header=True)) == ["anna", "cy"]


def test_without_a_header_no_row_is_lost(write):
    bare = TABLE.split("\n", 1)[1]
    names = read_names(write("t.csv", bare), header=False)
    assert list(names) == ["mary", "anna", "mary"]
    assert names.notes == ["the names are in column 2, the first with text"]
    assert list(read_names(write("t.csv", bare), column=2, header=False)) == ["mary", "anna", "mary"]
    assert list(read_names(write("s.csv", "anna\nbo\n"), header=False)) == ["anna", "bo"]
    # Unsaid, it is told by its numbers and by values that come again, or at least announced.
    first, second = read_names(write("t.csv", bare)).notes
    assert (
        first == "the first row ('1', 'Mary', '1880', '7065') is read as data; --header takes it for titles"
    )
    assert second == "the names are in column 2, the first with text"
    for column in (None, 2):
        assert list(read_names(write("t.csv", bare), column=column)) == ["mary", "anna", "mary"]
    assert list(read_names(write("u.csv", "emma,f\nolivia,f\nnoah,m\n"))) == ["emma", "olivia", "noah"]
    (note,) = read_names(write("u.csv", "emma,f\nolivia,g\nnoah,m\n")).notes
    assert (
        "'emma', the first with text; its header is not taken for a name unless you say header=False" in note
    )
    assert list(read_names(write("y.csv", "Name,2019,2020\nanna,1,2\nbo,3,4\n"))) == ["anna", "bo"]
    assert list(read_names(write("y.csv", "Who,2019\nanna,1\nbo,3\n"), column="who")) == ["anna", "bo"]


@pytest.mark.parametrize(
    ("content", "taken", "note"),
    [
        ("id,prénom,ville\n,Zoé,Lyon\n2,Éva,Nice\n", "zoé éva", "column 'prénom'"),
        ("Sex;Vorname\nf;Anna\nf;Bea\n", "anna bea", "column 'Vorname'"),
        ("Sex,Child's First Name\nf,Anna\nf,Bea\n", "anna bea", 'column "Child\'s First Name"'),
        ("Country,City\nDE,Bonn\nDE,Ulm\n", "bonn ulm", "column 'City'"),
        (
            "a,b\nf,Anna\nf,Bea\nm,Cy\n",
            "anna bea cy",
            "column 2, 'b'; column 1 repeats a few values ('f', 'm')",
        ),
        ("when,who\n1.2.2003,Anna\n2.2.2003,Bea\n", "anna bea", "column 2, 'who', the first with text"),
        ("who,what\nAnna,x y\nBea,z\n", "anna bea", "column 1, 'who', the first with text"),
    ],
)
def test_the_likeliest_column_is_taken_and_said(write, content, taken, note):
    names = read_names(write("t.csv", content))
    assert " ".join(names) == taken
    assert note in names.notes[-1]


def test_names_that_python_would_read_as_numbers_are_names(write):
    assert list(read_names(write("t.csv", "who\nNan\nInfinity\n"))) == ["nan", "infinity"]


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("t.tsv", "Id\tName\n1\tMary, Ann\n2\tBo\n", None),
        ("t.tsv.gz", "Id\tName\n1\tMary, Ann\n2\tBo\n", None),
        ("T.CSV", 'Id,Name\n1,"Mary, Ann"\n2,Bo\n', None),
        ("t.csv.gz", '\ufeffName,Id\r\n"Mary, Ann",1\r\nBo,2\r\n', None),
        ("t.csv", "Id;Name\n1;Mary, Ann\n2;Bo\n", "fields are separated by ';'"),
        ("t.csv", "Id\tName\r1\tMary, Ann\r2\tBo\r", "fields are separated by '\\t'"),
        ("t.csv", "\nId,Name\n1,'Mary'\n", None),
    ],
)
def test_kinds_of_tables(write, name, content, note):
    path = write(name, content)
    if content.startswith("\n"):
        assert list(read_names(path, "Name", least=1)) == ["'mary'"]
        return
    names = read_names(path, column="Name")
    assert list(names) == ["mary, ann", "bo"]
    assert names.notes == ([note] if note else [])


def test_a_semicolon_is_no_separator_where_a_comma_is_one(write):
    assert list(read_names(write("t.csv", "Name,Note\nanna,a;b\nbo;x,c\n"))) == ["anna", "bo;x"]


def test_limit_takes_the_first_rows_and_reads_no_further(write):
    path = write("t.csv", TABLE + "ragged\n")
    assert list(read_names(path, limit=2)) == ["mary", "anna"]
    assert list(read_names(path, limit=3)) == ["mary", "anna", "mary"]
    assert "limit is 0" in refusal(read_names, path, limit=0)


def test_weights_stay_with_their_rows(write):
    names = read_names(write("t.csv", TABLE.replace("2,Anna", "2,")), column="Name", weight="Count", least=1)
    assert list(names) == ["mary", "mary"]
    assert names.blanks == 1
    assert names.weights is not None
    assert names.weights.tolist() == [7065, 6919]


def test_blank_lines_and_blank_names_are_counted(write):
    names = read_names(write("t.csv", "Name,Year\nanna,1\n\n  ,2\nbo,3\n\n"))
    assert list(names) == ["anna", "bo"]
    assert names.blanks == 3


def test_one_name_a_line(write):
    names = read_names(write("names.txt", 'Anna\n\n  Bo \nÅsa, d.y.\n"Cy\n'))
    assert list(names) == ["anna", "bo", "åsa, d.y.", '"cy']
    assert names.blanks == 1
    assert names.notes == []
    assert list(read_names(write("n.gz", "anna\nbo"))) == ["anna", "bo"]
    # A comma may be in a name; a table in disguise is read as one.
    names = read_names(write("names.txt", "Smith, Ann\nMiller, Bo\n"))
    assert list(names) == ["smith, ann", "miller, bo"]
    assert "each whole line" in names.notes[0]
    names = read_names(write("yob1880.txt", "Mary,F,7065\nAnna,F,2604\n"))
    assert list(names) == ["mary", "anna"]
    assert names.notes[0] == "read as a table: fields are separated by ','"
    options: Any
    for options in ({"column": "Name"}, {"weight": 2}, {"delimiter": ","}):
        assert read_names(write("names.txt", "Name,Count\nAnna,3\nBo,1\n"), **options).distinct == (
            "anna",
            "bo",
        )


def test_every_alphabet(write):
    raw = ["Åsa", "Weiß", "子涵", "👩‍🚀", "e\u0301lise", "Đặng", "한나"]
    names = read_names(write("names.txt", "\n".join(raw), "utf-8-sig"), lowercase=False)
    assert list(names) == [unicodedata.normalize("NFC", name) for name in raw]
    vocabulary = Vocabulary.from_texts(names, boundary=True)
    assert [vocabulary.decode(vocabulary.encode(name)) for name in names] == list(names)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-be", "utf-8", "utf-32", "cp1252"])
def test_other_encodings(write, encoding):
    path = write("t.csv", "Name\r\nÅsa\r\nZoë\r\n", encoding)
    assert list(read_names(path, encoding=encoding)) == ["åsa", "zoë"]


def test_standard_input(stdin):
    stdin(b"anna\r\nbo\n")
    names = read_names("-")
    assert list(names) == ["anna", "bo"]
    assert names.source == "standard input"
    stdin(gzip.compress(TABLE.encode()))
    assert list(read_names("-", column="Name")) == ["mary", "anna", "mary"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"to be or not to be",))
    writer.start()
    text = read_text(pipe)
    writer.join()
    assert len(text.ids(text.vocabulary())) == 18


BAD_TABLES: dict[str, Any] = {
    "empty": ("t.csv", "", {}, "t.csv: is empty"),
    "empty gzip": ("t.csv.gz", "", {}, "t.csv.gz: is empty"),
    "header only": ("t.csv", "Id,Name\n", {}, "t.csv, line 1: there is a header and no row"),
    "blank lines only": ("t.csv", "\n\n", {}, "no row of data"),
    "no name at all": ("names.txt", "\n \n", {}, "names.txt: there is no name"),
    "one name": ("names.txt", "anna\nANNA\n", {}, "names.txt: the only name is 'anna'"),
    "missing column": ("t.csv", TABLE, {"column": "Nom"}, "no column 'Nom'; the columns are Id, Name, Year"),
    "number too high": ("t.csv", TABLE, {"column": 5}, "no column '5'"),
    "number 0": ("t.csv", TABLE, {"column": 0}, "no column '0'"),
    "title without header": ("t.csv", TABLE, {"column": "Name", "header": False}, "numbered 1 to 4"),
    "missing weight": ("t.csv", TABLE, {"weight": "N"}, "no weight 'N'"),
    "two of one title": ("t.csv", "Name,Name\na,b\n", {"column": "Name"}, "2 columns are called 'Name'"),
    "no text": ("t.csv", "a,b\n1,2\n", {}, "no column holds text"),
    "short row": ("t.csv", TABLE + "4,Bo\n", {}, "t.csv, line 5: 2 fields where the first row has 4"),
    "long row": ("t.csv", TABLE + "4,Bo,1,1,1\n", {}, "t.csv, line 5: 5 fields"),
    "short first row": ("t.csv", "Id,Name\n4\n", {}, "t.csv, line 2: "),
    "ragged tsv": (
        "t.tsv.gz",
        "Name\tN\na\t1\nb\n",
        {},
        "t.tsv.gz, line 3: 1 field where the first row has 2",
    ),
    "open quote": ("t.csv", 'Name,N\nbo,1\n"anna,1\ncy,2\n', {}, "t.csv, line 3: no sound row"),
    "text after a quote": ("t.csv", 'Name,N\nbo,1\n"an"na,1\n', {}, "t.csv, line 3: no sound row"),
    "line break in a name": (
        "t.csv",
        'Name\nbo\n"an\nna"\n',
        {},
        r"line 4: a line break inside the name 'an\nna', take it out, or read lines, which keep it (--as lines)",
    ),
    "long field": (
        "t.csv",
        "Name\nbo\n" + "x" * 140_000 + "\n",
        {},
        "t.csv, line 3: a name of 140,000 characters ('xxxxxxxxxxxxxxxxxxxx'…), and 5,000",
    ),
    "long name": ("names.txt", "anna\n" + "x" * 5001, {}, "names.txt, line 2: a name of 5,001 characters"),
    "NUL": ("t.csv", "Name\nanna\nb\0o\n", {}, "t.csv, line 3: a NUL character"),
    "utf-16 without a mark": (
        "t.csv",
        "Name\nanna\n".encode("utf-16-le"),
        {},
        "t.csv, line 1: a NUL character",
    ),
    "utf-32 with half a character": (
        "t.csv",
        "Name\nanna\n".encode("utf-32") + b"x",
        {},
        "t.csv, line 3: the byte 0x78 is not utf-32-le",
    ),
    "latin-1": (
        "t.csv",
        "Name\r\nanna\r\nZoë\r\n".encode("latin-1"),
        {},
        "t.csv, line 3: the byte 0xeb is not utf-8",
    ),
    "cut character": ("t.csv", "Name\nZoë".encode()[:-1], {}, "t.csv, line 2: the byte 0xc3"),
    "no mark": ("t.csv", b"\n\n", {"encoding": "utf-16"}, "t.csv, line 1: "),
    "unknown encoding": ("t.csv", TABLE, {"encoding": "utf-9"}, "no text encoding called 'utf-9'"),
    "no text encoding": ("t.csv", TABLE, {"encoding": "hex"}, "no text encoding called 'hex'"),
    "long delimiter": ("t.csv", TABLE, {"delimiter": ",,"}, "delimiter ',,'"),
    "quote as delimiter": ("t.csv", TABLE, {"delimiter": "\n"}, "delimiter"),
    "weight is no number": (
        "t.csv",
        TABLE + "4,Bo,1,many\n",
        {"weight": "Count"},
        "line 5: the weight 'many'",
    ),
    "negative weight": ("t.csv", TABLE + "4,Bo,1,-1\n", {"weight": "Count"}, "line 5: the weight '-1'"),
    "infinite weight": ("t.csv", TABLE + "4,Bo,1,inf\n", {"weight": "Count"}, "line 5: the weight 'inf'"),
    "no weight": ("t.csv", TABLE + "4,Bo,1,\n", {"weight": "Count"}, "line 5: the weight ''"),
    "all weights 0": ("t.csv", "Name,N\na,0\nb,0\n", {"weight": "N"}, "t.csv: all weights are 0"),
    "not gzip": ("t.csv.gz", b"Name\nanna\n", {}, "t.csv.gz: is not a sound gzip file"),
    "damaged gzip": ("t.csv.gz", gzip.compress(TABLE.encode())[:12] + bytes(60), {}, "t.csv.gz: "),
    "cut gzip": ("t.csv.gz", gzip.compress(TABLE.encode())[:-12], {}, "t.csv.gz: the gzip file was cut off"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_names_are_refused_in_one_line_that_says_where(write, case):
    name, content, options, message = BAD_TABLES[case]
    assert message in refusal(read_names, write(name, content), **options)


def test_a_checksum_that_differs_is_damage(write):
    data = bytearray(gzip.compress(TABLE.encode()))
    data[-6] ^= 1
    assert "not a sound gzip file" in refusal(read_names, write("t.csv.gz", bytes(data)))


def test_files_that_cannot_be_opened_are_refused(tmp_path, monkeypatch, write):
    (tmp_path / "..empty").mkdir()
    for read in (read_names, read_text):
        assert "no.csv: there is no such file" in refusal(read, tmp_path / "no.csv")
        assert "is a folder without a file to read" in refusal(read, tmp_path / "..empty")
        assert "cannot be read" in refusal(read, write("f", "x") / "names.csv")

    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    path = write("t.csv", TABLE)
    monkeypatch.setattr(reading, "open", denied, raising=False)
    assert "t.csv: cannot be read (Permission denied)" in refusal(read_names, path)


def test_a_line_of_millions_is_refused_without_reading_on(write, monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 100)
    monkeypatch.setattr(reading, "LONGEST_LINE", 1000)
    path = write("names.txt", "anna\nbo\n" + "x" * 1200 + "\0")
    assert "names.txt, line 3: a line of more than 1,000 characters" in refusal(read_names, path)


@pytest.mark.parametrize("piece", range(1, 12))
@pytest.mark.parametrize(
    "case", ["latin-1", "cut character", "NUL", "short row", "utf-32 with half a character"]
)
def test_line_numbers_do_not_depend_on_where_pieces_end(write, monkeypatch, case, piece):
    monkeypatch.setattr(reading, "PIECE", piece)
    name, content, options, message = BAD_TABLES[case]
    assert message in refusal(read_names, write(name, content), **options)


def test_line_numbers_in_utf_16(write):
    data = "Name\nañna\n".encode("utf-16-be") + b"\xd8\x00\x00a"
    assert "line 3: the byte 0xd8" in refusal(read_names, write("t.csv", data), encoding="utf-16-be")


# Text


def test_a_text_becomes_ids_of_the_smallest_type(write):
    text = read_text(write("t.txt", "To be,\r\nor not\rto be\n"))
    vocabulary = text.vocabulary()
    ids = text.ids(vocabulary)
    assert vocabulary.decode(ids) == "To be,\nor not\nto be\n"
    assert text._encoded.numbers.dtype == np.uint8
    assert len(text) == len(ids) == 20
    assert text.describe().endswith("t.txt: 20 characters, 10 distinct")
    wide = Text.from_string("".join(map(chr, range(0x4E00, 0x4E00 + 300))))
    assert wide._encoded.numbers.dtype == np.uint16


def test_case_is_kept_unless_lower_case_is_asked_for(write):
    path = write("t.txt", "A rose İS ΣΑΣ A\u030a")
    assert set("ASΣΑ") <= set(read_text(path).vocabulary().characters)
    text = read_text(path, lowercase=True)
    vocabulary = text.vocabulary()
    assert vocabulary.decode(text.ids(vocabulary)) == "a rose i̇s σας å"


JOINING = [
    "a",
    "B",
    "A",
    " ",
    "\n",
    "\r",
    "\u0301",
    "\u0323",
    "\u030a",
    "\uac00",
    "\u1100",
    "\u1161",
    "\u11a8",
]
TEXTS = st.text(
    st.sampled_from(JOINING) | st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS, st.integers(1, 40), st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_pieces_make_the_same_text_wherever_they_end(tmp_path, monkeypatch, raw, piece, encoding):
    monkeypatch.setattr(reading, "PIECE", piece)
    path = tmp_path / "t.txt"
    path.write_bytes(raw.encode(encoding))
    whole = unicodedata.normalize("NFC", raw.replace("\r\n", "\n").replace("\r", "\n"))
    if len(whole) < 2:
        refusal(read_text, path, encoding)
        return
    text = read_text(path, encoding.removesuffix("-sig"))
    vocabulary = text.vocabulary()
    assert vocabulary.characters == tuple(sorted(set(whole)))
    assert vocabulary.decode(text.ids(vocabulary)) == whole
    assert text.digest() == Text.from_string(raw).digest()


def test_pieces_are_lower_cased_as_the_whole_is(write, monkeypatch):
    raw = "ΟΔΟΣ ΣΟΦΟΣ\nΣ ΑΣ\u0301 "
    path = write("t.txt", raw * 20)
    for piece in range(12, 40):
        monkeypatch.setattr(reading, "PIECE", piece)
        text = read_text(path, lowercase=True)
        vocabulary = text.vocabulary()
        assert vocabulary.decode(text.ids(vocabulary)) == preprocess(raw * 20, True)


def test_no_character_joins_what_was_cut_off_to_its_left():
    """In all of Unicode, what may follow a cut neither begins with a mark nor is a second half."""
    for code in range(0x110000):
        character = chr(code)
        parts = unicodedata.decomposition(character).split()
        if not parts or parts[0].startswith("<"):
            continue
        if reading.cutting_point("a" + character):
            assert not unicodedata.combining(unicodedata.normalize("NFD", character)[0])
        if unicodedata.is_normalized("NFC", character) and len(parts) == 2:
            assert not reading.cutting_point("a" + chr(int(parts[1], 16)))
    for final in ("\u1161", "\u1175", "\u11a8", "\u11c2"):
        assert not reading.cutting_point("\u1100" + final)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_preprocessing_twice_is_preprocessing_once(string, lowercase):
    once = preprocess(string, lowercase)
    assert preprocess(once, lowercase) == once
    assert unicodedata.is_normalized("NFC", once)


def test_a_limited_vocabulary_says_what_it_leaves_out(write):
    text = read_text(write("t.txt", "aaaaaaabbbcd"))
    vocabulary = text.vocabulary(3)
    assert vocabulary.decode(text.ids(vocabulary)) == "aaaaaaabbb\ufffd\ufffd"
    assert text.notes == ["2 rare characters, 0.17 of the text, become '\ufffd'"]
    assert text.vocabulary(4).replacement is None
    assert len(text.notes) == 1


def test_characters_that_training_lacked_are_named(write):
    vocabulary = Text.from_string("hello world").vocabulary()
    message = refusal(read_text(write("t.txt", "held ☃ Zoo")).ids, vocabulary)
    assert "t.txt: 'Z', '☃' did not occur in training" in message


def test_standard_input_is_read_as_text(stdin):
    stdin("to be or nöt\r\n".encode())
    text = read_text("-")
    vocabulary = text.vocabulary()
    assert vocabulary.decode(text.ids(vocabulary)) == "to be or nöt\n"
    assert text.source == "standard input"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.txt: is empty"),
        ("\ufeff", "t.txt: is empty"),
        ("x", "t.txt: has only one character"),
        ("two\nlines\nand\0", "t.txt, line 3: a NUL"),
        (b"fine\n\xff", "t.txt, line 2: the byte 0xff"),
        (gzip.compress(b"to be " * 9)[:-10], "was cut off"),
    ],
)
def test_bad_texts_are_refused(write, content, message):
    assert message in refusal(read_text, write("t.txt", content))


def test_surrogates_in_a_python_string_are_refused():
    text = Text.from_string("a\ud800b")
    assert "surrogates" in refusal(text.vocabulary)


# What kind of data a file holds


@pytest.mark.parametrize(
    ("path", "as_", "kind"),
    [
        ("a.csv", None, "names"),
        ("a.TSV", None, "names"),
        ("dir.txt/a.csv.gz", None, "names"),
        ("a.txt", None, "text"),
        ("a.gz", None, "text"),
        ("csv", None, "text"),
        ("a.txt", "names", "names"),
        ("a.csv", "text", "text"),
        ("-", "text", "text"),
        ("-", "names", "names"),
    ],
)
def test_the_kind_follows_the_file_name_unless_it_is_said(path, as_, kind):
    assert decide_kind(path, as_) == kind


def test_a_kind_that_cannot_be_known_is_refused():
    assert "--as" in refusal(decide_kind, "-")
    assert "'poems'" in refusal(decide_kind, "a.txt", "poems")
