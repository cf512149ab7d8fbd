"""Texts as numbers: made in one pass, of any width, in memory or in a file that is trusted only while it fits."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_runs import some_text

from fastlstm.data import encoded, texts
from fastlstm.data.encoded import Kept, encode, reopen
from fastlstm.data.opening import open_data
from fastlstm.data.texts import Text, read_text
from fastlstm.errors import FastLSTMError
from fastlstm.training.folders import IDS, claimed, ids_file
from fastlstm.training.options import Options
from fastlstm.training.runs import Run
from fastlstm.training.session import Session, train

FEW, MANY, MOST = (
    "abcab",
    "".join(map(chr, range(0x4E00, 0x4E00 + 300))),
    "".join(map(chr, range(0xE000, 0x1E100))),
)
PIECES = st.lists(st.sampled_from([FEW, MANY]) | st.text(min_size=1), min_size=1, max_size=6)


def naive(text: str) -> tuple[list[int], str, list[int]]:
    """Each character's place in the order of first occurrence; that order; how often each occurs."""
    order = "".join(dict.fromkeys(text))
    return [order.index(character) for character in text], order, [Counter(text)[c] for c in order]


def check(found: encoded.Encoded, text: str) -> None:
    order = "".join(dict.fromkeys(text))
    assert "".join(map(chr, found.codes)) == order
    assert "".join(order[number] for number in found.numbers.tolist()) == text
    assert found.counts.tolist() == np.bincount(found.numbers).tolist()
    assert found.numbers.dtype == np.min_scalar_type(len(order) - 1)
    whole = text.encode("utf-8", "surrogatepass")
    assert found.former_digest() == hashlib.blake2b(whole, digest_size=16).hexdigest()
    stored = found.numbers.tobytes()
    blocks = [stored[start : start + encoded.BLOCK] for start in range(0, len(stored), encoded.BLOCK)]
    assert found.checksums == list(map(zlib.crc32, blocks))


@pytest.mark.parametrize("memory", [0, 1000, 10**9])
@settings(max_examples=10, deadline=None)
@given(pieces=PIECES)
@example(pieces=[FEW, MANY, MOST])
def test_a_text_is_numbered_whatever_its_pieces_and_wherever_it_lies(memory, pieces):
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(encoded, "IN_MEMORY", memory)
        patch.setattr(encoded, "BLOCK", 64)
        text = "".join(pieces)
        for kept in (None, Kept(Path(folder, "t.ids"), {"of": "this"})):
            check(encode([[piece.encode() for piece in pieces]], kept), text)
        there = os.listdir(folder)
        assert there in ([], ["t.ids"])
        assert bool(there) == (len(text) * np.min_scalar_type(len(set(text)) - 1).itemsize > memory)
        if there:
            again = reopen(kept)
            assert again is not None
            check(again, text)


def test_the_twin_of_the_kernel():
    numbers, order, counts = naive("abacab")
    found = encode([[b"aba", b"cab"]])
    assert (found.numbers.tolist(), "".join(map(chr, found.codes)), found.counts.tolist()) == (
        numbers,
        order,
        counts,
    )


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "IN_MEMORY", 10)
    place = Kept(tmp_path / "t.ids", {"bytes": 20})
    encode([[some_text().encode()]], place)
    return place


def test_what_is_kept_is_trusted_only_while_it_fits(kept):
    whole = kept.path.read_bytes()
    assert reopen(kept) is not None
    assert reopen(kept._replace(origin={"bytes": 21})) is None
    assert reopen(kept._replace(path=kept.path.with_name("other"))) is None
    rng = np.random.default_rng(1)
    damaged = [b"", b"x", whole[:-1], whole[:-9], whole[1:], whole + b"x", whole[: len(whole) // 2]]
    for place in rng.integers(0, len(whole), 200):
        damaged.append(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :])
    for content in damaged:
        kept.path.write_bytes(content)
        assert reopen(kept) is None


def test_a_file_is_read_anew_only_when_it_has_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "IN_MEMORY", 10)
    path, ids = tmp_path / "t.txt", tmp_path / "t.ids"
    path.write_text("to be or not to be", "utf-8")
    first = read_text(path, keep=ids)
    with monkeypatch.context() as patch:
        patch.setattr(texts, "encode", None)
        again = read_text(path, keep=ids)
        assert isinstance(again._encoded.numbers, np.memmap)
        assert (again.digest(), len(again)) == (first.digest(), len(first))
    path.write_text("to be or not to see", "utf-8")
    assert len(read_text(path, keep=ids)) == 19
    assert len(read_text(path, keep=ids, lowercase=True)) == 19
    assert sorted(os.listdir(tmp_path)) == ["t.ids", "t.txt"]


