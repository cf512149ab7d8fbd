"""A layer's memory between calls: frozen weights, caches, and the calls of its compiled programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import numpy as np

from fastlstm import workers
from fastlstm.arena import Arena, Uncopied
from fastlstm.kernels.records import LAYER, Row, address
from fastlstm.kernels.sequence import backward_program, forward_program, pack_program
from fastlstm.layout import (
    LayerMemory,
    Place,
    Plan,
    Room,
    Weights,
    full_plan,
    fused_weights,
    ragged_plan,
)
from fastlstm.memory import aligned

States = tuple[np.ndarray, np.ndarray]


class Kind(NamedTuple):
    """What decides a layer's memory, apart from the batch; `ids` says that its inputs are ids, not floats."""

    dtype: np.dtype
    hidden: int
    width: int
    ids: bool


class Workspace(Uncopied):
    """The arena and record of one layer's shape, used by one call or cache at a time."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.arena = Arena(kind.dtype)
        self.record = np.zeros(1, LAYER)
        self.memory = LayerMemory(self.arena, "lstm", Row(self.record), kind.hidden, kind.width)
        # Any array of the dtype tells the programs which one it is.
        self.like = aligned(1, kind.dtype)
        self._use: tuple[bool, Frozen | None] | None = None
        self._room = Room(0, 0)

    def reserve(self, plan: Plan, backward: bool, frozen: Frozen | None) -> None:
        """Room for a batch and the record that says where it is, unless the last batch's will do."""
        if (
            (backward, frozen) == self._use
            and plan.rows <= self._room.rows
            and plan.positions <= self._room.positions
        ):
            return
        room = Room(max(plan.rows, self._room.rows), max(plan.positions, self._room.positions))
        # Until all of it is done, nothing is: an interruption may leave a record without addresses.
        self._use = None
        memory = self.memory
        if frozen is not None:
            frozen.lend(memory.record, self.kind.ids)
        else:
            memory.panels()
            if self.kind.ids:
                memory.table(memory.width, backward)
        memory.forward(room)
        memory.record.fill(backward_h=0, backward_x=0)
        if backward:
            memory.backward(room, inputs=not self.kind.ids)
            self.dh0, self.dh_n = (
                memory.keep("dh0", room.rows, memory.row),
                memory.keep("dh_n", room.rows, memory.row),
            )
        if not self.kind.ids:
            memory.keep("x", room.positions, memory.x_row)
            if backward:
                self.dx = address(memory.keep("dx", room.positions, memory.x_row))
        self._use, self._room = (backward, frozen), room


# Workspaces that no cache uses; the most recently used come first. Appending and popping are atomic.
_free: deque[Workspace] = deque(maxlen=8)
# Larger ones are given back to the system: to fill them takes much longer than to get them.
KEPT_BYTES = 1 << 28


def take_workspace(kind: Kind) -> Workspace:
    """A free workspace of this kind, or a new one."""
    for _ in range(len(_free)):
        try:
            workspace = _free.popleft()
        except IndexError:
            break
        if workspace.kind == kind:
            return workspace
        _free.append(workspace)
    return Workspace(kind)


class Frozen(Uncopied):
    """Packed weights: read by any number of calls, changed by none."""

    def __init__(self, W: np.ndarray, b: np.ndarray) -> None:
        """W (4H, H + I) and b (4H,)."""
        # The copy serves calls that keep a cache, which packs for the backward pass too.
        self.arrays = W.copy(), b.copy()
        self.weights = fused_weights(*self.arrays)
        self.hidden, self.width, self.dtype = len(W) // 4, W.shape[1] - len(W) // 4, W.dtype
        self.workspace = Workspace(Kind(self.dtype, self.hidden, self.width, True))
        memory = self.workspace.memory
        memory.weights(self.weights)
        memory.table(self.width, False)
        workers.run(pack_program, self.workspace.record, self.workspace.like)

    def lend(self, record: Row, ids: bool) -> None:
        """Let another layer's record read these panels."""
        own = self.workspace.memory.record
        for field in ("forward_h", "forward_x", "bias"):
            record[field] = own[field]
        record["table"] = own["table"] if ids else 0
        record["packed"] = 1


