"""The package as people meet it: version, files, help texts, and a start that imports nothing heavy."""

from __future__ import annotations

import importlib.metadata
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import fastlstm
from fastlstm.commands.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent
HEAVY = {
    "numpy",
    "numba",
    "matplotlib",
    "scipy",
    "torch",
    "jax",
    "onnx",
    "onnxruntime",
    "safetensors",
    "tqdm",
}


def imports_of(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has imported after running some code."""
    program = f"import sys\n{code}\nprint('loaded:', *({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert fastlstm.__version__ == project["version"] == importlib.metadata.version("fastlstm")
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert fastlstm.__version__ in result.output


def test_extras_are_those_of_the_design() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == {"plot", "torch", "onnx", "bench", "mpi", "test", "dev"}
    assert not [package for package in extras["test"] if re.match(r"torch|jax|onnx", package)]


def test_installed_files_are_the_sources_files() -> None:
    """What a wheel lacks would be missed by no test that runs from the clone."""
    files = importlib.metadata.files("fastlstm") or []
    installed = {
        str(file) for file in files if file.parts[0] == "fastlstm" and "__pycache__" not in file.parts
    }
    if not installed:
        pytest.skip("fastlstm is installed in editable mode: there are no copies to compare")
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fastlstm").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert installed == sources
    assert {"fastlstm/py.typed", "fastlstm/data/assets/names.csv"} <= sources


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_teaches(name: str) -> None:
    result = CliRunner().invoke(main, [*name.split(), "--help"], prog_name="fastlstm")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: fastlstm {name}".rstrip())
    command = main.get_command(click.Context(main), name) if name else main
    assert command is not None
    assert command.help
    silent = [
        option.name for option in command.params if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_import_is_light() -> None:
    assert imports_of("import fastlstm; dir(fastlstm); fastlstm.FastLSTMError") == set()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_light(command: str) -> None:
    run = f"from fastlstm.commands.cli import main\ntry: main([*{command!r}.split(), '--help'])\nexcept SystemExit: pass"
    assert imports_of(run) <= {"numpy", "safetensors", "tqdm"}


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(COMMANDS) == {command for command in COMMANDS if f"fastlstm {command} " in text}


def test_public_names_are_there() -> None:
    for name in fastlstm.__all__:
        assert getattr(fastlstm, name).__doc__
    assert set(fastlstm.__all__) <= set(dir(fastlstm))
    with pytest.raises(AttributeError, match="no attribute 'LSTM'"):
        fastlstm.LSTM  # noqa: B018


def test_every_module_can_be_imported() -> None:
    """In a process of its own; without the peers, those modules alone may fail that say which they need."""
    modules = sorted(module.name for module in pkgutil.walk_packages(fastlstm.__path__, "fastlstm."))
    assert {"fastlstm.benchmark.peers.jax_", "fastlstm.interop.torch", "fastlstm.commands.cli"} <= set(
        modules
    )
    program = f"""
import importlib
for name in {modules!r}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(name, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    failed = [line for line in done.stdout.splitlines() if not re.search(r"\b(torch|PyTorch|jax|onnx)", line)]
    assert failed == []
    if os.environ.get("FASTLSTM_REQUIRE_PEERS") == "1":
        assert done.stdout == ""
