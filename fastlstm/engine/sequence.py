"""A layer's memory between calls: frozen weights, caches, and the calls of its compiled programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import numpy as np

from fastlstm.engine import workers
from fastlstm.engine.arena import Arena, Uncopied
from fastlstm.engine.kernels.records import LAYER, Row, address
from fastlstm.engine.kernels.sequence import backward_program, forward_program, pack_program
from fastlstm.engine.layout import (
    LayerMemory,
    Place,
    Plan,
    Room,
    Weights,
    full_plan,
    fused_weights,
    ragged_plan,
)
from fastlstm.engine.memory import aligned

# Where hidden and cell states (B, H), or their gradients, are: contiguous rows. 0: they are zero; both 0 for results: they
# are not wanted.
Addresses = tuple[int, int]


class Kind(NamedTuple):
    """What decides a layer's memory, apart from the batch.

    `ids` says that its inputs are ids, not floats: of one-hot rows or, where there is a `vocabulary`, of rows of an embedding
    with so many. `paired`: operands of products are pairs of bfloat16.
    """

    dtype: np.dtype
    hidden: int
    width: int
    ids: bool
    paired: bool = False
    vocabulary: int = 0


class Ids(NamedTuple):
    """Inputs that are ids (T, B): of one-hot rows, or of rows of the embedding at the address `e`, contiguous (V, I)."""

    ids: np.ndarray
    e: int = 0


class Workspace(Uncopied):
    """The arena and record of one layer's shape, used by one call or cache at a time."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.arena = Arena(kind.dtype, kind.paired)
        self.record = np.zeros(1, LAYER)
        record = Row(self.record)
        self.memory = LayerMemory(self.arena, "lstm", record, kind.hidden, kind.width)
        self.set_forward = record.setter(
            "step", "packed", "order", "x_in", "out", "begin", "carried", "h0_in", "c0_in", "h_n_out", "c_n_out",
            "width_out"
        )  # fmt: skip
        self.set_backward = record.setter(
            "width_out", "dout", "dx_out", "dh_n_in", "dc_n_in", "dh0_out", "dc0_out", "dx", "dh0", "de"
        )
        # Any array of what operands are elements of tells the programs which type it is.
        self.like = aligned(1, self.arena.operands)
        self._use: tuple[bool, bool, Frozen | None] | None = None
        self._room = Room(0, 0)

    def reserve(self, plan: Plan, backward: bool, frozen: Frozen | None) -> None:
        """Room for a batch and the record that says where it is, unless the last batch's will do."""
        single = backward and plan.single(self.kind.hidden)
        vectors = not self.kind.ids or self.kind.vocabulary > 0
        use = backward, single, frozen
        if use == self._use and plan.rows <= self._room.rows and plan.positions <= self._room.positions:
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
                memory.table(self.kind.vocabulary or memory.width, self.kind.vocabulary > 0, backward)
        memory.forward(room)
        memory.record.fill(shares=0, backward_h=0, backward_x=0)
        if backward:
            memory.backward(room, vectors, single)
            self.dh0 = address(memory.keep("dh0", room.rows, memory.row))
            if vectors:
                self.dx = address(memory.keep("dx", room.positions, memory.x_row))
        if not self.kind.ids:
            memory.keep("x", room.positions, memory.x_row)
            memory.keep_as("x_operand", "x", room.positions, memory.record["x_operand_row"])
        self._use, self._room = use, room


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

    def __init__(self, W: np.ndarray, b: np.ndarray, paired: bool = False, ids: bool = True) -> None:
        """W (4H, H + I) and b (4H,); inputs may be `ids` too, or are vectors alone."""
        # The copy serves calls that keep a cache, which packs for the backward pass too.
        self.arrays = W.copy(), b.copy()
        self.weights = fused_weights(*self.arrays)
        self.hidden, self.width, self.dtype = len(W) // 4, W.shape[1] - len(W) // 4, W.dtype
        self.workspace = Workspace(Kind(self.dtype, self.hidden, self.width, ids, paired))
        memory = self.workspace.memory
        memory.weights(self.weights)
        if ids:
            memory.table(self.width, False, False)
        memory.panels()
        workers.run(pack_program, self.workspace.record, self.workspace.like)

    def lend(self, record: Row, ids: bool) -> None:
        """Let another layer's record read these panels."""
        own = self.workspace.memory.record
        for field in ("forward_h", "forward_x", "bias"):
            record[field] = own[field]
        record["table"] = own["table"] if ids else 0