class Cache(Uncopied):
    """What a forward pass leaves for its backward pass; it owns its data."""

    def __init__(
        self, workspace: Workspace, plan: Plan, order: np.ndarray | None, ids: np.ndarray | None
    ) -> None:
        self.workspace, self.plan, self.order, self.ids = workspace, plan, order, ids
        self.dtype, self.hidden, self.width, _ = workspace.kind
        # The row of the caller's that each row is; None where the caller's rows are the positions.
        self.rows = None if order is None else order.astype(np.int32)
        # The backward pass writes over the gates; a second one has them computed again.
        self.spent = False
        # One backward pass at a time.
        self.lock = Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and sequences."""
        return self.plan.steps, self.plan.rows

    def run(self, program: Callable[..., None], threads: int | None, passes: int) -> None:
        """Run one of the layer's programs; `passes` is 1 for forward, 2 for backward."""
        work = 8.0 * passes * self.plan.positions * self.hidden * (self.hidden + self.width)
        work *= self.plan.shared(self.hidden)
        workers.run(
            program,
            self.plan.record(self.hidden, self.ids),
            self.workspace.record,
            self.workspace.like,
            threads=threads,
            work=work,
        )

    def __del__(self) -> None:
        if self.workspace.arena.bytes <= KEPT_BYTES:
            _free.appendleft(self.workspace)


def sorted_plan(steps: int, rows: int, lengths: np.ndarray | None) -> tuple[Plan, np.ndarray | None]:
    """The plan of a padded batch, and the order of its rows by falling length where not all are full."""
    if lengths is None:
        return full_plan(steps, rows), None
    order = np.argsort(-lengths, kind="stable")
    return ragged_plan(steps, lengths[order]), order


def compact_ids(x: np.ndarray, plan: Plan, order: np.ndarray | None) -> np.ndarray:
    """The ids of all positions."""
    if order is None:
        return x.reshape(-1)
    return x[:, order][plan.active()]


def in_order(state: np.ndarray | None, order: np.ndarray | None) -> np.ndarray | None:
    return state if state is None or order is None else state[order]


def as_given(states: States, order: np.ndarray | None) -> States:
    """Rows of both arrays back in the caller's order."""
    if order is None:
        return states
    back = np.argsort(order)
    return states[0][back], states[1][back]


def forward(
    kind: Kind,
    x: int | np.ndarray,
    plan: Plan,
    order: np.ndarray | None,
    weights: Weights | Frozen,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    out: Place,
    final: States,
    keep_cache: bool,
    threads: int | None,
    reverse: bool,
) -> Cache | None:
    """`lstm_forward` for valid arguments: fills `out` and the final states.

    x is where the inputs are, contiguous rows, or an array of ids (T, B). With an order they are (T, B, I), and out is
    (T, B, H). Without one, x and out hold the plan's positions and no others, which is the same in a batch of full
    sequences.
    """
    ids = x if isinstance(x, np.ndarray) else None
    cache = Cache(take_workspace(kind), plan, order, None if ids is None else compact_ids(ids, plan, order))
    workspace = cache.workspace
    memory, record = workspace.memory, workspace.memory.record
    lent = weights if isinstance(weights, Frozen) and not keep_cache else None
    workspace.reserve(plan, keep_cache, lent)
    if lent is None:
        memory.weights(weights.weights if isinstance(weights, Frozen) else weights)
    memory.start(plan, in_order(h0, order), in_order(c0, order))
    record.fill(step=-1 if reverse else 1, packed=lent is not None, order=cache.rows, out=out.address,
         width_out=out.row, x_in=x if ids is None else 0)  # fmt: skip
    cache.run(forward_program, threads, 1)
    # The panels now hold what the backward pass needs of the weights; nothing of the caller's is read again.
    record.fill(packed=1, out=0, x_in=0)
    final[0][:], final[1][:] = as_given(memory.final(plan), order)
    return cache if keep_cache else None


def backward(
    dout: Place,
    cache: Cache,
    dh_n: np.ndarray | None,
    dc_n: np.ndarray | None,
    dx: int,
    gradients: Weights | None,
    states: States | None,
    threads: int | None,
) -> None:
    """`lstm_backward` for valid arguments: fills dx (its address, or 0), the weights' and the states' gradients where given."""
    workspace, plan, order = cache.workspace, cache.plan, cache.order
    memory, record = workspace.memory, workspace.memory.record
    with cache.lock:
        if cache.spent:
            cache.run(forward_program, threads, 1)
        cache.spent = True
        B, H = plan.rows, cache.hidden
        # A row without steps passes its gradients through. A NaN of an earlier call may stand in the padding of dc.
        memory.dc[:B] = 0
        if states:
            workspace.dh0[:B] = 0
        if dh_n is not None:
            workspace.dh_n[:B, :H] = workspace.dh0[:B, :H] = in_order(dh_n, order)
        if dc_n is not None:
            memory.dc[:B, :H] = in_order(dc_n, order)
        record.fill(dout=dout.address, width_out=dout.row, dw_h=0, dx_out=dx, dx=workspace.dx if dx else 0,
             dh_n=None if dh_n is None else workspace.dh_n, dh0=workspace.dh0 if states else 0)  # fmt: skip
        if gradients is not None:
            memory.gradients(gradients)
        cache.run(backward_program, threads, 2)
        if states:
            states[0][:], states[1][:] = as_given((workspace.dh0[:B, :H], memory.dc[:B, :H]), order)
