from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlstm.data.names import Names
from fastlstm.data.novelty import NameIndex, comparable, read_avoided, read_index, read_prefixes, write_index
from fastlstm.errors import FastLSTMError

NAME = st.text(
    st.characters(exclude_characters="\n\0", exclude_categories=["Cs", "Zs", "Cc"]), min_size=1, max_size=8
)


@given(st.lists(NAME, min_size=1), st.lists(NAME))
def test_index_is_exact(
    tmp_path_factory: pytest.TempPathFactory, training: list[str], others: list[str]
) -> None:
    path = tmp_path_factory.mktemp("run") / "names.index"
    names, known = Names(training), set(training)
    held_out = Names([name for name in others if name not in known])
    write_index(path, NameIndex.of(names, held_out))
    index = read_index(path)
    assert index is not None
    assert index.train.keys() == set(names)
    assert index.held_out.keys() == set(held_out) - set(names)
    assert set(index) == {*names, *held_out}
    assert len(list(index)) == len(index)
    assert all(index[name] == list(names).count(name) for name in names)
    assert all(index.part(name) == "train" for name in names)
    assert all(index.part(name) == "validation" for name in index.held_out)
    assert index.part("a b") is None


def test_index_is_found_by_the_run_its_models_and_itself(tmp_path: Path) -> None:
    assert read_index(tmp_path) is None
    assert read_index(tmp_path / "names.index") is None
    write_index(tmp_path, NameIndex.of(Names(["bob", "anna", "anna"])))
    for path in (tmp_path, tmp_path / "model.safetensors", tmp_path / "names.index"):
        index = read_index(path)
        assert index is not None
        assert dict(index) == {"anna": 2, "bob": 1}


def test_same_names_give_the_same_bytes_whatever_their_order(tmp_path: Path) -> None:
    write_index(tmp_path / "a.index", NameIndex.of(Names(["子", "anna", "bob", "anna"]), Names(["eve"])))
    write_index(tmp_path / "b.index", NameIndex.of(Names(["bob", "anna", "anna", "子"]), Names(["eve"])))
    contents = (tmp_path / "a.index").read_bytes()
    assert contents == (tmp_path / "b.index").read_bytes()
    assert gzip.decompress(contents).decode() == '{"train":{"anna":2,"bob":1,"子":1},"validation":{"eve":1}}'


def test_names_drawn_by_weight_count_by_weight(tmp_path: Path) -> None:
    write_index(tmp_path, NameIndex.of(Names(["anna", "bob", "anna"], weights=[0.25, 3, 1.5])))
    assert dict(read_index(tmp_path) or {}) == {"anna": 1.75, "bob": 3}


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"anna\nbob\n",
        gzip.compress(b"anna\n"),
        gzip.compress(b'["anna"]'),
        gzip.compress(b'{"a":1}')[:-9],
        gzip.compress(b'{"anna":"x"}'),
        gzip.compress(b'{"train":{"anna":1}}'),
        gzip.compress(b'{"train":{"anna":1},"validation":["bo"]}'),
        gzip.compress(b"\xff"),
    ],
)
def test_damaged_index_is_refused(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "names.index").write_bytes(contents)
    with pytest.raises(FastLSTMError, match=r"names\.index is damaged or no index"):
        read_index(tmp_path)


def test_an_index_of_training_names_alone_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "names.index").write_bytes(gzip.compress(b'{"anna":2,"train":1}'))
    index = read_index(tmp_path)
    assert index is not None
    assert (index.train, index.held_out) == ({"anna": 2, "train": 1}, {})


def test_avoided_names_are_read_as_training_names_are(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Anna \n\n A\u030asa\n", encoding="utf-8")
    assert read_avoided(tmp_path / "one.txt", "names", lowercase=True) == {"anna", "åsa"}
    assert read_avoided(tmp_path / "one.txt", "names", lowercase=False) == {"Anna", "Åsa"}
    (tmp_path / "table.csv").write_text("Id,Name\n1,Anna\n2,Bob\n")
    assert read_avoided(tmp_path / "table.csv", "names", lowercase=True) == {"anna", "bob"}
    with pytest.raises(FastLSTMError, match=r"none\.txt"):
        read_avoided(tmp_path / "none.txt", "names", lowercase=True)


def test_lines_keep_their_blanks(tmp_path: Path) -> None:
    (tmp_path / "prefixes.txt").write_text("an\r\n\n  \nto be \n")
    assert read_prefixes(tmp_path / "prefixes.txt") == ["an", "to be "]


def test_comparable_spelling() -> None:
    assert comparable(" a\u030a ") == "å"
    assert comparable("Anna") == "Anna"


def test_names_under_values_are_kept_with_them(tmp_path):
    sex, year = ["F", "M", "M", "F"], [1985, 1994, 1999, None]
    names = Names(["kim", "kim", "bob", "ann"], given={"Sex": sex, "Year:10": year})
    held_out = Names(["eve"], given={"Sex": ["F"], "Year:10": [1994]})
    whole = NameIndex.of(names, held_out, names.given.conditions)
    write_index(tmp_path, whole)
    back = read_index(tmp_path)
    assert (back.train, back.held_out) == (whole.train, whole.held_out)
    for index in (whole, back):
        girls = index.within([{"Sex": "F"}])
        assert (girls.train, girls.held_out) == ({"kim": 1, "ann": 1}, {"eve": 1})
        assert dict(index.within([{"Sex": "M", "Year": "1990–1999"}])) == {"kim": 1, "bob": 1}
        assert set(index.within([{"Year": "1980–1989"}, {"Sex": "M"}])) == {"kim", "bob"}
        assert dict(index.within([{}])) == dict(index)
    for other in ({"Sex": "X"}, {"Land": "DE"}):
        with pytest.raises(FastLSTMError, match="made without these values"):
            back.within([other])


def test_values_of_rows_count_by_weight():
    names = Names(["kim", "kim", "kim"], weights=[0.5, 2, 4], given={"Sex": ["F", "F", "M"]})
    index = NameIndex.of(names, None, names.given.conditions)
    assert index.within([{"Sex": "F"}]).train == {"kim": 2.5}
