"""AMX in software: LLVM's intrinsics replaced by functions of the same meaning, so that any CPU runs what is generated.

As a plugin (`pytest -p software_amx`) it has this process multiply in precision bf16 by AMX. The kernels are others then:
they need a folder of their own for compiled code, NUMBA_CACHE_DIR.
"""

from __future__ import annotations

import re
from typing import Any

from fastlstm.engine.simd import library
from fastlstm.engine.simd import target as targets
from fastlstm.engine.simd.target import AMX, BF16, Target

AMX_ALONE = ("blocks", "configure_blocks", "release_blocks")
"""What of the library uses its registers."""
WITH_AMX = Target(BF16, 16, 32, AMX, blocks=True)
ROW = "<16 x i32>"
FLOATS = "<16 x float>"


def _halves(name: str) -> str:
    """Of a vector of pairs, both in float32: `name`.low and `name`.high."""
    return f"""
  %{name}.up = shl {ROW} %{name}, splat (i32 16)
  %{name}.low = bitcast {ROW} %{name}.up to {FLOATS}
  %{name}.masked = and {ROW} %{name}, splat (i32 -65536)
  %{name}.high = bitcast {ROW} %{name}.masked to {FLOATS}"""


def _rows(body: str) -> str:
    """`body` for each %m of 16 rows, then `ret void`."""
    return f"""
  br label %rows
rows:
  %m = phi i64 [0, %begin], [%next, %done]
{body}
  br label %done
done:
  %next = add i64 %m, 1
  %more = icmp ult i64 %next, 16
  br i1 %more, label %rows, label %end
end:
  ret void"""


def _row(name: str, register: str, m: str = "%m") -> str:
    """The address `name` of row m of a register of this thread."""
    return f"  %{name} = getelementptr %thread, ptr %own, i64 0, i32 2, i8 {register}, i64 {m}"


