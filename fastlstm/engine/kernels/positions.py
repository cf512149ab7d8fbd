"""Sums over positions in pairs of bfloat16: two rows that were written one by one become one row of pairs.

Both operands are packed anew, so many positions at a time that they stay in the nearest caches.
"""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.layer import UNITS, active_rows
from fastlstm.engine.kernels.operands import scratch
from fastlstm.engine.kernels.product import lanes, line, product
from fastlstm.engine.simd.memory import at, ids_pointer
from fastlstm.engine.simd.packing import join_columns, join_rows

# Pairs of positions at a time.
PAIRS = 128
room = scratch(PAIRS * UNITS)


@inner
def paired_sums(batch, layer, c, c_row, a, a_row, b, b_row, units, columns, first, states):
    """C (units, columns) = Σ a[n, u] · b[n, j] over the positions n from `first` on, in pairs; 1 if there were any.

    Rows of a and b are bfloat16. With `states`, b are the layer's states, of which a position has that before it.
    """
    across, begun = line(c), 0
    rows, panels = room(), room()
    for n in range(first, batch.positions, 2 * PAIRS):
        real = min(2 * PAIRS, batch.positions - n)
        for u in range(0, units, UNITS):
            high = min(UNITS, units - u)
            pack_units(rows, at(a, n * a_row + u // 2), a_row, high, real)
            for j in range(0, columns, UNITS):
                wide = min(UNITS, columns - j)
                pack_positions(batch, layer, panels, at(b, j // 2), b_row, wide, n, real, states)
                product(at(c, u * c_row + j), c_row, rows, PAIRS, 1, panels, across, PAIRS * across,
                        high, (real + 1) // 2, wide, begun, 1)  # fmt: skip
        begun = 1
    return begun


@inner
def pack_units(rows, source, source_row, units, real):
    """rows[u] = the pairs of so many positions, one after the other."""
    size = lanes(rows)
    for u in range(0, units, size):
        for n in range(0, real, 2 * size):
            join_columns(at(rows, u * PAIRS + n // 2), at(source, n * source_row + u // 2), source_row,
                         real - n, PAIRS)  # fmt: skip


@inner
def pack_positions(batch, layer, panels, source, source_row, columns, n, real, states):
    """Panels of so many positions from n on, in pairs: a row for each pair."""
    across, i = line(panels), 0
    whole = -(-columns // across) * across
    while i < real:
        row, run = state_run(batch, layer, n + i, real - i) if states else (n + i, real - i)
        first, count, both = at(source, row * source_row), max(1, run // 2), 1
        second = at(first, source_row)
        if run == 1:
            # The second of the pair belongs to another run, or there is none.
            second, both = first, 1 if i + 1 < real else 0
            if both:
                row, run = state_run(batch, layer, n + i + 1, 1) if states else (n + i + 1, 1)
                second = at(source, row * source_row)
        join_rows(at(panels, i // 2 * across), first, second, both, count, 2 * source_row, whole,
                  PAIRS * across)  # fmt: skip
        i += 2 * count


@inner
def state_run(batch, layer, n, most):
    """The row of the state before position n, and how many positions from n on, at most `most`, have the following rows."""
    start = ids_pointer(batch.start)
    t, found, run = 0, 0, 0
    while start[t + 1] <= n:
        t += 1
    while run < most and t < batch.steps:
        here, rows, before = n + run, start[t + 1] - start[t], t - layer.step
        r, carried = here - start[t], min(rows, active_rows(batch, before, 0, batch.rows))
        row = batch.rows + start[before] + r if r < carried else r
        if run and row - found != run:
            break
        if run == 0:
            found = row
        run = start[t] + (carried if r < carried else rows) - n
        while t < batch.steps and start[t + 1] <= n + run:
            t += 1
    return found, min(run, most)
