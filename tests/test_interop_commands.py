"""`fastlstm export` and `fastlstm import`, as a person calls them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from peers import require
from test_interop_weights import CHARACTERS, model, same

from fastlstm.commands.cli import main
from fastlstm.training.model_file import load_model, save_model


def fastlstm(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    save_model(tmp_path / "run" / "model.safetensors", *model(layers=2)[:4])
    return tmp_path / "run"


def refused(result, text, code=1):
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert result.stdout == ""
    if code == 1:
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["export", "import"])
def test_help(command):
    result = fastlstm(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: main {command}" in result.stdout


@pytest.mark.parametrize("out", ["again", "deep/again", "again.safetensors"])
@pytest.mark.parametrize("source", ["folder", "file"])
def test_out_and_in(run, tmp_path, source, out):
    file = tmp_path / "weights.safetensors"
    result = fastlstm("export", run if source == "folder" else run / "model.safetensors", file)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{file}: torch, 684 parameters, 7 ids, names\n"
    result = fastlstm("import", file, "--out", tmp_path / out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / out}: 684 parameters, 7 ids, names\n"
    after = load_model(tmp_path / out)
    assert same(after.network, load_model(run).network)
    assert after.vocabulary.characters == tuple(CHARACTERS)


def test_a_foreign_state_dict(run, tmp_path):
    from safetensors.numpy import load_file, save_file

    file = tmp_path / "weights.safetensors"
    fastlstm("export", run, file)
    save_file(load_file(file), file)
    refused(fastlstm("import", file, "--out", tmp_path / "a"), "give --characters and --as")
    assert not (tmp_path / "a").exists()
    result = fastlstm("import", file, "--out", tmp_path / "a", "--characters", "ABCDEF", "--as", "names")
    assert result.exit_code == 0, result.output
    assert load_model(tmp_path / "a").vocabulary.characters == tuple("ABCDEF")


def test_onnx(run, tmp_path):
    require("onnx")
    result = fastlstm("export", run, tmp_path / "m.bin", "--to", "onnx")
    assert result.exit_code == 0, result.output
    assert "onnx, 684 parameters" in result.stdout
    result = fastlstm("export", run, tmp_path / "m.onnx")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "m.bin").read_bytes() == (tmp_path / "m.onnx").read_bytes()


def test_onnx_without_its_package(run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    monkeypatch.delitem(__import__("sys").modules, "fastlstm.interop.onnx", raising=False)
    refused(fastlstm("export", run, tmp_path / "m.onnx"), "pip install 'fastlstm[onnx]'")


def test_what_export_refuses(run, tmp_path):
    refused(fastlstm("export", tmp_path / "none", tmp_path / "a.onnx"), "no such file")
    refused(fastlstm("export", run, tmp_path / "a.bin"), "say --to torch, --to onnx or --to page", code=2)
    refused(fastlstm("export", run, run / "model.safetensors"), "is the model itself")
    refused(fastlstm("export", run, tmp_path / "no" / "a.safetensors"), "make it first")
    refused(fastlstm("export", run, tmp_path, "--to", "torch"), "is a folder")


def test_what_import_refuses(run, tmp_path):
    file = tmp_path / "weights.safetensors"
    fastlstm("export", run, file)
    before = (run / "model.safetensors").read_bytes()
    refused(fastlstm("import", file, "--out", run), "holds files already")
    refused(fastlstm("import", file, "--out", run / "model.safetensors"), "there already")
    assert (run / "model.safetensors").read_bytes() == before
    refused(fastlstm("import", run / "model.safetensors", "--out", tmp_path / "b"), "fastlstm's own")
    refused(fastlstm("import", file, "--out", file / "below"), "Not a directory")
    refused(fastlstm("import", file), "Missing option '--out'", code=2)


def test_an_export_is_not_mistaken_for_a_model(run, tmp_path):
    file = tmp_path / "weights.safetensors"
    fastlstm("export", run, file)
    refused(fastlstm("export", file, tmp_path / "again.safetensors"), "see `fastlstm import --help`")