SOFTWARE = f"""
; Each thread's id, whether its registers are configured, and these: 8 of 16 rows.
%thread = type {{ i64, i64, [8 x [16 x {ROW}]] }}
@threads = internal global [256 x %thread] zeroinitializer, align 64
declare i64 @pthread_self()
declare void @llvm.trap()
declare {FLOATS} @llvm.fmuladd.v16f32({FLOATS}, {FLOATS}, {FLOATS})

define internal ptr @software.thread() {{
begin:
  %id = call i64 @pthread_self()
  br label %look
look:
  %i = phi i64 [0, %begin], [%next, %other]
  %own = getelementptr %thread, ptr @threads, i64 %i
  %pair = cmpxchg ptr %own, i64 0, i64 %id seq_cst seq_cst
  %there = extractvalue {{ i64, i1 }} %pair, 0
  %fresh = extractvalue {{ i64, i1 }} %pair, 1
  %known = icmp eq i64 %there, %id
  %found = or i1 %fresh, %known
  br i1 %found, label %end, label %other
other:
  %next = add i64 %i, 1
  %full = icmp eq i64 %next, 256
  br i1 %full, label %fail, label %look
fail:
  call void @llvm.trap()
  unreachable
end:
  ret ptr %own
}}

define internal ptr @software.configured() {{
  %own = call ptr @software.thread()
  %place = getelementptr %thread, ptr %own, i64 0, i32 1
  %is = load i64, ptr %place
  %configured = icmp eq i64 %is, 1
  br i1 %configured, label %end, label %fail
fail:
  call void @llvm.trap()
  unreachable
end:
  ret ptr %own
}}

define internal void @software.ldtilecfg(ptr %shape) {{
  %own = call ptr @software.thread()
  %place = getelementptr %thread, ptr %own, i64 0, i32 1
  %palette = load i8, ptr %shape, align 1
  %bytes = getelementptr i8, ptr %shape, i64 16
  %rows = getelementptr i8, ptr %shape, i64 48
  %widths = load <8 x i16>, ptr %bytes, align 1
  %heights = load <8 x i8>, ptr %rows, align 1
  %wide = icmp eq <8 x i16> %widths, splat (i16 64)
  %high = icmp eq <8 x i8> %heights, splat (i8 16)
  %both = and <8 x i1> %wide, %high
  %every = bitcast <8 x i1> %both to i8
  %shaped = icmp eq i8 %every, -1
  %first = icmp eq i8 %palette, 1
  %right = and i1 %shaped, %first
  %state = select i1 %right, i64 1, i64 2
  store i64 %state, ptr %place
  ret void
}}

define internal void @software.tilerelease() {{
  %own = call ptr @software.configured()
  %place = getelementptr %thread, ptr %own, i64 0, i32 1
  store i64 0, ptr %place
  ret void
}}

define internal void @software.tilezero(i8 %n) {{
begin:
  %own = call ptr @software.configured()
{
    _rows(
        _row("row", "%n")
        + f'''
  store {ROW} zeroinitializer, ptr %row'''
    )
}
}}

define internal void @software.tileloadd64(i8 %n, ptr %from, i64 %stride) {{
begin:
  %own = call ptr @software.configured()
{
    _rows(
        _row("row", "%n")
        + f'''
  %offset = mul i64 %m, %stride
  %there = getelementptr i8, ptr %from, i64 %offset
  %x = load {ROW}, ptr %there, align 1
  store {ROW} %x, ptr %row'''
    )
}
}}

define internal void @software.tilestored64(i8 %n, ptr %to, i64 %stride) {{
begin:
  %own = call ptr @software.configured()
{
    _rows(
        _row("row", "%n")
        + f'''
  %offset = mul i64 %m, %stride
  %there = getelementptr i8, ptr %to, i64 %offset
  %x = load {ROW}, ptr %row
  store {ROW} %x, ptr %there, align 1'''
    )
}
}}

define internal void @software.tdpbf16ps(i8 %c, i8 %a, i8 %b) {{
begin:
  %own = call ptr @software.configured()
{
    _rows(
        _row("row", "%c")
        + '''
'''
        + _row("of.a", "%a")
        + f'''
  br label %pairs
pairs:
  %k = phi i64 [0, %rows], [%k.next, %pairs]
  %even = phi {FLOATS} [zeroinitializer, %rows], [%even.next, %pairs]
  %odd = phi {FLOATS} [zeroinitializer, %rows], [%odd.next, %pairs]
  %element = getelementptr i32, ptr %of.a, i64 %k
  %pair = load i32, ptr %element
  %one = insertelement {ROW} undef, i32 %pair, i32 0
  %x = shufflevector {ROW} %one, {ROW} %one, {ROW} zeroinitializer
{_row("of.b", "%b", "%k")}
  %y = load {ROW}, ptr %of.b
{_halves("x")}{_halves("y")}
  %even.next = call {FLOATS} @llvm.fmuladd.v16f32({FLOATS} %x.low, {FLOATS} %y.low, {FLOATS} %even)
  %odd.next = call {FLOATS} @llvm.fmuladd.v16f32({FLOATS} %x.high, {FLOATS} %y.high, {FLOATS} %odd)
  %k.next = add i64 %k, 1
  %k.more = icmp ult i64 %k.next, 16
  br i1 %k.more, label %pairs, label %sum
sum:
  %both = fadd {FLOATS} %even.next, %odd.next
  %before = load {FLOATS}, ptr %row
  %after = fadd {FLOATS} %before, %both
  store {FLOATS} %after, ptr %row'''
    )
}
}}

define internal {FLOATS} @software.dpbf16ps({FLOATS} %c, <32 x bfloat> %a, <32 x bfloat> %b) alwaysinline {{
  %x = bitcast <32 x bfloat> %a to {ROW}
  %y = bitcast <32 x bfloat> %b to {ROW}
{_halves("x")}{_halves("y")}
  %first = call {FLOATS} @llvm.fmuladd.v16f32({FLOATS} %x.high, {FLOATS} %y.high, {FLOATS} %c)
  %second = call {FLOATS} @llvm.fmuladd.v16f32({FLOATS} %x.low, {FLOATS} %y.low, {FLOATS} %first)
  ret {FLOATS} %second
}}
"""


def software(text: str) -> str:
    """A library's text with the intrinsics of AMX and AVX512-BF16 replaced."""
    calls = r"\"?llvm\.x86\.(?:avx512bf16\.)?(ldtilecfg|tile\w+|tdpbf16ps|dpbf16ps)(?:\.512)?\"?"
    kept = [line for line in text.splitlines() if not re.match(rf"declare .*{calls}", line)]
    own = [line for line in SOFTWARE.splitlines() if not (line.startswith("declare") and line in kept)]
    if any(line.startswith("declare") and '@"llvm.fmuladd.v16f32"' in line for line in kept):
        own = [line for line in own if not (line.startswith("declare") and "fmuladd" in line)]
    return "\n".join([re.sub(rf"@{calls}", r"@software.\1", line) for line in kept] + own)


def target_of(bits: int, triple: str, have: frozenset[str], forced: str = "") -> Target:
    """The target of this CPU as if it had AMX, of others as it is."""
    own = bits == BF16 and have == targets.features()[2]
    return WITH_AMX if own else _target_of(bits, triple, have, forced)


def put_in_place(patch: Any) -> None:
    """Let the library for pairs be AMX's, in software."""
    written = library.written
    patch(library, "written", lambda t: software(written(t)) if t.product == AMX else written(t))
    patch(library, "permitted", lambda: True)
    patch(targets, "target_of", target_of)


_target_of = targets.target_of


def pytest_configure() -> None:
    assert targets.target(32).lanes == 16, "the kernels' vectors must be as wide as AMX's rows"
    put_in_place(setattr)
