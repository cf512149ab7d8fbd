"""The order of the rooms: a module imports only from those before its own, and is short enough to be read."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastlstm

PACKAGE = Path(fastlstm.__file__).parent
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
LONGEST = 300  # lines

# From the ground up: a room, and from left to right the modules (or rooms) within it.
ORDER = {
    "errors": "",
    "engine": "memory signals compiled simd kernels cores workers parameters arena layout sequence positions",
    "network": "limits reference architecture lstm optim program windows model growing",
    "data": "files encodings paths reading given gathering dialects tables records columns vocabulary utf8 encoded lists names"
    " joined embedded texts opening novelty contrast batching streams feeds",
    "training": "schedules defaults values options keywords folders launchers ranks building carrying evaluation budget stored"
    " model_file starting session attendance checkpoint bars plots history runs",
    "generation": "stream request drawing sampling scoring classification report",
    "interop": "weights gate batch rows crew frozen autograd torch keras onnx page",
    "charlm": "",
    "notebooks": "cell characters soliloquy zoo_a zoo_b walkthrough kaggle names_training names recipes",
    "benchmark": "shapes machine limits peers worker measure run report plot",
    "commands": "streams pictures fields progress cli together",
}
ROOMS = list(ORDER)


def module(source: Path) -> str:
    """A source's dotted name within the package: `engine.simd.vector`; a room's own `__init__` is the room."""
    return ".".join(source.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(source): source.read_text(encoding="utf-8") for source in SOURCES}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Everything in a module that runs; what is imported for a type checker alone does not."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from statements(child)


def imported(text: str) -> set[str]:
    """The modules of the package that a module's text imports, be it inside a function."""
    names: list[str] = []
    for node in statements(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    inside = [name.removeprefix("fastlstm.") for name in names if name.startswith("fastlstm.")]
    found = {next((m for m in (name, name.rpartition(".")[0]) if m in MODULES), "") for name in inside}
    return found - {""}


IMPORTS = {name: imported(text) for name, text in MODULES.items()}


def place(name: str) -> tuple[int, int]:
    """Where a module stands: its room's number, and its own within the room."""
    room, _, inner = name.partition(".")
    inside = ORDER[room].split()
    inner = inner.partition(".")[0]
    return ROOMS.index(room), inside.index(inner) if inner in inside else len(inside)


def test_walk_sees_every_way_to_import() -> None:
    text = """
import fastlstm.network.model, numpy
from fastlstm import charlm, __version__
from fastlstm.engine import workers
from fastlstm.engine.kernels.head import head
def function():
    from fastlstm.errors import FastLSTMError
if TYPE_CHECKING:
    from fastlstm.commands.cli import main
"""
    assert imported(text) == {"network.model", "charlm", "engine.workers", "engine.kernels.head", "errors"}


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_from_earlier_rooms(name: str) -> None:
    upside_down = {other for other in IMPORTS[name] if place(other) > place(name)}
    assert not upside_down, f"{name} stands below them; the order is {ORDER}"


def test_no_imports_run_in_a_circle() -> None:
    left = {name: set(needed) for name, needed in IMPORTS.items()}
    while free := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in free:
            del left[name]
    assert not left, "each of these needs another of them"


def test_every_module_has_its_place() -> None:
    for room, inside in ORDER.items():
        there = {name.split(".")[1] for name in MODULES if name.startswith(f"{room}.")}
        commands = {name for name in there if name.endswith("_")} if room == "commands" else set()
        assert there - commands == set(inside.split()), room
    assert {name.split(".")[0] for name in MODULES} == set(ROOMS)


def test_the_package_has_few_rooms_and_each_says_what_it_is_for() -> None:
    entries = [path for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "py.typed")]
    assert len(entries) <= 12
    for room in ROOMS:
        purpose = ast.get_docstring(ast.parse(MODULES[room]))
        assert purpose, f"{room} does not say what it is for"


def test_only_the_benchmark_imports_the_oracle() -> None:
    users = {name.split(".")[0] for name, needed in IMPORTS.items() if "network.reference" in needed}
    assert users == {"benchmark"}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name: str) -> None:
    lines = MODULES[name].count("\n")
    assert lines <= LONGEST, f"{lines} lines: is there a seam?"
