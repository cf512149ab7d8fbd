"""A layer's memory between calls: frozen weights, caches, and the calls of its compiled programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import numpy as np

from fastlstm import workers
from fastlstm.arena import Arena, Uncopied
from fastlstm.kernels.records import LAYER, Row
from fastlstm.kernels.sequence import backward_program, forward_program, pack_program
from fastlstm.layout import LayerMemory, Plan, Room, full_plan, ragged_plan
from fastlstm.memory import aligned


class Weights(NamedTuple):
    """Recurrent (4H, H) and input weights (4H, I) of any row stride, and bias (4H,); or their gradients."""

    w_h: np.ndarray
    w_x: np.ndarray
    b: np.ndarray

    @property
    def hidden(self) -> int:
        return self.w_h.shape[1]

    @property
    def width(self) -> int:
        return self.w_x.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return self.w_h.dtype


class Workspace(Uncopied):
    """The arena and record of one layer's shape, used by one call or cache at a time."""

    def __init__(self, dtype: np.dtype, hidden: int, width: int, ids: bool) -> None:
        self.key = (dtype, hidden, width, ids)
        self.arena = Arena(dtype)
        self.record = np.zeros(1, LAYER)
        self.memory = LayerMemory(self.arena, "lstm", Row(self.record), hidden, width)
        # Any array of the dtype tells the programs which one it is.
        self.like = aligned(1, dtype)
        self.ids = ids
        self._kind: tuple[bool, Frozen | None] | None = None
        self._room = Room(0, 0)

    def reserve(self, plan: Plan, backward: bool, frozen: Frozen | None) -> None:
        """Room for a batch and the record that says where it is, unless the last batch's will do."""
        if (
            (backward, frozen) == self._kind
            and plan.rows <= self._room.rows
            and plan.positions <= self._room.positions
        ):
            return
        room = Room(max(plan.rows, self._room.rows), max(plan.positions, self._room.positions))
        # Until all of it is done, nothing is: an interruption may leave a record without addresses.
        self._kind = None
        memory = self.memory
        if frozen is not None:
            frozen.lend(memory.record, self.ids)
        else:
            memory.panels()
            if self.ids:
                memory.table(memory.width, backward)
        memory.forward(room)
        memory.record.fill(backward_h=0, backward_x=0)
        if backward:
            memory.backward(room, inputs=not self.ids)
            self.dh0, self.dh_n = (
                memory.keep("dh0", room.rows, memory.row),
                memory.keep("dh_n", room.rows, memory.row),
            )
        if not self.ids:
            memory.keep("x", room.positions, memory.x_row)
            if backward:
                self.dx = memory.keep("dx", room.positions, memory.x_row)
        self._kind, self._room = (backward, frozen), room


# Workspaces that no cache uses; the most recently used come first. Appending and popping are atomic.
_free: deque[Workspace] = deque(maxlen=8)
# Larger ones are given back to the system: to fill them takes much longer than to get them.
KEPT_BYTES = 1 << 28


def take_workspace(dtype: np.dtype, hidden: int, width: int, ids: bool) -> Workspace:
    """A free workspace of this shape, or a new one."""
    for _ in range(len(_free)):
        try:
            workspace = _free.popleft()
        except IndexError:
            break
        if workspace.key == (dtype, hidden, width, ids):
            return workspace
        _free.append(workspace)
    return Workspace(dtype, hidden, width, ids)


class Frozen(Uncopied):
    """Packed weights: read by any number of calls, changed by none."""

    def __init__(self, weights: Weights) -> None:
        # The copy serves calls that keep a cache, which packs for the backward pass too.
        self.weights = Weights(*(np.array(array) for array in weights))
        self.hidden, self.width, self.dtype = weights.hidden, weights.width, weights.dtype
        self.workspace = Workspace(weights.dtype, weights.hidden, weights.width, True)
        memory = self.workspace.memory
        memory.weights(*self.weights)
        memory.table(weights.width, False)
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
        self.hidden, self.width, self.dtype = (
            workspace.memory.hidden,
            workspace.memory.width,
            workspace.arena.dtype,
        )
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
    active = (plan.start[1:] - plan.start[:-1])[:, None] > np.arange(plan.rows)
    return x[:, order][active]


