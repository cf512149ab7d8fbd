"""Model files: the same bytes, the same model back, and one clear line for every file that is not one."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from fastlstm.data import files
from fastlstm.data.files import write_atomically
from fastlstm.data.vocabulary import Vocabulary
from fastlstm.errors import FastLSTMError
from fastlstm.network.architecture import Architecture
from fastlstm.network.model import Network
from fastlstm.training import model_file as checkpoint
from fastlstm.training.model_file import (
    FORMAT_VERSION,
    METADATA_KEY,
    NEWEST,
    load_arrays,
    load_model,
    save_model,
)

VOCABULARY = Vocabulary("abß子🙂", boundary=True)


def network(**changes):
    return Network(Architecture(**{"vocabulary": 6, "hidden": 5, "embedding": 3, **changes}), seed=3)


def write(path, net=None, **facts):
    save_model(path, net or network(), VOCABULARY, "names", {"lowercase": True}, {"step": 7}, **facts)
    return path


def rewrite(path, change_facts=None, change_arrays=None):
    """Change what is inside a file."""
    arrays, facts = load_arrays(path)
    if change_facts:
        change_facts(facts)
    if change_arrays:
        change_arrays(arrays)
    path.write_bytes(save(arrays, {METADATA_KEY: json.dumps(facts)}))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"layers": 2, "dtype": "float64"},
        {"embedding": 0},
        {"embedding": 5, "tied": True, "learned_state": True},
    ],
)
def test_a_model_comes_back_as_it_was(tmp_path, changes):
    net = network(**changes)
    model = load_model(write(tmp_path / "m.safetensors", net))
    assert model.network.architecture == net.architecture
    assert model.network.parameters.flat.tobytes() == net.parameters.flat.tobytes()
    assert model.vocabulary == VOCABULARY
    assert (model.kind, model.preprocessing, model.extra) == ("names", {"lowercase": True}, {"step": 7})


def test_same_contents_same_bytes_and_one_sorted_metadata_key(tmp_path):
    first, second = (write(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second
    size = struct.unpack("<Q", first[:8])[0]
    metadata = json.loads(first[8 : 8 + size])["__metadata__"]
    assert list(metadata) == [METADATA_KEY]
    facts = json.loads(metadata[METADATA_KEY])
    assert list(facts) == sorted(facts)
    assert facts["format_version"] == FORMAT_VERSION
    assert set(load(first)) == set(network().parameters)


def test_a_folder_is_read_as_its_model(tmp_path):
    write(tmp_path / "model.safetensors")
    assert load_model(tmp_path).extra == {"step": 7}
    assert load_arrays(tmp_path / "model.safetensors")[1]["kind"] == "names"


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write(tmp_path / "m.safetensors")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(path, network(hidden=9))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_never_replace_a_file(tmp_path, bad):
    path = write(tmp_path / "m.safetensors")
    before = path.read_bytes()
    net = network()
    net.parameters["head.W"][1, 2] = bad
    with pytest.raises(FastLSTMError, match=r"head\.W holds NaN or infinite"):
        write(path, net)
    assert path.read_bytes() == before


def test_every_truncation_is_one_clear_line(tmp_path):
    path = write(tmp_path / "m.safetensors")
    whole = path.read_bytes()
    for size in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(
            FastLSTMError, match=r"m\.safetensors is truncated or no safetensors file"
        ) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("contents", [b"PK\x03\x04 a zip of pickles", b"anna\nbob\n", b"\xff" * 64])
def test_foreign_files_are_refused(tmp_path, contents):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(contents)
    with pytest.raises(FastLSTMError, match="no safetensors file"):
        load_model(path)


def test_other_safetensors_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"weight": np.zeros(3)}))
    with pytest.raises(FastLSTMError, match="not of fastlstm"):
        load_model(path)


def test_a_newer_format_is_refused_by_its_number_and_an_older_one_loads(tmp_path):
    path = write(tmp_path / "m.safetensors")
    rewrite(path, lambda facts: facts.update(format_version=0))
    assert load_model(path).kind == "names"
    rewrite(path, lambda facts: facts.update(format_version=NEWEST + 1))
    with pytest.raises(FastLSTMError, match=f"format version {NEWEST + 1}, .* upgrade"):
        load_model(path)


def test_a_file_from_before_an_option_existed_has_its_default(tmp_path):
    path = write(tmp_path / "m.safetensors")
    rewrite(path, lambda facts: [facts["architecture"].pop(name) for name in ("tied", "learned_state")])
    assert load_model(path).network.architecture == network().architecture


@pytest.mark.parametrize(
    ("change_facts", "change_arrays", "says"),
    [
        (lambda f: f["architecture"].update(hidden=6), None, "embedding|lstm"),
        (None, lambda a: a.pop("head.b"), r"head\.b is missing"),
        (None, lambda a: a.update(more=np.zeros(1)), "more is float64"),
        (None, lambda a: a.update({"head.b": a["head.b"].astype("float64")}), r"head\.b is float64"),
        (lambda f: f.pop("architecture"), None, "damaged"),
        (lambda f: f["architecture"].update(wings=2), None, "damaged"),
        (lambda f: f["architecture"].update(hidden="many"), None, "damaged"),
        (lambda f: f.pop("vocabulary"), None, "damaged"),
        (lambda f: f["vocabulary"].update(characters="abc"), None, "vocabulary has 4 entries"),
        (lambda f: f.pop("kind"), None, "damaged"),
        (lambda f: f.update(format_version="new"), None, "damaged"),
    ],
)
def test_what_does_not_fit_together_is_said(tmp_path, change_facts, change_arrays, says):
    path = write(tmp_path / "m.safetensors")
    rewrite(path, change_facts, change_arrays)
    with pytest.raises(FastLSTMError, match=says) as caught:
        load_model(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_without_a_model(tmp_path):
    with pytest.raises(FastLSTMError, match="no such file"):
        load_model(tmp_path / "m.safetensors")
    with pytest.raises(FastLSTMError, match=r"holds no model\.safetensors"):
        load_model(tmp_path)


def test_a_folder_or_a_device_is_not_replaced(tmp_path):
    for path in (tmp_path, os.devnull):
        with pytest.raises(FastLSTMError, match="a folder or a device"):
            write_atomically(path, b"x")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="this system has no links, or asks for a privilege")
def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_flipped_bit_is_found_and_its_array_named(tmp_path):
    path = write(tmp_path / "m.safetensors")
    whole = path.read_bytes()
    place = whole.index(network().parameters["lstm.0.W"].tobytes())
    path.write_bytes(whole[: place + 7] + bytes([whole[place + 7] ^ 1]) + whole[place + 8 :])
    with pytest.raises(FastLSTMError, match=r"m\.safetensors: lstm\.0\.W is damaged"):
        load_model(path)
    path.write_bytes(whole.replace(b'lowercase\\": true', b'lowercase\\": null'))
    with pytest.raises(FastLSTMError, match="its description is damaged"):
        load_model(path)


def test_a_file_from_before_checksums_loads_but_not_with_numbers_that_are_none(tmp_path):
    path = write(tmp_path / "m.safetensors")
    rewrite(path)
    assert "checksums" not in json.loads(header(path)["__metadata__"][METADATA_KEY])
    assert load_model(path).kind == "names"
    rewrite(path, None, lambda arrays: arrays["head.b"].fill(np.nan))
    with pytest.raises(FastLSTMError, match=r"head\.b holds NaN or infinite numbers"):
        load_model(path)


def header(path):
    contents = path.read_bytes()
    return json.loads(contents[8 : 8 + struct.unpack("<Q", contents[:8])[0]])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("layers", 2**31), ("layers", 4_000_000), ("hidden", 10**9), ("hidden", True), ("forget_bias", "a"), ("forget_bias", []),
        ("dropout", float("nan")), ("dtype", 3), ("conditions", 7), ("conditions", [1.5]), ("tied", 1), ("embedding", 10**400),
    ],
)  # fmt: skip
def test_facts_are_checked_before_anything_is_built_from_them(tmp_path, part, value):
    path = write(tmp_path / "m.safetensors")
    rewrite(path, lambda facts: facts["architecture"].update({part: value}))
    with pytest.raises(FastLSTMError, match=f"damaged: {part} is"):
        load_model(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", "[]", "3", "{}", '{"format_version": true}', "{"])
def test_metadata_that_cannot_be_read(tmp_path, text):
    path = tmp_path / "m.safetensors"
    path.write_bytes(save({"head.b": np.zeros(1)}, {METADATA_KEY: text}))
    with pytest.raises(FastLSTMError, match="its metadata cannot be read"):
        load_model(path)


def test_a_file_that_another_program_reads_is_tried_again(tmp_path, monkeypatch):
    path, attempts = write(tmp_path / "m.safetensors"), []

    def replace(source, target):
        attempts.append(target)
        if len(attempts) <= held:
            raise PermissionError(13, "Access is denied")
        Path(source).rename(target)

    monkeypatch.setattr(files, "WINDOWS", True)
    monkeypatch.setattr(files.os, "replace", replace)
    monkeypatch.setattr(files, "PAUSE", 0)
    held = 3
    write_atomically(path, b"new")
    assert (path.read_bytes(), len(attempts)) == (b"new", 4)
    held = 10**9
    with pytest.raises(files.InUse, match="open in another program"):
        write_atomically(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
