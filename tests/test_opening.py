"""Messy files and wrong objects: what is read all the same and said, and what is refused in one line that helps."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm as fl
from fastlstm.data.encodings import suggestions
from fastlstm.data.novelty import read_avoided
from fastlstm.data.opening import as_data, open_data
from fastlstm.errors import FastLSTMError, printable, quoted

SMALL: dict[str, Any] = {"hidden": 4, "embedding": 2, "steps": 2, "validation": 0}


def one_line(function: Any, *arguments: Any, **keywords: Any) -> str:
    """The message of the FastLSTMError that a call raises: one line, all of it printable."""
    with pytest.raises(FastLSTMError) as caught:
        function(*arguments, **keywords)
    message = str(caught.value)
    assert message.isprintable()
    return message


# Messages


def test_every_message_is_one_printable_line() -> None:
    assert str(FastLSTMError("a\nb\u202ec\x1b[31m\udc80")) == r"a\nb\u202ec\x1b[31m\udc80"
    assert printable("x" * 300) == "x" * 200 + "…"
    assert quoted("an\nna" * 20, 5) == r"'an\nna'…"
    assert quoted([1] * 100, 10) == "[1, 1, 1, …"


@pytest.mark.parametrize("nasty", ["a\nb", "a\u202eb", "a\x1b[31mb", "a\u2028b", "x" * 5000])
def test_what_a_file_holds_does_not_break_the_line(tmp_path: Path, nasty: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'"{nasty}",Count\nanna,1\nbo,x\n', encoding="utf-8")
    for options in ({"column": "none"}, {"column": nasty[:40], "weight": 2}, {"weight": nasty + "?"}):
        assert len(one_line(fl.read_names, path, **options)) < 400
    path.write_text(f'Name\nanna\n"{nasty}\n"\n{"y" * 6000}\n', encoding="utf-8")
    assert len(one_line(fl.read_names, path)) < 400
    path.write_text("Name\nanna\nbo\n", encoding="utf-8")
    names = fl.read_names(path)
    names.source = printable(nasty)
    assert repr(names).isprintable()
    assert len(one_line(fl.CharLM(**SMALL).fit, nasty * 300 + "\udc80")) < 400


# Tables as spreadsheets and people write them

TABLES: dict[str, tuple[str, str, list[str], str]] = {
    "Excel's first line": ("t.csv", "sep=;\nId;Name\n1;Anna\n2;Bo\n", ["anna", "bo"], "by ';', as the first line says"),
    "quoted": ("t.csv", '"sep=|"\n"Id"|"Name"\n"1"|"Anna"\n"2"|"Bo"\n', ["anna", "bo"], "separated by '|'"),
    "no separator": ("t.csv", 'sep="\nAnna\nBo\n', ["anna", "bo"], "unless you say header=False"),
    "a tab": ("t.csv", "sep=\t\nId\tName\n1\tAnna, B.\n2\tBo\n", ["anna, b.", "bo"], r"separated by '\t'"),
    "in a list": ("t.txt", "sep=;\nId;Name\n1;Anna\n2;Bo\n", ["anna", "bo"], "as the first line says"),
    "a comma in another title": ("t.csv", "Name;Share, %\nAnna;1\nBo;2\n", ["anna", "bo"], "separated by ';'"),
    "decimal commas": ("t.csv", "Name;Share, %\nAnna;1,5\nBo;2,5\n", ["anna", "bo"], "separated by ';'"),
    "a bar in each line": ("t.csv", "Name|Sex\nAnna|f\nBo|m\n", ["anna", "bo"], "separated by '|'"),
    "bars in a list": ("t.txt", "Anna|f\nBo|m\n", ["anna", "bo"], "read as a table: fields are separated by '|'"),
    "tabs in a list": ("t.txt", "Name\tn\nAnna\t1\nBo\t2\n", ["anna", "bo"], r"read as a table: fields are separated by '\t'"),
    "bars in some names": ("t.txt", "Anna|f\nBo\n", ["anna|f", "bo"], ""),
    "commas in all names": ("t.txt", "Smith, A\nJones, B\n", ["smith, a", "jones, b"], "each whole line is taken for a name"),
    "genres": ("t.csv", "1,Toy,A|B\n2,Heat,C|D\n", ["toy", "heat"], "is read as data; --header"),
    "quoted lines": ("t.txt", '"Anna"\n\n"Bo ""B"""\n', ["anna", 'bo "b"'], "every name stands in quotes"),
    "typographic quotes": ("t.txt", "„Anna“\n„Bo“\n", ["anna", "bo"], "every name stands in quotes („…“)"),
    "single quotes": ("t.csv", "Name,Sex\n'Anna','f'\n'Bo','m'\n", ["anna", "bo"], "every name stands in quotes"),
    "one quoted line": ("t.txt", '"Anna"\nBo\n', ['"anna"', "bo"], ""),
    "an apostrophe": ("t.txt", "'t Hooft\n'n Anna\n", ["'t hooft", "'n anna"], ""),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_tables_are_recognised_and_said_to_be(tmp_path: Path, case: str) -> None:
    name, content, expected, note = TABLES[case]
    (tmp_path / name).write_text(content, encoding="utf-8")
    names = fl.read_names(tmp_path / name)
    assert list(names) == expected
    assert note in "; ".join(names.notes)
    if not note:
        assert not names.notes


