"""Every code block of every README runs, in order and as it stands; only what takes long is cut short.

A README has a folder of its own with small data files. `python` blocks run in one namespace, `sh` blocks and the
`$ ` lines of `console` blocks in a shell. Stand-ins on its PATH let a command do what it says in a second: fewer steps
of training, fewer names, a benchmark's options checked but nothing measured, nothing installed.
With FASTLSTM_README=whole nothing is cut, and what a `console` block shows has to come out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from peers import require

from fastlstm.data.embedded import embedded_names

ROOT = Path(__file__).parent.parent
WHOLE = os.environ.get("FASTLSTM_README") == "whole"
READMES = [ROOT / "README.md", ROOT / "bench" / "README.md", *sorted((ROOT / "fastlstm").rglob("README.md"))]
BLOCK = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {"text"}  # output, no code
FEW = {"-n": "20", "--length": "200"}  # at most so many

STAND_IN = f"""#!{sys.executable}
import os, re, sys
sys.path[:0] = [{os.fspath(ROOT)!r}]
command, words = os.path.basename(sys.argv[0]), sys.argv[1:]
if command in ("pip", "pytest"):
    text = open({os.fspath(ROOT / "pyproject.toml")!r}).read()
    extras = [extra for word in words for found in re.findall(r"\\[(.*)\\]", word) for extra in found.split(",")]
    sys.exit(any(not re.search(rf"^{{extra}} = ", text, re.M) for extra in extras))
if command == "python":
    script = os.path.join({os.fspath(ROOT)!r}, words[0])
    os.execv(sys.executable, [sys.executable, script, *words[1:], "--help"])
few = {FEW!r}
for place, word in enumerate(words[:-1]):
    if word in few:
        words[place + 1] = str(min(int(words[place + 1]), int(few[word])))
if words[:1] == ["train"] and "--resume" not in words:
    for option in ("--minutes", "--epochs", "--steps"):
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    words += ["--steps", "12"]
if words[0] in ("bench", "notebook"):
    words.append("--help")
sys.argv = ["fastlstm", *words]
from fastlstm.commands.cli import main
main()
"""


def furnish(folder: Path) -> None:
    """The data files that READMEs name."""
    names = embedded_names(limit=400).distinct
    rows = [f"{i},{name.title()},{1890 + i % 120},{'FM'[i % 2]},{900 - i}" for i, name in enumerate(names)]
    recipes = [{"title": name, "text": f"Take {name}.\nStir it in."} for name in names]
    (folder / "recipes.jsonl").write_text("".join(json.dumps(recipe) + "\n" for recipe in recipes))
    for table in ("names.csv", "cities.csv", "NationalNames.csv"):
        (folder / table).write_text("\n".join(["Id,Name,Year,Gender,Count", *rows]) + "\n")
    (folder / "names.txt").write_text("\n".join(names) + "\n")
    lines = [
        f"{a.upper()}:\n{b} and {c}, it is the lark.\n"
        for a, b, c in zip(names, names[1:], names[2:], strict=False)
    ]
    for text in ("shakespeare.txt", "tinyshakespeare.txt", "text.txt"):
        (folder / text).write_text("\n".join(lines))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work, path = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    path.mkdir()
    furnish(work)
    for command in () if WHOLE else ("fastlstm", "pip", "pytest", "python"):
        stand_in = path / command
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
    monkeypatch.setenv(
        "PATH", os.pathsep.join([os.fspath(path), os.path.dirname(sys.executable), os.environ["PATH"]])
    )
    monkeypatch.setenv("BROWSER", "true")  # `fastlstm play` opens nothing here
    monkeypatch.chdir(work)
    return work


def shell(command: str, shown: str) -> None:
    """Run a command; where nothing is cut short, what it prints is what is shown, `…` standing for lines left out."""
    done = subprocess.run(["bash", "-ec", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    if WHOLE and shown.strip():
        parts = [
            re.escape(part.strip("\n")) for part in re.split(r"^ *…$", shown.strip("\n"), flags=re.MULTILINE)
        ]
        assert re.fullmatch(r"(?s)" + r"\n(.*\n)?".join(parts), done.stdout.strip("\n")), done.stdout


def transcript(block: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that it shows."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert not parts[0], "a console block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_block_runs(path: Path, folder: Path) -> None:
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    for peer in ("torch", "onnxruntime"):
        if any(
            re.search(rf"^((import|from) {peer}\b|python bench/)", block, re.MULTILINE) for _, block in blocks
        ):
            require(peer)
    namespace: dict[str, object] = {}
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, str(path), "exec"), namespace)
        elif kind == "sh":
            shell(block, "")
        elif kind == "console":
            for command, shown in transcript(block):
                shell(command, shown)
        else:
            assert kind in SHOWN, f"a block of {kind or 'no'} language: python, sh, console or text"


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        assert target.startswith("http") or (path.parent / target).exists(), target


def test_the_tour_is_short() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 220
