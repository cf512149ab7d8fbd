"""The gradient that a single row passes from step to step, through the panels that its forward pass has read.

A product with the weights themselves would need panels of their own, and to pack these takes as long as a dozen steps.
Instead the gates of each atom's units make a share of all of dh, and the shares are added in the units' order.
"""

from __future__ import annotations

from fastlstm.engine.kernels.compile import inner
from fastlstm.engine.kernels.layer import UNITS
from fastlstm.engine.kernels.product import line, steps
from fastlstm.engine.simd.memory import at, operand, pointer
from fastlstm.engine.simd.routines import add, fold


@inner
def share(layer, s, unit, like):
    """Where the share that these units leave at step s backwards is; neighbouring steps have different places."""
    return at(pointer(layer.shares, like), (unit // UNITS * 2 + s % 2) * layer.h_row)


@inner
def leave_share(layer, d_gates, s, unit, units, like):
    """What so many units' gates of step s backwards give to dh of the next one: their gradients · W_h."""
    across, depth = line(d_gates), steps(d_gates, layer.hidden)
    fold(share(layer, s, unit, like), at(operand(layer.forward_h, like), unit * depth), depth * across,
         layer.padded * depth, at(d_gates, steps(d_gates, unit)), layer.padded, units // across, depth)  # fmt: skip


@inner
def add_shares(layer, dh, s, unit, units, like):
    """dh of so many units += all shares that step s backwards has left."""
    for first in range(0, layer.padded, UNITS):
        add(dh, at(share(layer, s, first, like), unit), units)
