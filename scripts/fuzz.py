"""Fuzzing: whatever it is given, fastlstm succeeds, or says in one printable line what is wrong.

    python scripts/fuzz.py --minutes 10
    python scripts/fuzz.py --cases 500 --only models --seed 7
    python scripts/fuzz.py --case models-7-123          one case again, its error as it is raised

Cases are numbered, and a case depends on its number and the seed alone. Everything but success and FastLSTMError is
a failure: another exception or a warning, a message of several lines or with characters that cannot be seen, a case
of more than `LIMIT` seconds, an end of the process.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from click.testing import CliRunner
from safetensors.numpy import save

import fastlstm as fl
from fastlstm.commands import cli
from fastlstm.data.opening import open_data
from fastlstm.training.model_file import METADATA_KEY, checksums, load_arrays
from fastlstm.training.options import Options
from fastlstm.training.runs import Run
from fastlstm.training.session import Session

LIMIT = 60  # seconds of the CPU, or ten times as many by the clock
SMALL: dict[str, Any] = {"hidden": 4, "embedding": 3, "batch_size": 3, "window": 5, "steps": 3, "threads": 1}
NUMBERS = "0 1 2 7 -1 0.1 0.5 1e-300 1e300 nan inf -inf 2147483648 9223372036854775808 1e20 ٣ x".split()  # noqa: SIM905
WORDS = [
    "",
    " ",
    "names",
    "text",
    "utf-8",
    "utf-16",
    "rot13",
    "cp1252",
    "\n",
    "\u202e",
    "\ud800",
    "ü",
    "a" * 400,
    "-",
    "--",
    "0x1",
]
NASTY = [
    None, True, False, -1, 0, 1, 2, 2**31, 2**63, 10**30, 10**400, 0.5, 1e300, float("nan"), float("inf"), "", "x",
    "\ud800", "\n\u202e", "a" * 1000, [], {}, [1, 2, 3], ["a"], [[]], {"a": {}}, "float64", "names", "text",
]  # fmt: skip
PIECES = [
    "Name", "name;Anteil", "Name,Count", "anna", "Åsa", "o'hara", '"', '""', '"a\nb"', ",", ";", "\t", "|", "\n", "\r\n", "\r",
    "\x00", "\ufeff", "\u2028", "\u202e", "1", "-1", "1e400", "nan", "🙂", "e\u0301", " ", "", "sep=;\n", "x" * 300,
]  # fmt: skip


def text_of(rng: random.Random) -> bytes:
    """Something like a table or a text, in some encoding, and damaged perhaps."""
    rows = rng.choice([0, 1, 3, 30, 200])
    line = rng.choice(["{0}\n", "{0},{1}\n", "{0};{1};{2}\r\n", '"{0}"\t{1}\n', "{0}|{1}\n", "{0}"])
    pieces = [*PIECES[:6], *rng.choices(PIECES, k=rng.choice([0, 0, 1, 3]))]
    text = "".join(line.format(*rng.choices(pieces, k=3)) for _ in range(rows))
    encoding = rng.choice(
        ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "gb18030", "koi8-r"]
    )
    return (
        damaged(rng, text.encode(encoding, "replace"))
        if rng.random() < 0.5
        else text.encode(encoding, "replace")
    )


def damaged(rng: random.Random, contents: bytes) -> bytes:
    """The bytes with some changed, taken out, put in, doubled or cut off."""
    for _ in range(rng.randint(1, 4)):
        at = rng.choice(
            [rng.randrange(len(contents) + 1), len(contents) - len(contents) // rng.randint(2, 9)]
        )
        size = rng.choice([1, 1, 2, 8, 100])
        contents = rng.choice([
            lambda c, i=at, n=size: c[:i] + rng.randbytes(n) + c[i + n :],
            lambda c, i=at, n=size: c[:i] + c[i + n :],
            lambda c, i=at, n=size: c[:i] + rng.randbytes(n) + c[i:],
            lambda c, i=at, n=size: c[:i] + c[max(0, i - n) :],
            lambda c, i=at, n=size: c[:i],
            lambda c, i=at, n=size: c[:i] + bytes([c[i] ^ 1 << rng.randrange(8)]) + c[i + 1 :] if i < len(c) else c,
        ])(contents)  # fmt: skip
    return contents


def changed(rng: random.Random, value: Any, whole: float = 0.1) -> Any:
    """JSON with one of its values, at any depth, another one, missing, or beside a new one."""
    if not isinstance(value, dict | list) or not value or rng.random() < whole:
        return rng.choice(NASTY)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return [*value[:place], changed(rng, value[place]), *value[place + 1 :]]
    name = rng.choice(list(value))
    how = rng.random()
    if how < 0.1:
        return {key: kept for key, kept in value.items() if key != name}
    if how < 0.15:
        return {**value, rng.choice(["", "x", "hidden", "step"]): rng.choice(NASTY)}
    return {**value, name: changed(rng, value[name])}


class Bench:
    """A folder for the cases, and two small runs whose files they damage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = random.Random(0)
        names = ["".join(rng.choices("abcdeé", k=rng.randint(1, 6))) for _ in range(30)]
        self.contents: dict[str, dict[str, bytes]] = {}
        for kind, words in (("names", "\n".join(names)), ("text", " ".join(names * 4))):
            (folder / f"{kind}.txt").write_text(words, "utf-8")
            for stop in (2, 3):
                data = open_data(folder / f"{kind}.txt", kind=kind)
                session = Session(data, Options(kind=kind, **SMALL))
                with Run.create(session, str(folder / f"{kind}.txt"), folder / "run") as run:
                    list(run.follow(lambda s=session, n=stop: s.position.step == n))
                files = {path.name: path.read_bytes() for path in (folder / "run").iterdir()}
                self.contents[f"{kind}-{stop}"] = files
                shutil.rmtree(folder / "run")

    def write(self, name: str, contents: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(contents)
        return path

    def run(self, rng: random.Random) -> tuple[Path, str]:
        """A run in its folder, and of what kind."""
        which = rng.choice(list(self.contents))
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, contents in self.contents[which].items():
            (folder / name).write_bytes(contents)
        return folder, which.partition("-")[0]


def options(rng: random.Random, sections: tuple[str, ...], most: int = 3) -> dict[str, Any]:
    """A few options with values that may or may not be allowed."""
    fields = [f for f in Options.__dataclass_fields__.values() if f.metadata["section"] in sections]
    given = {}
    for field in rng.sample(fields, rng.randint(0, most)):
        convert = field.metadata["convert"]
        choices = field.metadata.get("choices", WORDS)
        value: Any = rng.choice(
            [*choices, *WORDS] if convert is str else [True, False] if convert is bool else NUMBERS
        )
        if convert is not str and convert is not bool and rng.random() < 0.8:
            try:
                value = convert(value)
            except (ValueError, OverflowError):
                continue
        given[field.name] = value
    # Long trainings are allowed, and no failures.
    long = [name for name in ("epochs", "steps") if re.fullmatch(r"\d{3,}", str(given.get(name)))]
    return {name: value for name, value in given.items() if name not in ("minutes", "cache", *long)}


def tables(rng: random.Random, bench: Bench) -> None:
    read_and_train(rng, bench.write(rng.choice(["a.csv", "a.tsv", "a.txt"]), text_of(rng)))


def compressed(rng: random.Random, bench: Bench) -> None:
    contents = gzip.compress(text_of(rng))
    read_and_train(rng, bench.write("a.csv.gz", damaged(rng, contents) if rng.random() < 0.7 else contents))


def read_and_train(rng: random.Random, path: Path) -> None:
    given = options(rng, ("Data",))
    read = open_data(path, **Options(**given).reading)
    session = Session(read, Options(**{**SMALL, **given, "kind": None}))
    if rng.random() < 0.2:
        fl.CharLM(**SMALL).fit(read)
    assert session.total


def models(rng: random.Random, bench: Bench) -> None:
    folder, kind = bench.run(rng)
    path = folder / "model.safetensors"
    damage(rng, path)
    if rng.random() < 0.2:
        command(["info", str(path)])
    lm = fl.CharLM.load(path)
    lm.sample(2, seed=1, **({} if kind == "names" else {"length": 5}))
    if kind == "names" and rng.random() < 0.2:
        bench.write("run/names.index", damaged(rng, (folder / "names.index").read_bytes()))
        fl.CharLM.load(folder)


def damage(rng: random.Random, path: Path) -> None:
    """Damage a file anywhere, or what it says with the checksums made anew."""
    if rng.random() < 0.4:
        path.write_bytes(damaged(rng, path.read_bytes()))
        return
    arrays, facts = load_arrays(path)
    for _ in range(rng.choice([0, 1, 1, 2])):
        facts = changed(rng, facts)
    if rng.random() < 0.3 and arrays:
        name = rng.choice(list(arrays))
        array = arrays.pop(name)
        other = rng.choice(
            [
                array[:-1],
                array.astype("float16"),
                array * np.nan,
                array.astype("int32"),
                array.T,
                array * 1e30,
            ]
        )
        arrays |= rng.choice([{}, {name: np.ascontiguousarray(other)}, {"x": np.ascontiguousarray(other)}])
    if isinstance(facts, dict) and rng.random() < 0.7:
        facts = {**facts, "checksums": checksums(arrays, facts)}
    text = json.dumps(facts)
    if rng.random() < 0.1:
        text = rng.choice(
            ["[" * 100_000, "9" * 5000, '{"format_version": ' + "9" * 5000 + "}", text[:-1], "NaN"]
        )
    path.write_bytes(save(arrays, {METADATA_KEY: text}))


def checkpoints(rng: random.Random, bench: Bench) -> None:
    folder, _ = bench.run(rng)
    damage(rng, folder / rng.choice(["checkpoint.safetensors"] * 4 + ["model.safetensors"]))
    if rng.random() < 0.2:
        path = bench.folder / "run" / "metrics.csv"
        path.write_bytes(damaged(rng, path.read_bytes()))
    if rng.random() < 0.2:
        command(["info", str(folder)])
    with Run.resume(folder, options(rng, ("Training", "Run"), 1)) as run:
        if run.session.total < 50:
            list(run.follow())


def arrays(rng: random.Random, bench: Bench) -> None:
    dtype = rng.choice(["float32", "float64"])
    dtypes = [*[dtype] * 60, "float32", "float64", "float16", "int64", "bool", "complex64", "U3", "object"]

    def an_array(*sizes: int) -> Any:
        shape = [rng.choice([*[n] * 40, n + 1, 0]) for n in sizes]
        array: Any = np.full(shape, rng.choice([0, 1]), rng.choice(dtypes))
        if rng.random() < 0.05:
            array = np.full(shape, rng.choice([np.nan, np.inf, 1e38]))
        return rng.choice([*[array] * 40, array.T, array[::-1], array.tolist(), None, "x", 3])

    T, B, I, H = (rng.randint(1, 4) for _ in range(4))
    x = (
        an_array(T, B, I)
        if rng.random() < 0.7
        else rng.choice([an_array(T, B), np.full((T, B), rng.choice([0, I - 1, I, -1]))])
    )
    W, b = an_array(4 * H, H + I), rng.choice([None, an_array(4 * H)])
    extra = {name: an_array(B, H) for name in ("h0", "c0") if rng.random() < 0.3}
    if rng.random() < 0.3:
        extra["lengths"] = rng.choice([an_array(B), [T] * B, [0] * B, [T + 1] * B])
    if rng.random() < 0.1:
        extra["threads"] = rng.choice([0, -1, 1.5, 10**30, "x", None])
    weights = fl.pack(W, b) if rng.random() < 0.3 else W
    out, _, kept = fl.lstm_forward(x, weights, None if weights is not W else b, **extra)
    fl.lstm_backward(rng.choice([out, an_array(T, B, H)]), kept, rng.choice([None, an_array(B, H)]))
    fl.lstm_step(x[0] if isinstance(x, np.ndarray) and x.ndim else x, an_array(B, H), an_array(B, H), W, b)


def sampling(rng: random.Random, bench: Bench) -> None:
    lm = loaded(bench, rng.choice(["names", "text"]))
    names = ["prefix", "prefixes", "temperature", "top_k", "top_p", "min_length", "max_length", "length", "stop", "novel",
             "avoid", "unique", "tries", "seed", "threads", "batch_size"]  # fmt: skip
    values = [
        *NASTY,
        *[float(n) for n in NUMBERS[:12]],
        "ab",
        ["a", "b"],
        "a\n",
        np.int64(3),
        np.float32(0.3),
    ]
    given = {name: rng.choice(values) for name in rng.sample(names, rng.randint(0, 3))}
    if lm.kind == "text" and not 0 < len(given) < 3:
        given["length"] = 5
    if not isinstance(given.get("length"), int) or given["length"] < 100:
        lm.sample(
            rng.choice([1, 2, 0, -1, 2**63, "x", None, 1.5, True]) if rng.random() < 0.3 else 2, **given
        )


@cache
def loaded(bench: Bench, kind: str) -> Any:
    path = bench.folder / f"{kind}.safetensors"
    path.write_bytes(bench.contents[f"{kind}-3"]["model.safetensors"])
    return fl.CharLM.load(path)


def objects(rng: random.Random, bench: Bench) -> None:
    """What people hand to `fit`."""
    data = [
        "", "a", "anna\nbob", b"abc", b"", [], ["a"], ["a", 1], [None], [""], ["\ud800", "a"], {"a"}, {"a": 1}, 3, None, True,
        float("nan"), np.array(["a", "bc"]), np.array([1, 2]), ["a\nb", "\x00"], ("x", "y"), iter("ab"), range(3),
        Path("nowhere.csv"), "nowhere.csv", [["a"]], np.zeros((2, 2)), open,
    ]  # fmt: skip
    fl.CharLM(**SMALL).fit(rng.choice(data), **options(rng, ("Model", "Training"), 2))


def commands(rng: random.Random, bench: Bench) -> None:
    folder, kind = bench.run(rng)
    shutil.rmtree(bench.folder / "out", ignore_errors=True)
    words = {
        "train": [str(bench.folder / f"{kind}.txt"), "--as", kind, "--out", str(bench.folder / "out")],
        "sample": [str(folder)], "eval": [str(folder), "--name", "ab"], "info": [str(folder)], "plot": [str(folder)],
        "export": [str(folder), str(bench.folder / "out.safetensors")],
        "import": [str(folder / "model.safetensors"), "--out", str(bench.folder / "out")],
    }  # fmt: skip
    name = rng.choice([*["train"] * 3, *["sample"] * 3, *words])
    line = [name, *words[name]]
    if name == "train":
        for option, value in SMALL.items():
            line += [f"--{option.replace('_', '-')}", str(value)]
    known = [p for p in cli.main.get_command(None, name).params if p.param_type_name == "option"]  # type: ignore[arg-type]
    for option in rng.sample(known, min(len(known), rng.randint(0, 3))):
        if {"--help", "--minutes", "--steps", "--epochs", "--length", "--cache"} & {*option.opts}:
            continue
        line += [rng.choice([*option.opts, *option.secondary_opts])]
        if not getattr(option, "is_flag", False) or rng.random() < 0.05:
            line += [rng.choice([*NUMBERS, *WORDS, *getattr(option.type, "choices", ())])]
    if rng.random() < 0.1:
        line.insert(
            rng.randrange(len(line)), rng.choice([*WORDS, str(folder / "metrics.csv"), str(bench.folder)])
        )
    command(line)


def command(words: list[str]) -> None:
    """A command line: an exit code of ours, and where it is not 0, one line that says why."""
    result = CliRunner().invoke(cli.main, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code not in (0, 1, 2, 3):
        raise AssertionError(f"{words}: exit code {result.exit_code}")
    lines = result.stderr.splitlines()
    if result.exit_code in (1, 2) and (len(lines) != 1 or not lines[0].isprintable()):
        raise AssertionError(f"{words}: {result.stderr!r}")


CASES: dict[str, Callable[[random.Random, Bench], None]] = {
    case.__name__: case
    for case in (tables, compressed, models, checkpoints, arrays, sampling, objects, commands)
}


class Hang(BaseException):
    """A case takes too long."""


def hang(number: int, frame: FrameType | None) -> None:
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "nowhere"
    raise Hang(f"more than {LIMIT} seconds, now at {where}")


def watch(seconds: float) -> None:
    """Raise Hang after so many seconds; not at all after 0, or where the system has no such timers."""
    if hasattr(signal, "setitimer"):
        for timer, number, most in (
            (signal.ITIMER_PROF, signal.SIGPROF, seconds),
            (signal.ITIMER_REAL, signal.SIGALRM, 10 * seconds),
        ):
            signal.signal(number, hang)
            signal.setitimer(timer, most)


def outcome(kind: str, seed: int, number: int, bench: Bench) -> str:
    """How a case ended: "success", "error" with a clear line, or what is wrong."""
    rng = random.Random(f"{kind}-{seed}-{number}")
    watch(LIMIT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)  # our own: what was left out of the data
            CASES[kind](rng, bench)
    except fl.FastLSTMError as error:
        message = str(error)
        return "error" if message.isprintable() and len(message) < 1500 else f"message: {message!r}"
    except (Exception, Hang) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        watch(0)
    return "success"


def failures(
    bench: Bench, kinds: list[str], seed: int, numbers: range, until: float, found: Counter[str]
) -> list[str]:
    """The cases that failed, a line for each; all outcomes are counted in `found`."""
    failed = []
    for number in numbers:
        if time.monotonic() > until:
            break
        for kind in kinds:
            ended = outcome(kind, seed, number, bench)
            found[f"{kind} {ended if ended in ('success', 'error') else 'FAILURE'}"] += 1
            if ended not in ("success", "error"):
                failed.append(f"{kind}-{seed}-{number}  {ended[:300]!r}")
                print(failed[-1], flush=True)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--cases", type=int, default=10**9, help="at most so many of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", help="KIND-SEED-NUMBER: this one alone")
    given = parser.parse_args()
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        bench = Bench(Path(folder))
        if given.case:
            kind, *_ = given.case.split("-")
            CASES[kind](random.Random(given.case), bench)
            return
        found: Counter[str] = Counter()
        numbers = range(given.first, given.first + given.cases)
        until = time.monotonic() + 60 * given.minutes
        failed = failures(bench, given.only or list(CASES), given.seed, numbers, until, found)
    for what, count in sorted(found.items()):
        print(f"{count:9,}  {what}")
    print(f"{found.total():9,}  cases, {len(failed)} failures")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