def in_order(state: np.ndarray | None, order: np.ndarray | None) -> np.ndarray | None:
    return state if state is None or order is None else state[order]


def as_given(
    states: tuple[np.ndarray, np.ndarray], order: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both arrays back in the caller's order."""
    if order is None:
        return states
    back = np.argsort(order)
    return states[0][back], states[1][back]


def forward(
    x: np.ndarray,
    plan: Plan,
    order: np.ndarray | None,
    weights: Weights | Frozen,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    out: np.ndarray,
    keep_cache: bool,
    threads: int | None,
    reverse: bool,
) -> tuple[np.ndarray, np.ndarray, Cache | None]:
    """`lstm_forward` for valid, contiguous arguments; rows of `out` may lie further apart than H.

    With an order x is (T, B, I) or ids (T, B), and out (T, B, H). Without one, x and out hold the plan's positions and
    no others, which is the same in a batch of full sequences.
    """
    ids = x.dtype.kind in "iu"
    cache = Cache(
        take_workspace(weights.dtype, weights.hidden, weights.width, ids),
        plan,
        order,
        compact_ids(x, plan, order) if ids else None,
    )
    workspace = cache.workspace
    memory, record = workspace.memory, workspace.memory.record
    lent = weights if isinstance(weights, Frozen) and not keep_cache else None
    workspace.reserve(plan, keep_cache, lent)
    if lent is None:
        memory.weights(*(weights.weights if isinstance(weights, Frozen) else weights))
    memory.start(plan, in_order(h0, order), in_order(c0, order))
    record.fill(step=-1 if reverse else 1, packed=lent is not None, order=cache.rows, out=out,
         width_out=row_step(out), x_in=None if ids else x)  # fmt: skip
    cache.run(forward_program, threads, 1)
    # The panels now hold what the backward pass needs of the weights; nothing of the caller's is read again.
    record.fill(packed=1, out=0, x_in=0)
    h_n, c_n = as_given(memory.final(plan), order)
    return h_n, c_n, cache if keep_cache else None


def row_step(array: np.ndarray) -> int:
    """Elements from one row of (T, B, n) or (N, n) to the next; NumPy gives a dimension of size 1 any stride."""
    return array.strides[-2 if array.shape[-2] > 1 else 0] // array.itemsize


def backward(
    dout: np.ndarray,
    cache: Cache,
    dh_n: np.ndarray | None,
    dc_n: np.ndarray | None,
    dx: np.ndarray | None,
    gradients: Weights | None,
    threads: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """`lstm_backward` for valid, contiguous arguments: fills dx and the weights' gradients where given; dh0 and dc0."""
    memory, record, plan, order = (
        cache.workspace.memory,
        cache.workspace.memory.record,
        cache.plan,
        cache.order,
    )
    with cache.lock:
        if cache.spent:
            cache.run(forward_program, threads, 1)
        cache.spent = True
        B, H, workspace = plan.rows, cache.hidden, cache.workspace
        # A row without steps passes its gradients through. A NaN of an earlier call may stand in the padding of dc.
        workspace.dh0[:B, :H] = memory.dc[:B] = 0
        if dh_n is not None:
            workspace.dh_n[:B, :H] = workspace.dh0[:B, :H] = in_order(dh_n, order)
        if dc_n is not None:
            memory.dc[:B, :H] = in_order(dc_n, order)
        record.fill(dout=dout, width_out=row_step(dout), dw_h=0, dx_out=dx,
             dh_n=None if dh_n is None else workspace.dh_n, dx=None if dx is None else workspace.dx)  # fmt: skip
        if gradients is not None:
            memory.gradients(*gradients)
        cache.run(backward_program, threads, 2)
        return as_given((workspace.dh0[:B, :H].copy(), memory.dc[:B, :H].copy()), order)
