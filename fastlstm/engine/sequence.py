"""A layer's memory between calls: frozen weights, caches, and the calls of its compiled programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
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
    fused_weights,
)
from fastlstm.engine.memory import aligned

# Where hidden and cell states (D, B, H), or their gradients, are: contiguous. 0: they are zero; both 0 for results: they are
# not wanted.
Addresses = tuple[int, int]


class Kind(NamedTuple):
    """What decides a layer's memory, apart from the batch.

    `ids` says that its inputs are ids, not floats: of one-hot rows or, if `embedded`, of an embedding's. `paired`: operands of
    products are pairs of bfloat16. One of two `directions` goes backwards.
    """

    dtype: np.dtype
    hidden: int
    width: int
    ids: bool
    paired: bool = False
    embedded: bool = False
    directions: int = 1


class Ids(NamedTuple):
    """Inputs that are ids (T, B): of one-hot rows, or of those of the embedding at the address `e`, contiguous (V, I)."""

    ids: np.ndarray
    e: int = 0
    vocabulary: int = 0


class Direction:
    """One direction of a layer: its memory, and its record's fields that each call sets."""

    def __init__(self, arena: Arena, records: np.ndarray, d: int, kind: Kind) -> None:
        self.record = Row(records, d)
        self.memory = LayerMemory(arena, f"lstm.{d}", self.record, kind.hidden, kind.width)
        self.record["more"] = d > 0
        self.set_forward = self.record.setter(
            "step", "packed", "order", "x_in", "out", "begin", "carried", "h0_in", "c0_in", "h_n_out", "c_n_out",
            "width_out"
        )  # fmt: skip
        self.set_backward = self.record.setter(
            "width_out", "dout", "dx_out", "dh_n_in", "dc_n_in", "dh0_out", "dc0_out", "dx", "dh0", "de"
        )
        self.dh0 = 0


class Workspace(Uncopied):
    """The arena and records of one layer's shape, used by one call or cache at a time."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.arena = Arena(kind.dtype, kind.paired)
        self.records = np.zeros(kind.directions, LAYER)
        self.directions = [Direction(self.arena, self.records, d, kind) for d in range(kind.directions)]
        # Any array of what operands are elements of tells the programs which type it is.
        self.like = aligned(1, self.arena.operands)
        self._use: tuple[bool, bool, Sequence[Frozen]] | None = None
        self._room = 0, 0, 0
        self.dx = 0

    def reserve(self, plan: Plan, backward: bool, frozen: Sequence[Frozen], vocabulary: int = 0) -> None:
        """Room for a batch and the records that say where it is, unless the last batch's will do.

        `vocabulary`: so many rows an embedding has.
        """
        single = backward and plan.single(self.kind.hidden)
        use = backward, single, frozen
        needed = plan.rows, plan.positions, vocabulary
        if use == self._use and all(n <= have for n, have in zip(needed, self._room, strict=True)):
            return
        rows, positions, vocabulary = map(max, needed, self._room)
        room = Room(rows, positions)
        # Until all of it is done, nothing is: an interruption may leave a record without addresses.
        self._use = None
        vectors = not self.kind.ids or self.kind.embedded
        for d, direction in enumerate(self.directions):
            memory, record = direction.memory, direction.record
            if frozen:
                frozen[d].lend(record, self.kind.ids)
            else:
                memory.panels()
                if self.kind.ids:
                    memory.table(vocabulary or memory.width, self.kind.embedded, backward)
            memory.forward(room)
            record.fill(shares=0, backward_h=0, backward_x=0)
            if backward:
                memory.backward(room, vectors, single)
                direction.dh0 = address(memory.keep("dh0", room.rows, memory.row))
            if not self.kind.ids:
                memory.keep("x", room.positions, memory.x_row)
                memory.keep_as("x_operand", "x", room.positions, record["x_operand_row"])
        if backward and vectors:
            memory = self.directions[0].memory
            self.dx = address(memory.keep("dx", room.positions, memory.x_row))
        self._use, self._room = use, (rows, positions, vocabulary)


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
        memory = self.workspace.directions[0].memory
        memory.weights(self.weights)
        if ids:
            memory.table(self.width, False, False)
        memory.panels()
        workers.run(pack_program, self.workspace.records, self.workspace.like)

    def lend(self, record: Row, ids: bool) -> None:
        """Let another layer's record read these panels."""
        own = self.workspace.directions[0].record
        for field in ("forward_h", "forward_x", "bias"):
            record[field] = own[field]
        record["table"] = own["table"] if ids else 0