class Cache(Uncopied):
    """What a forward pass leaves for its backward pass; it owns its data."""

    def __init__(
        self, workspace: Workspace, plan: Plan, order: np.ndarray | None, ids: np.ndarray | None
    ) -> None:
        self.workspace, self.plan, self.order, self.ids = workspace, plan, order, ids
        self.dtype, self.hidden, self.width, *_ = workspace.kind
        # The backward pass writes over the gates; a second one has them computed again.
        self.spent = False
        # One backward pass at a time.
        self.lock = Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and sequences."""
        return self.plan.steps, self.plan.rows

    def run(self, program: Callable[..., None], threads: workers.Threads, passes: int) -> None:
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
        # A cache may end before it has begun, and when the process ends, the module's names may be gone.
        workspace: Workspace | None = getattr(self, "workspace", None)
        if workspace is not None and _free is not None and workspace.arena.bytes <= (KEPT_BYTES or 0):
            _free.appendleft(workspace)


def sorted_plan(steps: int, rows: int, lengths: np.ndarray | None) -> tuple[Plan, np.ndarray | None]:
    """The plan of a padded batch, and the order (B,), int32, of its rows by falling length where not all are full."""
    if lengths is None:
        return full_plan(steps, rows), None
    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    return ragged_plan(steps, lengths[order]), order


def compact_ids(x: np.ndarray, plan: Plan, order: np.ndarray | None) -> np.ndarray:
    """The ids of all positions, copied."""
    if order is None:
        return x.flatten()
    return x[:, order][plan.active()]


def forward(
    kind: Kind,
    x: int | Ids,
    plan: Plan,
    order: np.ndarray | None,
    weights: Weights | Frozen,
    initial: Addresses,
    out: Place,
    final: Addresses,
    keep_cache: bool,
    threads: workers.Threads,
    reverse: bool,
) -> Cache | None:
    """`lstm_forward` for valid arguments: fills `out` and the final states.

    x is where the inputs are, contiguous rows, or ids. With an order they are (T, B, I), and out is (T, B, H). Without one, x
    and out hold the plan's positions and no others, which is the same in a batch of full sequences.
    """
    vectors, (ids, e) = (0, x) if isinstance(x, Ids) else (x, (None, 0))
    cache = Cache(take_workspace(kind), plan, order, None if ids is None else compact_ids(ids, plan, order))
    workspace = cache.workspace
    lent = weights if isinstance(weights, Frozen) and not keep_cache else None
    workspace.reserve(plan, keep_cache, lent)
    if lent is None:
        workspace.memory.weights(weights.weights if isinstance(weights, Frozen) else weights)
    step, rows, carried = -1 if reverse else 1, address(order), initial != (0, 0)
    workspace.set_forward(
        step,
        lent is not None,
        rows,
        vectors,
        out.address,
        1,
        carried,
        *initial,
        *final,
        out.row,
    )
    workspace.memory.record["e"] = e
    cache.run(forward_program, threads, 1)
    if not keep_cache:
        return None
    # The panels now hold what the backward pass needs of the weights; nothing of the caller's is read or written again.
    workspace.set_forward(step, 1, rows, 0, 0, 0, carried, 0, 0, 0, 0, 0)
    return cache


def backward(
    dout: Place,
    cache: Cache,
    final: Addresses,
    dx: int,
    gradients: Weights,
    initial: Addresses,
    threads: workers.Threads,
    de: int = 0,
) -> None:
    """`lstm_backward` for valid arguments: fills dx (its address, or 0), the weights' and the initial states' gradients.

    `final` is where dh_n and dc_n are, `initial` where dh0 and dc0 go. Of an embedding's rows `de` (V, I) may be asked for,
    with or without dx; with it, the weights' gradients must be.
    """
    workspace = cache.workspace
    with cache.lock:
        if cache.spent:
            cache.run(forward_program, threads, 1)
        cache.spent = True
        dh0 = workspace.dh0 if initial != (0, 0) else 0
        workspace.set_backward(dout.row, dout.address, dx, *final, *initial, dx and workspace.dx, dh0, de)
        workspace.memory.gradients(gradients)
        cache.run(backward_program, threads, 2)
