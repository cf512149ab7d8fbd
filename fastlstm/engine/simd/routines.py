"""The vector passes over contiguous rows: cells, softmax, sums, optimisers.

Every count is a whole number of cache lines, so rows have no tails; what lies past the real units is zero and stays
zero.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fastlstm.engine.simd.functions import exp, sigmoid, tanh
from fastlstm.engine.simd.pairs import high, low, store_halves, whole, widened
from fastlstm.engine.simd.vector import EVERY, Code, Vector, routine


@routine("pppppii", *EVERY)
def lstm_cell(code: Code, gates: Any, c_before: Any, c: Any, h: Any, operand: Any, width: Any,
              count: Any) -> None:  # fmt: skip
    """One row: pre-activations i, f, g, o (each `width` apart) become gates in place; c = f·c_before + i·g, h = o·tanh c.

    Where operands are pairs, `operand` gets h rounded.
    """
    builder = code.builder
    f_row, g_row, o_row = (code.at(gates, builder.mul(width, code.index(k))) for k in (1, 2, 3))

    def body(u: Any, _: list[Any]) -> list[Any]:
        i, f = sigmoid(code.load(gates, u)), sigmoid(code.load(f_row, u))
        g, o = tanh(code.load(g_row, u)), sigmoid(code.load(o_row, u))
        cell = f.muladd(code.load(c_before, u), i * g)
        state = o * tanh(cell)
        for value, row in ((i, gates), (f, f_row), (g, g_row), (o, o_row), (cell, c), (state, h)):
            code.store(value, row, u)
        if code.paired:
            store_halves(state, operand, u)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("ppppppii", *EVERY)
def lstm_cell_backward(code: Code, gates: Any, c_before: Any, c: Any, dh: Any, dc: Any, operand: Any, width: Any,
                       count: Any) -> None:  # fmt: skip
    """One row: gates become the gradients of their pre-activations in place, and dc that of c_before.

    Where operands are pairs, these gradients go rounded to `operand`, and the gates stay as they are.

    With t = tanh c and dc' = dc + dh·o·(1 − t²): di = dc'·g, df = dc'·c_before, dg = dc'·i, do = dh·t, each times the
    slope of its activation; then dc = dc'·f.
    """
    builder = code.builder
    f_row, g_row, o_row = (code.at(gates, builder.mul(width, code.index(k))) for k in (1, 2, 3))
    one = code.constant(1.0)

    def body(u: Any, _: list[Any]) -> list[Any]:
        i, f, g, o = (code.load(row, u) for row in (gates, f_row, g_row, o_row))
        t, upstream = tanh(code.load(c, u)), code.load(dh, u)
        total = (upstream * o).muladd(one - t * t, code.load(dc, u))
        gradients = (
            total * g * (i * (one - i)),
            total * code.load(c_before, u) * (f * (one - f)),
            total * i * (one - g * g),
            upstream * t * (o * (one - o)),
        )
        for k, (gradient, row) in enumerate(zip(gradients, (gates, f_row, g_row, o_row), strict=True)):
            if code.paired:
                store_halves(gradient, operand, builder.add(u, code.times(width, k)))
            else:
                code.store(gradient, row, u)
        code.store(total * f, dc, u)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("ppi")
def softmax(code: Code, row: Any, result: Any, count: Any) -> None:
    """row becomes e^(row − max); result[0] is the max and result[1] the sum."""

    def larger(u: Any, carried: list[Vector]) -> list[Vector]:
        return [carried[0].maximum(code.load(row, u))]

    (most,) = code.loop(count, [code.load(row)], larger, step=code.lanes)
    most = code.splat(most.fold(Vector.maximum))

    def shifted(u: Any, carried: list[Vector]) -> list[Vector]:
        power = exp(code.load(row, u) - most)
        code.store(power, row, u)
        return [carried[0] + power]

    (total,) = code.loop(count, [code.constant(0.0)], shifted, step=code.lanes)
    builder = code.builder
    builder.store(
        builder.extract_element(most.value, ir.Constant(ir.IntType(32), 0)), result, align=code.bits // 8
    )
    builder.store(total.fold(Vector.__add__), code.at(result, 1), align=code.bits // 8)


@routine("ppi")
def scale(code: Code, row: Any, factor: Any, count: Any) -> None:
    """row ·= factor[0]."""
    by = code.broadcast(factor)

    def body(u: Any, _: list[Any]) -> list[Any]:
        code.store(code.load(row, u) * by, row, u)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("ppi", *EVERY)
def add(code: Code, row: Any, summand: Any, count: Any) -> None:
    """row += summand, which may be in bfloat16."""

    def body(u: Any, _: list[Any]) -> list[Any]:
        code.store(code.load(row, u) + operands(code, summand, u), row, u)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("ppi")
def copy(code: Code, row: Any, source: Any, count: Any) -> None:
    """row = source."""

    def body(u: Any, _: list[Any]) -> list[Any]:
        code.store(code.load(source, u), row, u)
        return []

    code.loop(count, [], body, step=code.lanes)


def operands(code: Code, row: Any, u: Any) -> Vector:
    """A vector of a row of operands, as floats."""
    return widened(code, row, u) if code.paired else code.load(row, u)


# Rows of a panel between what `fold` reads and what it asks for: it goes through too many panels at a time for the CPU to
# see that it goes through each in order.
AHEAD = 16


def fold_rows(code: Code, sums: Any, panels: Any, panel: Any, gate: Any, factors: Any, width: Any, count: Any,
              rows: int) -> None:  # fmt: skip
    """`fold` for so many rows of the panels."""
    builder, vectors = code.builder, code.target.line // code.lanes
    parts = (low, high) if code.paired else (whole,)
    totals = [code.constant(0.0)] * (rows * len(parts) * vectors)
    for g in range(4):
        of_gate = code.opaque(code.at(panels, code.times(gate, g))), code.times(width, g)

        def body(n: Any, totals: list[Vector], of_gate: Any = of_gate) -> list[Vector]:
            here = code.at(of_gate[0], builder.mul(n, panel))
            first = builder.add(of_gate[1], code.times(n, code.target.line))
            line = [operands(code, factors, code.plus(first, v * code.lanes)) for v in range(vectors)]
            for row in range(rows):
                code.prefetch(here, (AHEAD + row) * code.target.line)
            loaded = [code.load(here, i * code.lanes) for i in range(rows * vectors)]
            values = [
                part(loaded[r * vectors + v]) for r in range(rows) for part in parts for v in range(vectors)
            ]
            return [
                line[i % vectors].muladd(value, total)
                for i, (value, total) in enumerate(zip(values, totals, strict=True))
            ]

        totals = code.loop(count, totals, body)
    for r in range(rows * len(parts)):
        total, *others = totals[r * vectors : (r + 1) * vectors]
        for other in others:
            total += other
        builder.store(total.fold(Vector.__add__), code.at(sums, r), align=code.bits // 8)


@routine("ppiipiii", *EVERY)
def fold(code: Code, sums: Any, panels: Any, panel: Any, gate: Any, factors: Any, width: Any, count: Any,
         depth: Any) -> None:  # fmt: skip
    """sums[k] = Σ panels[k, u] · factors[u] for k below `depth`, over the units u of `count` panels of each gate.

    Panels (depth, line) lie `panel` apart, those of the next gate `gate` on, and its factors `width` on. The sum goes
    over panels first, then over the lanes. Where the panels are of pairs, factors are in bfloat16, and each of the
    `depth` pairs has two sums.
    """
    builder, line = code.builder, code.target.line
    sums_of_row = 2 if code.paired else 1
    together = max(1, 8 * code.lanes // line // sums_of_row)
    whole_rows = builder.and_(depth, code.index(-together))

    def several(rows: int, first: Any) -> Any:
        def body(k: Any, _: list[Any]) -> list[Any]:
            k = builder.add(first, k)
            here = code.at(panels, code.times(k, line))
            into = code.at(sums, code.times(k, sums_of_row))
            fold_rows(code, into, here, panel, gate, factors, width, count, rows)
            return []

        return body

    code.loop(whole_rows, [], several(together, code.index(0)), together)
    code.loop(builder.sub(depth, whole_rows), [], several(1, whole_rows))


@routine("ppi")
def clip(code: Code, g: Any, limit: Any, count: Any) -> None:
    """Clamp g to ±limit[0]; NaN stays."""
    bound = code.broadcast(limit)
    low = code.constant(0.0) - bound

    def body(i: Any, _: list[Any]) -> list[Any]:
        code.store(code.load(g, i).where("<", low, low).where(">", bound, bound), g, i)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("ppi")
def squares(code: Code, result: Any, g: Any, count: Any) -> None:
    """result[0] = the sum of squares of g."""
    across = code.target.line // code.lanes

    def body(i: Any, sums: list[Vector]) -> list[Vector]:
        # A sum for each vector of a cache line: one alone would wait for itself.
        values = [code.load(code.at(g, i), k * code.lanes) for k in range(across)]
        return [value.muladd(value, total) for value, total in zip(values, sums, strict=True)]

    total, *others = code.loop(count, [code.constant(0.0)] * across, body, step=code.target.line)
    for other in others:
        total += other
    code.builder.store(total.fold(Vector.__add__), result, align=code.bits // 8)


@routine("pppppi")
def adam(code: Code, p: Any, g: Any, m: Any, v: Any, numbers: Any, count: Any) -> None:
    """Kingma and Ba's Adam (2015), with AdamW's decay; numbers: scale of g, β1, 1 − β1, β2, 1 − β2, 1/√c2, ε, step, keep."""
    factor, beta1, rest1, beta2, rest2, root, epsilon, step, keep = (
        code.broadcast(numbers, k) for k in range(9)
    )

    def body(i: Any, _: list[Any]) -> list[Any]:
        gradient = code.load(g, i) * factor
        mean = beta1.muladd(code.load(m, i), rest1 * gradient)
        square = beta2.muladd(code.load(v, i), rest2 * gradient * gradient)
        code.store(mean, m, i)
        code.store(square, v, i)
        code.store(code.load(p, i) * keep - step * mean / (square.sqrt().muladd(root, epsilon)), p, i)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("pppi")
def approach(code: Code, mean: Any, p: Any, weight: Any, count: Any) -> None:
    """A running mean goes the share weight[0] of the way to p."""
    share = code.broadcast(weight)

    def body(i: Any, _: list[Any]) -> list[Any]:
        old = code.load(mean, i)
        code.store(share.muladd(code.load(p, i) - old, old), mean, i)
        return []

    code.loop(count, [], body, step=code.lanes)


@routine("ppppi")
def momentum(code: Code, p: Any, g: Any, m: Any, numbers: Any, count: Any) -> None:
    """Stochastic gradient descent, m = μ·m + g; numbers: scale of g, μ, learning rate, keep."""
    factor, mu, rate, keep = (code.broadcast(numbers, k) for k in range(4))

    def body(i: Any, _: list[Any]) -> list[Any]:
        mean = mu.muladd(code.load(m, i), code.load(g, i) * factor)
        code.store(mean, m, i)
        code.store(code.load(p, i) * keep - rate * mean, p, i)
        return []

    code.loop(count, [], body, step=code.lanes)
