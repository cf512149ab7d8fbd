"""A layer's memory between calls: frozen weights, caches, and the calls of its compiled programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastlstm import workers
from fastlstm.arena import Arena
from fastlstm.kernels.records import LAYER, address, fill
from fastlstm.kernels.sequence import backward_program, forward_program, pack_program
from fastlstm.layout import LayerMemory, Plan, full_plan, ragged_plan
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


class Workspace:
    """The arena and record of one layer's shape, used by one call or cache at a time."""

    def __init__(self, dtype: np.dtype, hidden: int, width: int, ids: bool) -> None:
        self.key = (dtype, hidden, width, ids)
        self.arena = Arena(dtype)
        self.record = np.zeros(1, LAYER)
        self.memory = LayerMemory(self.arena, "lstm", self.record[0], hidden, width)
        # Any array of the dtype tells the programs which one it is.
        self.like = aligned(1, dtype)


# Workspaces that no cache uses; the most recently used come first. Appending and popping are atomic.
_free: deque[Workspace] = deque(maxlen=8)


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


class Frozen:
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

    def lend(self, record: np.void, ids: bool) -> None:
        """Let another layer's record read these panels."""
        own = self.workspace.record[0]
        for field in ("forward_h", "forward_x", "bias"):
            record[field] = own[field]
        record["table"] = own["table"] if ids else 0
        record["packed"] = 1


class Cache:
    """What a forward pass leaves for its backward pass; it owns its data."""

    def __init__(self, workspace: Workspace, plan: Plan, order: np.ndarray | None, ids: np.ndarray | None) -> None:
        self.workspace, self.plan, self.order, self.ids = workspace, plan, order, ids
        self.hidden, self.width, self.dtype = workspace.memory.hidden, workspace.memory.width, workspace.arena.dtype
        # The row of the caller's that each row is.
        self.rows = np.arange(plan.rows, dtype=np.int32) if order is None else order.astype(np.int32)
        # The backward pass writes over the gates; a second one has them computed again.
        self.spent = False

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and sequences."""
        return self.plan.steps, self.plan.rows

    def run(self, program: Callable[..., None], threads: int | None, passes: int) -> None:
        """Run one of the layer's programs; `passes` is 1 for forward, 2 for backward."""
        work = 8.0 * passes * self.plan.positions * self.hidden * (self.hidden + self.width)
        workers.run(program, self.plan.record(self.hidden, self.ids), self.workspace.record, self.workspace.like, threads=threads, work=work)

    def __del__(self) -> None:
        _free.appendleft(self.workspace)


def sorted_plan(steps: int, rows: int, lengths: np.ndarray | None) -> tuple[Plan, np.ndarray | None]:
    """The plan of a batch, and the order of its rows by falling length where they need one."""
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


def as_given(states: tuple[np.ndarray, np.ndarray], order: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both arrays back in the caller's order."""
    if order is None:
        return states
    back = np.argsort(order)
    return states[0][back], states[1][back]


def forward(
    x: np.ndarray,
    weights: Weights | Frozen,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    lengths: np.ndarray | None,
    out: np.ndarray,
    keep_cache: bool,
    threads: int | None,
    reverse: bool,
) -> tuple[np.ndarray, np.ndarray, Cache | None]:
    """`lstm_forward` for valid, contiguous arguments; rows of `out` (T, B, H) may lie further apart than H."""
    ids = x.ndim == 2
    plan, order = sorted_plan(*x.shape[:2], lengths)
    cache = Cache(
        take_workspace(weights.dtype, weights.hidden, weights.width, ids),
        plan,
        order,
        compact_ids(x, plan, order) if ids else None,
    )
    memory, record = cache.workspace.memory, cache.workspace.record[0]
    if isinstance(weights, Frozen) and not keep_cache:
        weights.lend(record, ids)
    else:
        memory.panels()
        memory.weights(*(weights.weights if isinstance(weights, Frozen) else weights))
        record["packed"] = 0
        if ids:
            memory.table(weights.width, keep_cache)
    if keep_cache:
        memory.backward(plan, inputs=not ids)
    else:
        fill(record, backward_h=0, backward_x=0)
    memory.forward(plan)
    memory.start(plan, in_order(h0, order), in_order(c0, order))
    fill(record, step=-1 if reverse else 1, order=cache.rows, out=out, width_out=row_step(out), x_in=0)
    if not ids:
        memory.keep("x", plan.positions, memory.x_row)
        record["x_in"] = address(x)
    cache.run(forward_program, threads, 1)
    # The panels now hold what the backward pass needs of the weights; nothing of the caller's is read again.
    fill(record, packed=1, out=0, x_in=0)
    h_n, c_n = as_given(memory.final(plan), order)
    return h_n, c_n, cache if keep_cache else None


def row_step(array: np.ndarray) -> int:
    """Elements from one row of (T, B, n) to the next; NumPy gives a dimension of size 1 any stride."""
    return array.strides[1 if array.shape[1] > 1 else 0] // array.itemsize


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
    memory, record, plan, order = cache.workspace.memory, cache.workspace.record[0], cache.plan, cache.order
    if cache.spent:
        cache.run(forward_program, threads, 1)
    cache.spent = True
    B, H = plan.rows, cache.hidden
    dh0 = memory.keep("dh0", B, memory.row)
    # A row without steps passes its gradients through.
    dh0[:B, :H] = memory.dc[:B, :H] = 0
    record["dh_n"] = 0
    if dh_n is not None:
        final = memory.keep("dh_n", B, memory.row)
        final[:B, :H] = dh0[:B, :H] = in_order(dh_n, order)
    if dc_n is not None:
        memory.dc[:B, :H] = in_order(dc_n, order)
    fill(record, dout=dout, width_out=row_step(dout), dx=0, dx_out=dx, dw_h=0)
    if dx is not None:
        memory.keep("dx", plan.positions, memory.x_row)
    if gradients is not None:
        memory.gradients(*gradients)
    cache.run(backward_program, threads, 2)
    return as_given((dh0[:B, :H].copy(), memory.dc[:B, :H].copy()), order)
