"""Commands whose standard streams are closed, broken, full or of an old encoding."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastlstm.commands import cli

FASTLSTM = f'"{sys.executable}" -c "from fastlstm.commands.cli import main; main()"'
SMALL = "--hidden 8 --embedding 4 --batch-size 4 --threads 1"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell's redirections")


def shell(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A line of bash, `fastlstm` in it being ours."""
    line = line.replace("fastlstm ", f"{FASTLSTM} ")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=folder, env={**os.environ, **more}, capture_output=True, timeout=120
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on names that no old code page has."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "names.txt").write_text("\n".join(["子花", "花子", "Åsa", "🙂"] * 3), "utf-8")
    words = f"train {folder / 'names.txt'} --as names --steps 5 --out {folder / 'run'} {SMALL}"
    assert CliRunner().invoke(cli.main, words.split()).exit_code == 0
    return folder


@pytest.mark.parametrize("command", ["info run", "eval run --name 子花", "train --help"])
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_what_an_encoding_lacks_is_escaped(folder: Path, command: str, encoding: str) -> None:
    done = shell(f"fastlstm {command}", folder, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("子" not in command) or rb"\u5b50" in done.stdout


def test_training_with_samples_goes_on_in_an_old_encoding(folder: Path) -> None:
    line = f"fastlstm train names.txt --as names --steps 6 --validate-every 2 --samples 3 --out old {SMALL}"
    done = shell(line, folder, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("latin-1").count("  new\n") + done.stdout.count(b"  in ") == 9


def test_data_are_utf8_everywhere(folder: Path) -> None:
    done = shell("fastlstm eval run --name 子花 --format json", folder, PYTHONIOENCODING="latin-1")
    assert json.loads(done.stdout.decode("utf-8"))["name"] == "子花"


@pytest.mark.parametrize("command", ["info run", "sample run", "train --help", "info nowhere"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_silent_ones(folder: Path, command: str, closed: str) -> None:
    done = shell(f"fastlstm {command} {closed}", folder)
    assert done.returncode == ("nowhere" in command)
    assert (b"nowhere" in done.stderr) == ("nowhere" in command and "2>" not in closed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["info run", "sample run -n 3000", "train --help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_said(folder: Path, command: str, unbuffered: str) -> None:
    done = shell(f"fastlstm {command} > /dev/full", folder, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == b"fastlstm: standard output: No space left on device\n"


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    done = shell("fastlstm sample run -n 60000 | head -n 3", folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 3


def test_training_ends_well_where_nobody_reads_on(folder: Path) -> None:
    line = f"fastlstm train names.txt --as names --steps 100000 --log-every 1 --out left {SMALL} | head -n 6"
    done = shell(line, folder)
    assert done.returncode == 128 + signal.SIGPIPE
    assert b"all saved; go on with: fastlstm train --resume left" in done.stderr
