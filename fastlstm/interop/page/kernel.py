"""The page's product of states and weights as a WebAssembly module, put together without a compiler.

JavaScript multiplies one number at a time; WebAssembly has vectors of four. The module's two functions do what `product`
in worker.js does, `one` for one row and `four` for four rows at a time: out += x · w, where w lies in panels of 32
columns, each panel line by line. Instructions have the names of the WebAssembly specification (2.0, chapters 5 and 6).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

LINE, VECTOR = 128, 16  # bytes of a panel's line, and of a vector of four float32
PARAMETERS = ("out", "out_row", "x", "x_row", "w", "depth", "panels")  # addresses and distances in bytes
I32, V128 = b"\x7f", b"\x7b"
TYPES, IMPORTS, FUNCTIONS, EXPORTS, BODIES = 1, 2, 3, 7, 10  # sections

INSTRUCTIONS = {
    "loop": b"\x03\x40",
    "end": b"\x0b",
    "br_if": b"\x0d",
    "local.get": b"\x20",
    "local.set": b"\x21",
    "local.tee": b"\x22",
    "i32.const": b"\x41",
    "i32.add": b"\x6a",
    "i32.sub": b"\x6b",
    "i32.mul": b"\x6c",
    "v128.load": b"\xfd\x00\x02",  # and the address' alignment, 2² bytes
    "v128.load32_splat": b"\xfd\x09\x02",
    "v128.store": b"\xfd\x0b\x02",
    "f32x4.add": b"\xfd\xe4\x01",
    "f32x4.mul": b"\xfd\xe6\x01",
}


def number(n: int, bits: int = 7) -> bytes:
    """A number from 0 up in LEB128, seven bits a byte, the lowest first; signed ones leave the last byte six.

    >>> number(300).hex(), number(64).hex(), number(64, bits=6).hex()
    ('ac02', '40', 'c000')
    """
    head = b""
    while n >> bits:
        head, n = head + bytes([n & 127 | 128]), n >> 7
    return head + bytes([n])


def sized(contents: bytes) -> bytes:
    return number(len(contents)) + contents


def vector(items: Iterable[bytes]) -> bytes:
    items = list(items)
    return number(len(items)) + b"".join(items)


class Function:
    """A function's instructions, and its variables by their names."""

    def __init__(self) -> None:
        self.code = b""
        self.variables: list[str] = list(PARAMETERS)
        self.types: list[bytes] = []

    def variable(self, name: str, kind: bytes = I32) -> str:
        """A new variable."""
        self.variables.append(name)
        self.types.append(kind)
        return name

    def do(self, text: str) -> None:
        """Add instructions, each with its operand: a variable, or a number."""
        words = iter(text.split())
        for word in words:
            self.code += INSTRUCTIONS[word]
            if word.startswith("local"):
                self.code += number(self.variables.index(next(words)))
            elif word.startswith("v128") or word == "br_if":
                self.code += number(int(next(words)))
            elif word == "i32.const":
                self.code += number(int(next(words)), bits=6)

    def advance(self, pointer: str, step: int) -> None:
        self.do(f"local.get {pointer} i32.const {step} i32.add local.set {pointer}")

    def repeat(self, counter: str) -> None:
        """The end of a loop that goes on until the counter is zero."""
        self.do(f"local.get {counter} i32.const 1 i32.sub local.tee {counter} br_if 0 end")

    def finished(self) -> bytes:
        return sized(vector(b"\x01" + kind for kind in self.types) + self.code + INSTRUCTIONS["end"])


def product(rows: int, vectors: int) -> bytes:
    """out += x · w of so many rows, so many vectors of a panel's columns being summed at a time."""
    f = Function()
    outs, xs = ([name, *(f.variable(f"{name}{r}") for r in range(1, rows))] for name in ("out", "x"))
    moving = [f.variable(f"moving{r}") for r in range(rows)]
    line, left, factor = f.variable("line"), f.variable("left"), f.variable("factor", V128)
    weights = [f.variable(f"w{v}", V128) for v in range(vectors)]
    sums = [[f.variable(f"sum{r}.{v}", V128) for v in range(vectors)] for r in range(rows)]
    for pointers, distance in ((outs, "out_row"), (xs, "x_row")):
        for before, pointer in itertools.pairwise(pointers):
            f.do(f"local.get {before} local.get {distance} i32.add local.set {pointer}")
    f.do("loop")
    for part in range(0, LINE, vectors * VECTOR):
        places = [
            (out, part + v * VECTOR, total)
            for out, row in zip(outs, sums, strict=True)
            for v, total in enumerate(row)
        ]
        for out, place, total in places:
            f.do(f"local.get {out} v128.load {place} local.set {total}")
        for here, there in (("w", line), ("depth", left), *zip(xs, moving, strict=True)):
            f.do(f"local.get {here} local.set {there}")
        f.do("loop")
        for v, weight in enumerate(weights):
            f.do(f"local.get {line} v128.load {part + v * VECTOR} local.set {weight}")
        for x, row in zip(moving, sums, strict=True):
            f.do(f"local.get {x} v128.load32_splat 0 local.set {factor}")
            for total, weight in zip(row, weights, strict=True):
                f.do(f"local.get {factor} local.get {weight} f32x4.mul")
                f.do(f"local.get {total} f32x4.add local.set {total}")
            f.advance(x, 4)
        f.advance(line, LINE)
        f.repeat(left)
        for out, place, total in places:
            f.do(f"local.get {out} local.get {total} v128.store {place}")
    f.do(f"local.get w local.get depth i32.const {LINE} i32.mul i32.add local.set w")
    for out in outs:
        f.advance(out, LINE)
    f.repeat("panels")
    return f.finished()


def module() -> bytes:
    """The module: imports `page.memory`, exports `one` and `four`."""
    sections = {
        TYPES: [b"\x60" + vector(I32 for _ in PARAMETERS) + vector([])],
        IMPORTS: [sized(b"page") + sized(b"memory") + b"\x02\x00" + number(1)],
        FUNCTIONS: [number(0), number(0)],
        EXPORTS: [sized(name) + b"\x00" + number(n) for n, name in enumerate((b"one", b"four"))],
        BODIES: [product(rows=1, vectors=8), product(rows=4, vectors=2)],
    }
    contents = (bytes([key]) + sized(vector(items)) for key, items in sections.items())
    return b"\0asm\x01\0\0\0" + b"".join(contents)