def test_a_fingerprint_tells_any_change_and_knows_that_of_earlier_versions():
    text = Text.from_string(some_text())
    assert text.is_of(text.digest())
    assert text.is_of(hashlib.blake2b(some_text().encode(), digest_size=16).hexdigest())
    for place in range(1, len(some_text()), 97):
        turned = some_text()[place:] + some_text()[:place]
        other = Text.from_string(turned)
        assert text.is_of(other.digest()) == (turned == some_text())
        assert not text.is_of(hashlib.blake2b(turned.encode(), digest_size=16).hexdigest())


@pytest.mark.parametrize("keep", [True, False])
def test_no_room_for_the_numbers_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, keep):
    class Full:
        def write(self, data: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(encoded, "IN_MEMORY", 10)
    monkeypatch.setattr(encoded, "open", lambda *_: Full(), raising=False)
    monkeypatch.setattr(encoded.tempfile, "TemporaryFile", Full)
    with pytest.raises(FastLSTMError, match=r"no room .*No space left on device.*--cache"):
        encode([[b"to be or not"]], Kept(tmp_path / "t.ids", {}) if keep else None)
    assert not os.listdir(tmp_path)


def start(tmp_path, out, **options):
    (tmp_path / "t.txt").write_text(some_text(), "utf-8")
    given = Options(hidden=8, embedding=4, batch_size=4, window=8, steps=20, kind="text", **options)
    with claimed(out, None) as place:
        keep = ids_file(tmp_path / "t.txt", given, place.folder)
        read = open_data(tmp_path / "t.txt", keep=keep, **given.reading)
        return Run.begin(Session(read, given), str(tmp_path / "t.txt"), place)


def test_a_run_from_a_file_of_ids_is_the_run_from_memory(tmp_path, monkeypatch):
    with start(tmp_path, tmp_path / "memory") as memory:
        expected = [record.loss for record in memory.follow()]
    assert not (tmp_path / "memory" / IDS).exists()
    monkeypatch.setattr(encoded, "IN_MEMORY", 10)
    with start(tmp_path, tmp_path / "mapped") as mapped:
        assert [
            record.loss for record in mapped.follow(lambda: mapped.session.position.step == 9)
        ] == expected[:9]
    assert (tmp_path / "mapped" / IDS).exists()
    monkeypatch.setattr(texts, "encode", None)
    with Run.resume(tmp_path / "mapped") as mapped:
        assert [record.loss for record in mapped.follow()] == expected[9:]


def test_a_cache_serves_several_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(encoded, "IN_MEMORY", 10)
    options = {"cache": str(tmp_path / "cache" / "ids")}
    with start(tmp_path, tmp_path / "one", **options) as one:
        expected = [record.loss for record in train(one.session)]
    (file,) = (tmp_path / "cache" / "ids").iterdir()
    assert file.name.startswith("t-")
    changed = (tmp_path / "t.txt").stat().st_mtime_ns
    os.utime(file, ns=(0, 0))
    monkeypatch.setattr(Path, "write_text", lambda *_: None)  # the text stays as it is
    with start(tmp_path, tmp_path / "two", **options) as two:
        assert [record.loss for record in train(two.session)] == expected
    assert file.stat().st_mtime_ns == 0 != changed
    assert IDS not in os.listdir(tmp_path / "two")


def test_what_cannot_be_read_leaves_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FastLSTMError, match="no such file"), claimed(None, "t.txt") as place:
        open_data("t.txt", keep=ids_file("t.txt", Options(), place.folder))
    assert not os.listdir(tmp_path)
