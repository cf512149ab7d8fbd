"""The gradients of a layer's weights, each a sum over all positions in their order."""

from __future__ import annotations

from fastlstm.engine.kernels.compile import either, inner
from fastlstm.engine.kernels.layer import UNITS, active_rows, dense_inputs
from fastlstm.engine.kernels.positions import paired_sums
from fastlstm.engine.kernels.product import line, product, steps
from fastlstm.engine.simd.memory import at, ids_pointer, operand, pointer
from fastlstm.engine.simd.routines import add


@inner
def gradient_atoms(layer):
    """How many atoms a layer's weight gradients have: so many units of one gate each."""
    return 4 * -(-layer.hidden // UNITS)


@inner
def weight_gradients(batch, layer, atom, like):
    """dW_h, dW_x and db of one atom's units, each a sum over all positions in their order."""
    gate, first = atom % 4, atom // 4 * UNITS
    units = min(UNITS, layer.hidden - first)
    d_gates, h = operand(layer.d_gates, like), operand(layer.h_operand, like)
    across = line(d_gates)
    row, column = gate * layer.hidden + first, gate * layer.padded + first
    whole = -(-units // across) * across
    d_gates = at(d_gates, steps(d_gates, column))
    dw_h = at(pointer(layer.dw_h, like), row * layer.dw_h_row)
    if not recurrent_gradient(batch, layer, dw_h, d_gates, h, units):
        for u in range(units):
            for j in range(layer.hidden):
                dw_h[u * layer.dw_h_row + j] = 0
    dw_x = at(pointer(layer.dw_x, like), row * layer.dw_x_row)
    db_row = at(pointer(layer.db_row, like), column)
    for u in range(whole):
        db_row[u] = 0
    if layer.table:
        d_table = at(pointer(layer.d_table, like), column)
        table_gradient(batch, layer, d_table, d_gates, whole)
        for v in range(layer.vocabulary):
            add(db_row, at(d_table, v * layer.gates_row), whole)
        if layer.e_rows:
            product(dw_x, layer.dw_x_row, d_table, 1, layer.gates_row, pointer(layer.e_rows, like), layer.x_row, across,
                    units, layer.vocabulary, layer.width, 0, 1)  # fmt: skip
        else:
            for u in range(units):
                for v in range(layer.vocabulary):
                    dw_x[u * layer.dw_x_row + v] = d_table[v * layer.gates_row + u]
    else:
        for n in range(batch.positions):
            add(db_row, at(d_gates, n * layer.d_gates_row), whole)
        position_sums(batch, layer, dw_x, layer.dw_x_row, d_gates, layer.d_gates_row,
                      dense_inputs(batch, layer, like), layer.x_operand_row, units, layer.width)  # fmt: skip
    for u in range(units):
        if layer.db_h:
            pointer(layer.db_h, like)[row + u] = db_row[u]
        if layer.db_x:
            pointer(layer.db_x, like)[row + u] = db_row[u]


@inner
def position_sums(batch, layer, c, c_row, a, a_row, b, b_row, units, columns):
    """C (units, columns) = Σ a[n, u] · b[n, j] over all positions n in their order; a and b are rows of operands."""
    product(c, c_row, a, 1, a_row, b, b_row, line(c), units, batch.positions, columns, 0, 1)


@inner
def position_sums_of_pairs(batch, layer, c, c_row, a, a_row, b, b_row, units, columns):
    """`position_sums` in pairs of positions."""
    paired_sums(batch, layer, c, c_row, a, a_row, b, b_row, units, columns, 0, 0)


position_sums = either(position_sums, position_sums_of_pairs)


@inner
def recurrent_gradient_of_pairs(batch, layer, dw_h, d_gates, h, units):
    """`recurrent_gradient` in pairs of positions."""
    # Forwards in time, all rows begin at the first step, if not from states that are given then from zeros.
    first = ids_pointer(batch.start)[1] if layer.step > 0 and not layer.carried else 0
    return paired_sums(batch, layer, dw_h, layer.dw_h_row, d_gates, layer.d_gates_row, h, layer.h_operand_row,
                       units, layer.hidden, first, 1)  # fmt: skip


@inner
def recurrent_gradient(batch, layer, dw_h, d_gates, h, units):
    """dW_h = d_gatesᵀ · h_before, in runs of positions whose states before lie at one distance; 1 if there were any."""
    start, across, begun = ids_pointer(batch.start), line(dw_h), 0
    run, length, source = 0, 0, 0
    for i in range(2 * batch.steps + 1):
        t, part = i // 2, i % 2
        low, high, state = 0, 0, 0
        if t < batch.steps:
            rows = start[t + 1] - start[t]
            before = t - layer.step
            carried = min(rows, active_rows(batch, before, 0, batch.rows))
            if part == 0:
                low, high, state = 0, carried, batch.rows + (start[before] if carried else 0)
            else:
                low, high, state = carried, rows if layer.carried else carried, carried
            if (
                high > low
                and length
                and start[t] + low == run + length
                and state - (start[t] + low) == source - run
            ):
                length += high - low
                continue
            if high == low:
                continue
        if length:
            product(dw_h, layer.dw_h_row, at(d_gates, run * layer.d_gates_row), 1, layer.d_gates_row,
                    at(h, source * layer.h_operand_row), layer.h_operand_row, across, units, length, layer.hidden,
                    begun, 1)  # fmt: skip
            begun = 1
        if t < batch.steps:
            run, length, source = start[t] + low, high - low, state
    return begun


recurrent_gradient = either(recurrent_gradient, recurrent_gradient_of_pairs)


@inner
def table_gradient(batch, layer, d_table, d_gates, whole):
    """d_table[v] = the sum of d_gates over the positions whose id is v."""
    ids = ids_pointer(batch.ids)
    for v in range(layer.vocabulary):
        for u in range(whole):
            d_table[v * layer.gates_row + u] = 0
    for n in range(batch.positions):
        add(at(d_table, ids[n] * layer.gates_row), at(d_gates, n * layer.d_gates_row), whole)
