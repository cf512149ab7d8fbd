from __future__ import annotations

from pathlib import Path

import pytest

from fastlstm.data.names import Names
from fastlstm.data.novelty import NameIndex
from fastlstm.errors import FastLSTMError
from fastlstm.generation.report import compare, picture, rows, table

DRAWN = ["anna", "eve", "bo", "eve", "eve", "Å"]
TRAINING = NameIndex({"anna": 3, "bob": 2, "eva": 1, "bo": 2}, {"å": 1, "Å": 1})


def test_counts_of_new_known_and_repeated() -> None:
    facts = compare(DRAWN, TRAINING)
    assert (facts.drawn, facts.distinct, facts.repeated) == (6, 4, 2)
    assert (facts.new, facts.new_distinct, facts.known, facts.held_out) == (3, 1, 2, 1)
    assert (facts.training, facts.found) == (4, 2)


def test_shares_weigh_every_name_as_often_as_it_occurs() -> None:
    facts = compare(DRAWN, TRAINING)
    assert facts.lengths == {1: (1 / 6, 0), 2: (1 / 6, 2 / 8), 3: (3 / 6, 3 / 8), 4: (1 / 6, 3 / 8)}
    assert list(facts.letters) == ["a", "b", "e", "Å"]
    assert facts.letters["b"] == (1 / 6, 4 / 8)
    for shares in (facts.lengths, facts.letters):
        assert [sum(side) for side in zip(*shares.values(), strict=True)] == pytest.approx([1, 1])


def test_names_that_were_given_a_value_are_compared_with_those_that_have_it() -> None:
    names = Names(["anna", "bob", "kim", "kim"], given={"Sex": ["F", "M", "F", "M"]})
    index = NameIndex.of(names, None, names.given.conditions if names.given else ())
    facts = compare(["anna", "bob", "bob", "kim", "zoe"], index, [{"Sex": "F"}])
    assert (facts.new, facts.known, facts.held_out, facts.elsewhere) == (1, 2, 0, 2)
    assert (facts.training, facts.found) == (2, 2)
    assert facts.letters["b"] == (2 / 5, 0)
    assert "others'         2   40.0 %   in the data, but under other values than these" in table(facts)
    assert "others'" not in table(compare(["anna"], index, [{"Sex": "F"}]))
    assert compare(["anna", "bob"], index).elsewhere == 0


def test_nothing_drawn_is_no_error() -> None:
    facts = compare([], TRAINING)
    assert (facts.drawn, facts.new, facts.lengths[4]) == (0, 0, (0, 3 / 8))
    assert "0 names drawn" in table(facts)


def test_table_and_rows_say_the_same() -> None:
    facts = compare(DRAWN, TRAINING)
    text = table(facts)
    assert "6 names drawn, 4 distinct" in text
    assert "3   50.0 %   1 distinct" in text
    assert "1   16.7 %   in the data, but held out from training" in text
    assert "2   33.3 %   2 of its 4 distinct names" in text
    assert ("length", "3", 0.5, 0.375) in rows(facts)
    assert ("new", "", 3, None) in rows(facts)


def test_long_distributions_end_in_a_remainder() -> None:
    letters = [chr(0x4E00 + i) for i in range(100)]
    facts = compare(letters, NameIndex(dict.fromkeys(letters, 1)))
    other = next(line for line in table(facts).splitlines() if "other" in line)
    assert other.split()[:3] == ["other", "60.0", "%"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_picture_is_drawn(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"report.{suffix}"
    picture(compare(DRAWN[:-1], TRAINING), path)
    assert path.read_bytes()[:4] == {"png": b"\x89PNG", "svg": b"<?xm"}[suffix]
    assert list(tmp_path.iterdir()) == [path]


def test_an_ending_that_is_no_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(FastLSTMError, match=r"pictures are not written as \.5; use \.png"):
        picture(compare(DRAWN, TRAINING), tmp_path / "report.5")
    assert not list(tmp_path.iterdir())
