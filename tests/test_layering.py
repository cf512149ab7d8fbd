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

# From the ground up, and within a line from left to right. A room is a module or a whole sub-package.
ORDER = """
errors memory
simd
kernels
workers
parameters
reference
arena layout sequence lstm
vocabulary reading tables names corpus batching
optim schedules
positions engine model
options checkpoint
stream feeds budget folders
novelty request training drawing
sampling scoring report plots runs
charlm
notebooks
interop
benchmark
commands
cli
"""
ROOMS = ORDER.split()


def room(source: Path) -> str:
    return source.relative_to(PACKAGE).parts[0].removesuffix(".py")


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Everything in a module that runs; what is imported for a type checker alone does not."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from statements(child)


def imported(text: str) -> set[str]:
    """The rooms that a module's text imports, be it inside a function."""
    names: list[str] = []
    for node in statements(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    inside = {name.split(".")[1] for name in names if name.startswith("fastlstm.")}
    return inside - {"__version__"}


def test_walk_sees_every_way_to_import() -> None:
    text = """
import fastlstm.model, numpy
from fastlstm import charlm, __version__
from fastlstm.kernels.head import head
def function():
    from fastlstm.errors import FastLSTMError
if TYPE_CHECKING:
    from fastlstm.cli import main
"""
    assert imported(text) == {"model", "charlm", "kernels", "errors"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_earlier_rooms(source: Path) -> None:
    own = room(source)
    assert own in ROOMS, f"{own} has no room yet: give it a place in the order"
    earlier = ROOMS[: ROOMS.index(own) + 1]
    upside_down = imported(source.read_text(encoding="utf-8")) - set(earlier)
    assert not upside_down, f"{own} may import only {' '.join(earlier)}"


def test_every_room_is_there() -> None:
    assert set(ROOMS) == set(map(room, SOURCES))


def test_only_the_benchmark_imports_the_oracle() -> None:
    users = {
        room(source) for source in SOURCES if "reference" in imported(source.read_text(encoding="utf-8"))
    }
    assert users == {"benchmark"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_are_short(source: Path) -> None:
    lines = source.read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST, f"{lines} lines: is there a seam?"
