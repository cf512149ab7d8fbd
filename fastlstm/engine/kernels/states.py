"""A layer's states and their gradients, between arrays (B, H) of the caller's and rows of whole lines.

All of it for the rows first..last and for so many units from `unit` on, as the recurrence is dealt to the workers.
"""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.operands import as_operands
from fastlstm.engine.kernels.product import line, steps
from fastlstm.engine.simd.memory import at, ids_pointer, operand, pointer
from fastlstm.engine.simd.routines import add, copy


@inner
def copy_units(target, source, units):
    """Copy so many units, which need not be whole lines."""
    whole = units - units % line(target)
    copy(target, source, whole)
    for u in range(whole, units):
        target[u] = source[u]


@inner
def caller_row(layer, array, r, unit, like):
    """Where row r's units from `unit` on are in an array of the caller's."""
    row = ids_pointer(layer.order)[r] if layer.order else r
    return at(pointer(array, like), row * layer.hidden + unit)


@inner
def take_row(layer, inside, outside, r, unit, units, like):
    """Set row r to the caller's, or to zero if there is none; what lies past the real units is zero."""
    real = min(units, layer.hidden - unit) if outside else 0
    target = at(pointer(inside, like), r * layer.h_row + unit)
    if real:
        copy_units(target, caller_row(layer, outside, r, unit, like), real)
    for u in range(real, units):
        target[u] = 0


@inner
def give_row(layer, outside, row, r, unit, units, like):
    """Copy a row's units from `unit` on to the caller's row r."""
    copy_units(caller_row(layer, outside, r, unit, like), at(row, unit), min(units, layer.hidden - unit))


@inner
def last_step(batch, layer, r, t):
    """The step that row r ends with, −1 if it has none; t is that of a row before it, at first the batch's last."""
    if layer.step < 0:
        t = 0
    start = ids_pointer(batch.start)
    while t >= 0 and start[t + 1] - start[t] <= r:
        t -= 1
    return t


@inner
def take_states(batch, layer, first, last, unit, units, like):
    """The initial states."""
    h, states = pointer(layer.h, like), operand(layer.h_operand, like)
    for r in range(first, last if layer.begin else first):
        take_row(layer, layer.h, layer.h0_in, r, unit, units, like)
        place = r * layer.h_operand_row + steps(states, unit)
        as_operands(at(states, place), at(h, r * layer.h_row + unit), units)
        take_row(layer, layer.c, layer.c0_in, r, unit, units, like)


@inner
def give_states(batch, layer, first, last, unit, units, like):
    """The final states: each row's after the step that it ends with."""
    h, c, start = pointer(layer.h, like), pointer(layer.c, like), ids_pointer(batch.start)
    t = batch.steps - 1
    for r in range(first, last if layer.h_n_out else first):
        t = last_step(batch, layer, r, t)
        place = (batch.rows + start[t] + r if t >= 0 else r) * layer.h_row
        give_row(layer, layer.h_n_out, at(h, place), r, unit, units, like)
        give_row(layer, layer.c_n_out, at(c, place), r, unit, units, like)


@inner
def take_gradients(batch, layer, first, last, unit, units, like):
    """What comes from behind the last steps: dc, and dh_n, which is added to the gradients of the last outputs.

    A row without steps passes both through.
    """
    dh, start = pointer(layer.dh, like), ids_pointer(batch.start)
    t, real = batch.steps - 1, min(units, layer.hidden - unit)
    whole = real - real % line(dh)
    for r in range(first, last):
        take_row(layer, layer.dc, layer.dc_n_in, r, unit, units, like)
        if layer.dh0:
            take_row(layer, layer.dh0, layer.dh_n_in, r, unit, units, like)
        t = last_step(batch, layer, r, t)
        if layer.dh_n_in and t >= 0:
            theirs, ours = (
                caller_row(layer, layer.dh_n_in, r, unit, like),
                at(dh, (start[t] + r) * layer.h_row + unit),
            )
            add(ours, theirs, whole)
            for u in range(whole, real):
                ours[u] += theirs[u]


@inner
def give_gradients(batch, layer, first, last, unit, units, like):
    """The gradients of the initial states."""
    dh0, dc = pointer(layer.dh0, like), pointer(layer.dc, like)
    for r in range(first, last if layer.dh0_out else first):
        give_row(layer, layer.dh0_out, at(dh0, r * layer.h_row), r, unit, units, like)
        give_row(layer, layer.dc0_out, at(dc, r * layer.h_row), r, unit, units, like)