class Cache(Uncopied):
    """What a forward pass leaves for its backward pass; it owns its data."""

    def __init__(
        self, workspace: Workspace, plan: Plan, order: np.ndarray | None, ids: np.ndarray | None
    ) -> None:
        self.workspace, self.plan, self.order, self.ids = workspace, plan, order, ids
        self.dtype, self.hidden, self.width, *_, self.directions = workspace.kind
        self.row_bytes = self.hidden * self.dtype.itemsize
        # The backward pass writes over the gates; a second one has them computed again.
        self.spent = False
        # One backward pass at a time.
        self.lock = Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """Steps and sequences."""
        return self.plan.steps, self.plan.rows

    def states(self, first: Addresses, d: int) -> Addresses:
        """Where the states of direction d are, if those of the first are there."""
        further = d * self.plan.rows * self.row_bytes
        return first[0] and first[0] + further, first[1] and first[1] + further

    def run(self, program: Callable[..., None], threads: workers.Threads, passes: int) -> None:
        """Run one of the layer's programs; `passes` is 1 for forward, 2 for backward."""
        work = 8.0 * passes * self.directions * self.plan.positions * self.hidden * (self.hidden + self.width)
        work *= self.plan.shared(self.hidden, self.directions)
        workers.run(
            program,
            self.plan.record(self.hidden, self.ids),
            self.workspace.records,
            self.workspace.like,
            threads=threads,
            work=work,
        )

    def __del__(self) -> None:
        # A cache may end before it has begun, and when the process ends, the module's names may be gone.
        workspace: Workspace | None = getattr(self, "workspace", None)
        if workspace is not None and _free is not None and workspace.arena.bytes <= (KEPT_BYTES or 0):
            _free.appendleft(workspace)


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
    weights: Sequence[Weights] | Sequence[Frozen],
    initial: Addresses,
    out: Place,
    final: Addresses,
    keep_cache: bool,
    threads: workers.Threads,
    reverse: bool = False,
) -> Cache | None:
    """`lstm_forward` for valid arguments: fills `out` and the final states.

    x is where the inputs are, contiguous rows, or ids. With an order they are (T, B, I), and out is (T, B, D·H). Without one,
    x and out hold the plan's positions and no others, which is the same in a batch of full sequences. Of two directions, each
    of which has its weights, the second one is the reverse.
    """
    vectors, (ids, e, vocabulary) = (0, x) if isinstance(x, Ids) else (x, (None, 0, 0))
    cache = Cache(take_workspace(kind), plan, order, None if ids is None else compact_ids(ids, plan, order))
    workspace = cache.workspace
    lent = [] if keep_cache else [own for own in weights if isinstance(own, Frozen)]
    workspace.reserve(plan, keep_cache, lent, vocabulary)
    rows, carried = address(order), initial != (0, 0)
    for d, (direction, own) in enumerate(zip(workspace.directions, weights, strict=True)):
        if not lent:
            direction.memory.weights(own.weights if isinstance(own, Frozen) else own)
        direction.record.fill(e=e, vocabulary=vocabulary or kind.width)
        direction.set_forward(
            -1 if reverse or d else 1,
            bool(lent),
            rows,
            vectors,
            out.address + d * cache.row_bytes,
            1,
            carried,
            *cache.states(initial, d),
            *cache.states(final, d),
            out.row,
        )
    cache.run(forward_program, threads, 1)
    if not keep_cache:
        return None
    # The panels now hold what the backward pass needs of the weights; nothing of the caller's is read or written again.
    for direction in workspace.directions:
        direction.set_forward(direction.record["step"], 1, rows, 0, 0, 0, carried, 0, 0, 0, 0, 0)
    return cache


def backward(
    dout: Place,
    cache: Cache,
    final: Addresses,
    dx: int,
    gradients: Sequence[Weights],
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
        for d, (direction, own) in enumerate(zip(workspace.directions, gradients, strict=True)):
            direction.set_backward(
                dout.row,
                dout.address + d * cache.row_bytes,
                dx,
                *cache.states(final, d),
                *cache.states(initial, d),
                dx and workspace.dx,
                direction.dh0 if initial != (0, 0) else 0,
                de,
            )
            direction.memory.gradients(own)
        cache.run(backward_program, threads, 2)