def test_lines_are_counted_from_the_first_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for content, line in (("sep=;\nId;Name\n1;Anna\n2\n", 4), ("Id,Name\n1,Anna\n2\n", 3)):
        path.write_text(content)
        assert f"t.csv, line {line}: 1 field where the first row has 2" in one_line(fl.read_names, path)
    path.write_text("Id,Name\n1,Anna\n2,Bo\n")
    assert "line 1: there is no column 'name2'; the columns are Id, Name; did you mean Name?" in one_line(
        fl.read_names, path, column="name2"
    )
    path.write_text("All our names\nId,Name\n1,Anna\n")
    assert "take out what is above" in one_line(fl.read_names, path)
    path.write_text('sep=,\nId,Name\n1,Anna\n2,"Bo\n')
    assert "line 4: no sound row" in one_line(fl.read_names, path)


def test_lower_case_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Anna\nbo\n")
    said = "turned to lower case (--no-lowercase keeps capitals)"
    assert said in fl.read_names(tmp_path / "t.txt").describe()
    assert said not in fl.read_names(tmp_path / "t.txt", lowercase=False).describe()
    assert said not in fl.Names(["anna"]).describe()


def test_avoided_names_are_read_as_any_others(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text('"Anna"\n"Bo"\n')
    assert read_avoided(tmp_path / "t.txt", "names", lowercase=True) == {"anna", "bo"}


# Bytes that are no UTF-8

LINES = "Name\nAnna\nJörg’s\nZoë\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("asked", ["utf-8", "cp1252", "utf-16"])
def test_a_byte_order_mark_decides(tmp_path: Path, encoding: str, asked: str) -> None:
    path = tmp_path / "t.csv"
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    path.write_bytes((mark + LINES).encode(encoding))
    names = fl.read_names(path, "Name", encoding=asked)
    assert list(names) == ["anna", "jörg’s", "zoë"]
    assert bool(names.notes) == (not encoding.startswith(asked))
    assert all("as its byte order mark says" in note for note in names.notes)
    text = fl.read_text(path, asked)
    assert len(text) == len(LINES)
    assert text.notes == names.notes


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("lines", [LINES, "Имя\nАнна\nЮля\n", "名前\n花子\nさくら\n"])
def test_without_a_mark_the_likelier_order_is_taken(tmp_path: Path, encoding: str, lines: str) -> None:
    (tmp_path / "t.csv").write_bytes(lines.encode(encoding))
    names = fl.read_names(tmp_path / "t.csv", header=True, encoding=encoding[:6])
    assert list(names) == lines.lower().split()[1:]
    assert names.notes[0] == f"read as {encoding}, the likelier order of bytes where no mark says it"


@pytest.mark.parametrize(
    ("encoding", "lines", "shown"),
    [
        ("cp1252", LINES, "'Jörg’s'"),
        ("cp1250", "Anna\nŁukasz\nŚwięta\n", "'Łukasz'"),
        ("cp1251", "Анна\nЕкатерина\n", "'Анна'"),
        ("koi8-r", "Анна\nЕкатерина\n", "'Анна'"),
        ("gb18030", "王伟\n李娜\n张敏\n刘洋\n", "'王伟'"),
        ("shift_jis", "さくら\n山田花子\n", "'さくら'"),
        ("big5", "陳怡君\n林志明\n", "'陳怡君'"),
        ("euc_kr", "김민준\n이서연\n", "'김민준'"),
        ("utf-16-le", LINES, "'Name'"),
        ("utf-16-be", "Анна\nЮля\n", "'Анна'"),
    ],
)
def test_the_encoding_that_makes_words_is_suggested_first(
    tmp_path: Path, encoding: str, lines: str, shown: str
) -> None:
    (tmp_path / "t.txt").write_bytes(lines.encode(encoding))
    for kind in ("names", "text"):
        assert f"; --encoding {encoding} would read {shown}" in one_line(open_data, tmp_path / "t.txt", kind)
        assert open_data(tmp_path / "t.txt", kind, encoding=encoding).notes == []


def test_latin_1_is_never_suggested_for_what_windows_wrote(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("it’s a “rose”\n".encode("cp1252"))
    assert "latin-1" not in one_line(fl.read_text, tmp_path / "t.txt")
    text = fl.read_text(tmp_path / "t.txt", encoding="latin-1")
    assert text.notes == [
        "3 characters become invisible controls in latin-1; --encoding cp1252 would read '’“”'"
    ]


def test_bytes_that_make_no_words_are_not_said_to_be_text() -> None:
    noise = random.Random(0).randbytes(5000)
    assert suggestions(noise, 0, "utf-8") == "if it is text, give its encoding (--encoding)"
    assert suggestions(b"\xff", 0, "utf-8").startswith("--encoding")


# Files that are no text


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return file.getvalue()


FILES: dict[str, tuple[bytes, str]] = {
    "t.xlsx": (zipped("[Content_Types].xml", "xl/workbook.xml"), "is an Excel workbook, not text: save the sheet as CSV"),
    "t.ods": (zipped("mimetype") + b"application/vnd.oasis.opendocument.spreadsheet", "is an OpenDocument spreadsheet"),
    "t.docx": (zipped("[Content_Types].xml", "word/document.xml"), "is a Word document, not text: save it as plain text"),
    "t.zip": (zipped("names.txt"), "is a zip archive, not text: unpack it"),
    "names.csv": (zipped("xl/workbook.xml"), "is an Excel workbook"),
    "t.xls": (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "is an Excel or Word file of the old kind"),
    "t.pdf": (b"%PDF-1.7\n\xb5\xb6", "is a PDF, not text"),
    "t.rtf": (b"{\\rtf1\\ansi Anna}", "is a document in rich text"),
    "t.parquet": (b"PAR1\x15\0", "is a Parquet table"),
    "t.npy": (b"\x93NUMPY\x01\0", "is a NumPy array"),
    "t.db": (b"SQLite format 3\0", "is an SQLite database"),
    "t.csv.bz2": (b"BZh91AY", "is a bzip2 file, not text: unpack it"),
    "t.safetensors": ((60).to_bytes(8, "little") + b'{"a":{}}', "is a model's weights (safetensors), not text"),
    "t.csv.gz": (gzip.compress(b"%PDF-1.7"), "is a PDF"),
    "t.png": (b"\x89PNG\r\n", "is a picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_text_are_called_what_they_are(tmp_path: Path, name: str) -> None:
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    for kind in ("names", "text", None):
        assert f"{name} {message}" in one_line(open_data, tmp_path / name, kind)


def test_markup_is_no_table(tmp_path: Path) -> None:
    for content, language in (
        ("<!DOCTYPE html>\n<p>\n", "HTML"),
        ('{"names": []}\n', "JSON"),
        ('["a",\n"b"]\n', "JSON"),
    ):
        (tmp_path / "t.csv").write_text(content)
        assert f"t.csv is {language}, not a table" in one_line(open_data, tmp_path / "t.csv")
        assert len(open_data(tmp_path / "t.csv", "text")) == len(content)


# What Python hands over


class Frame:
    """What is a table by its looks: pandas' and others'."""

    columns = ("Sex", "Name")

    def __iter__(self) -> Any:
        return iter(self.columns)


WRONG: dict[str, tuple[Any, str]] = {
    "frame": (Frame(), "the data are a table with the columns Sex, Name: give one of its columns"),
    "matrix": (np.array([["anna", "bo"]]), "the data are a table"),
    "dict": ({"anna": 3, "bo": 1}, "weights=list(d.values())"),
    "counter": (Counter("ab"), "a dict"),
    "set": ({"anna", "bo"}, "a set, whose order changes from process to process: give sorted(s)"),
    "frozenset": (frozenset("ab"), "a set"),
    "bytes": (b"anna", "bytes: decode them"),
    "bytearray": (bytearray(b"anna"), "bytes: decode them"),
    "file": (io.StringIO("anna\n"), "an open file: give its path to fl.read_names"),
    "path": (Path("no names.txt"), "no names.txt: there is no such file"),
    "string that is a path": ("no names.txt", "no names.txt: there is no such file"),
    "paths, one of them none": ([Path(__file__), Path("no.txt")], "no.txt: there is no such file"),
    "number": (5, "the data are 5: give a list of names"),
    "nothing": (None, "the data are None"),
    "empty": ([], "names: there is no name"),
    "blank": (["", " "], "names: there is no name"),
    "empty text": ("", "text: is empty"),
    "numbers": ([1, 2], "names, name 1: 1 is not a string"),
    "bytes in a list": ([b"anna"], "names, name 1: b'anna' is not a string"),
    "rows": ([["anna", 1]], "name 1: ['anna', 1] is not a string"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_list_of_names_is_refused_with_what_to_pass(case: str) -> None:
    data, message = WRONG[case]
    assert message in one_line(as_data, data, None)
    lm = fl.CharLM(**SMALL)
    assert message in one_line(lm.fit, data)
    lm.fit(["anna", "bo"])
    assert message in one_line(lm.evaluate, data)


def test_lists_of_every_kind_are_taken() -> None:
    for data in (("anna", "bo"), iter(["anna", "bo"]), np.array(["anna", "bo"]), {"anna": 1, "bo": 2}.keys()):
        assert list(as_data(data, None)) == ["anna", "bo"]
    assert "one string" in one_line(fl.Names, "anna")


class NA:
    """pandas' missing value, which compares with nothing."""

    def __ne__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]


NA.__name__ = "NAType"


@pytest.mark.parametrize(
    "missing", [None, float("nan"), np.float64("nan"), np.datetime64("NaT"), NA()], ids=repr
)
def test_missing_names_are_left_out_and_said(missing: Any) -> None:
    with pytest.warns(
        UserWarning,
        match=r"names: 6 names missing \(None, NaN\) and left out: number 2, 3, 4, 5, 6 and 1 more",
    ):
        names = fl.Names(["anna", *[missing] * 6, "bo"], weights=[1, *[0] * 6, 3])
    assert list(names) == ["anna", "bo"]
    assert names.blanks == 6
    assert "left out" in repr(names)


def test_pandas_columns_and_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"Sex": ["f", "m", "m"], "Name": ["Anna", None, "Bo"]})
    for column in (frame["Name"], frame["Name"].astype("string"), frame["Name"].values):
        with pytest.warns(UserWarning, match="1 name missing .* number 2"):
            assert list(fl.Names(column)) == ["anna", "bo"]
    for table in (frame, frame.values, frame[["Name"]]):
        assert "the data are a table" in one_line(as_data, table, None)


def test_options_that_would_be_passed_over_are_refused() -> None:
    for name, value in (
        ("column", "Name"),
        ("delimiter", ";"),
        ("encoding", "cp1252"),
        ("limit", 3),
        ("header", False),
    ):
        message = one_line(fl.CharLM(**SMALL).fit, ["anna", "bo"], **{name: value})
        assert message == f"{name} says how a file is read: give it to fl.read_names or fl.read_text"
    names = fl.Names(["Anna", "Bo"])
    assert "lowercase is False, and names was read with True" in one_line(
        fl.CharLM(lowercase=False, **SMALL).fit, names
    )
    assert "characters limits a text" in one_line(fl.CharLM(characters=5, **SMALL).fit, names)
    assert "is one of text and cannot go on with names" in one_line(
        fl.CharLM(kind="text", **SMALL).fit, names
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fl.CharLM(epoch=3), "there is no option 'epoch'; did you mean epochs?"),
        (lambda: fl.CharLM().fit(["anna"], learning_rate=3), "there is no option 'learning_rate'"),
        (
            lambda: fl.CharLM(**SMALL).sample(temprature=1),
            "there is no option 'temprature'; did you mean temperature?",
        ),
    ],
)
def test_a_mistyped_keyword_is_told_what_was_meant(call: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_nothing_but_a_line_comes_of_random_bytes(tmp_path: Path) -> None:
    rng = random.Random(7)
    pieces = [b"Name", b",", b";", b"\n", b"\r\n", b'"', b"|", b"\t", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\x93",
              b"anna", b"sep=;\n", "Zoë".encode(), "子".encode("gb18030"), b"1,5", b"\x1f\x8b", b" ", b"PK\x03\x04",
              b'{"name": ', b'"x"', b"}", b"[", b"]", b"null", b"1e999", b'"\\ud800"', b'"a\\nb"']  # fmt: skip
    encodings = ["utf-8", "utf-16", "utf-32", "utf-16-le", "cp1252", "latin-1", "shift_jis", "gb18030", "utf-7",
                 "iso2022_jp", "hz", "idna", "punycode", "utf-8-sig"]  # fmt: skip
    read, messages = 0, set()
    for number in range(600):
        path = tmp_path / f"t{number % 7}{rng.choice(['.csv', '.txt', '.tsv', '.gz', '.json', '.jsonl'])}"
        path.write_bytes(b"".join(rng.choices([*pieces, rng.randbytes(3)], k=rng.randint(0, 30))))
        options = {"encoding": rng.choice(encodings), "kind": rng.choice(["names", "lines", "text"])}
        try:
            read += len(repr(open_data(path, **options))) > 0
        except FastLSTMError as error:
            messages.add(str(error))
    assert read > 20
    assert "".join(messages).isprintable()
