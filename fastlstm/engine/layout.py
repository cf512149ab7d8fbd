"""From shapes and lengths to the records that the programs read: batches of rows, and one layer's memory."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastlstm.engine.arena import Arena, row_stride, whole_lines
from fastlstm.engine.kernels.layer import UNITS
from fastlstm.engine.kernels.records import BATCH, Row, address

# Rows that go through all their steps together: two tiles of the usual height, which read the weights once.
GROUP = 12
# So few rows are one group.
FEW = 7
# From so many units on, a step of one group takes longer than the barrier behind it.
SPLIT = 256
# Measured where one row of 25 units went through 865 steps.
ALONE = 0.05


@lru_cache(maxsize=256)
def group_bounds(rows: int, group: int = GROUP, few: int = FEW) -> np.ndarray:
    """The first row of each group and the end, int32.

    Whole groups, an even number of them for an even number of workers; what remains is halved where it is enough, and
    else goes to every other group, and then to those between.
    """
    whole = rows // group // 2 * 2
    rest = rows - whole * group
    if rest > few or not whole:
        sizes = [group] * whole + ([rest] if rest <= few else [rest - rest // 2, rest // 2])
    else:
        more, extra = divmod(rest, whole)
        turn = [*range(0, whole, 2), *range(1, whole, 2)]
        sizes = [group + more + (turn.index(each) < extra) for each in range(whole)]
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    bounds.flags.writeable = False
    return bounds


class Plan(NamedTuple):
    """A batch as the programs see it; `start` is the first position of each step."""

    steps: int
    rows: int
    positions: int
    start: np.ndarray
    bounds: np.ndarray
    shape: np.ndarray  # the batch's record, all but what `record` adds
    places: np.ndarray | None = None  # of its positions in the batch that it is a part of

    def record(self, hidden: int, ids: np.ndarray | None, targets: np.ndarray | None = None) -> np.ndarray:
        """The batch's record for layers of `hidden` units, with ids and targets (N,) of its positions; not to be changed."""
        split = self.split(hidden)
        if ids is None and not split:
            return self.shape
        record = self.shape.copy()
        Row(record).fill(ids=ids, targets=targets, split=split)
        return record

    def paired(self) -> Plan:
        """Each row twice, the two side by side and in one group; dropout is the same for both."""
        places = np.arange(self.positions, dtype=np.int32) if self.places is None else self.places
        plan, places = plan_of(2 * self.start, 2 * self.rows), np.repeat(places, 2)
        bounds, shape = 2 * group_bounds(self.rows, GROUP // 2, FEW // 2), plan.shape
        Row(shape).fill(bounds=bounds, groups=len(bounds) - 1, places=places)
        return plan._replace(bounds=bounds, places=places)

    def active(self) -> np.ndarray:
        """(T, B): which steps of the padded batch are positions."""
        return (self.start[1:] - self.start[:-1])[:, None] > np.arange(self.rows)

    def split(self, hidden: int) -> bool:
        """Whether the workers share a step's units: a single group of rows would leave all but one idle."""
        return len(self.bounds) == 2 and hidden >= SPLIT

    def single(self, hidden: int) -> bool:
        """Whether the workers share the units of a single row."""
        return self.rows == 1 and self.split(hidden)

    def shared(self, hidden: int, directions: int = 1) -> float:
        """The share of the time that several workers can have: of a single group only the weights' gradients."""
        return 1.0 if len(self.bounds) > 2 or directions > 1 or self.split(hidden) else ALONE


def plan_of(start: np.ndarray, rows: int) -> Plan:
    """The plan of a batch of `rows` rows whose steps begin at the positions `start` (T + 1), int32."""
    steps, positions, bounds = len(start) - 1, int(start[-1]), group_bounds(rows)
    shape = np.zeros(1, BATCH)
    Row(shape).fill(
        steps=steps,
        rows=rows,
        positions=positions,
        start=start,
        bounds=bounds,
        groups=len(bounds) - 1,
    )
    return Plan(steps, rows, positions, start, bounds, shape)


class Share(NamedTuple):
    """A batch that is a part of a larger one: which rows (b,) of it, in its order; the first position there of each step (T + 1).

    `whole` is the number of the larger batch's positions.
    """

    rows: np.ndarray
    start: np.ndarray
    whole: int

    def plan(self, plan: Plan) -> Plan:
        """A batch's plan with its positions' places in the larger one, which dropout goes by."""
        every = self.start[: plan.steps, None] + self.rows
        places = np.ascontiguousarray(every[plan.active()], np.int32)
        shape = plan.shape.copy()
        Row(shape).fill(places=places)
        return plan._replace(shape=shape, places=places)


class Contrast(NamedTuple):
    """What each row's values are to be told from: other ones, `given` (B, columns), and `terms`, float64 (B, 2).

    These are the weight of the row's term, and the log-odds of its own values against the others before the row is read.
    """

    given: np.ndarray
    terms: np.ndarray

    def of_rows(self, rows: slice | np.ndarray) -> Contrast:
        """The same of some rows."""
        return Contrast(self.given[rows], np.ascontiguousarray(self.terms[rows]))


class Window(NamedTuple):
    """Later steps of a batch: ids and targets (T, b), lengths (b,) of its first b rows, as a share of it."""

    ids: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray
    share: Share


class Place(NamedTuple):
    """Where an array's rows begin, and how many elements lie from one to the next; whoever made it keeps it."""

    address: int
    row: int


def place(array: np.ndarray) -> Place:
    """Where the rows of (…, n) are; NumPy gives a dimension of size 1 any stride."""
    return Place(address(array), array.strides[-2 if array.shape[-2] > 1 else 0] // array.itemsize)


class Weights(NamedTuple):
    """Where a layer's recurrent (4H, H) and input weights (4H, I) and its two biases (4H,) are, or their gradients.

    Biases are added; 0 stands for none.
    """

    w_h: Place
    w_x: Place
    b_h: int
    b_x: int = 0


def fused_weights(W: np.ndarray, b: np.ndarray) -> Weights:
    """Where the weights are in W (4H, H + I) and b (4H,), or their gradients."""
    H = len(W) // 4
    return Weights(place(W[:, :H]), place(W[:, H:]), address(b))


class Room(NamedTuple):
    """How much memory is kept: for batches of at most so many rows and positions."""

    rows: int
    positions: int


@lru_cache(maxsize=64)
def full_plan(steps: int, rows: int) -> Plan:
    """Every row is active at every step."""
    return plan_of(np.arange(steps + 1, dtype=np.int32) * np.int32(rows), rows)


def ragged_plan(steps: int, lengths: np.ndarray) -> Plan:
    """Row b is active at steps 0 … lengths[b] − 1; lengths in non-increasing order."""
    active = len(lengths) - np.searchsorted(lengths[::-1], np.arange(steps), side="right")
    return packed_plan(active, len(lengths))


def packed_plan(active: np.ndarray, rows: int) -> Plan:
    """The first active[t] of the rows are active at step t; the numbers do not increase."""
    start = np.zeros(len(active) + 1, np.int32)
    np.cumsum(active, out=start[1:])
    return plan_of(start, rows)


def sorted_plan(steps: int, rows: int, lengths: np.ndarray | None) -> tuple[Plan, np.ndarray | None]:
    """The plan of a padded batch, and the order (B,), int32, of its rows by falling length where not all are full."""
    if lengths is None:
        return full_plan(steps, rows), None
    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    return ragged_plan(steps, lengths[order]), order


class LayerMemory:
    """The arrays of one layer in an arena, and its record."""

    def __init__(self, arena: Arena, name: str, record: Row, hidden: int, width: int) -> None:
        self.arena, self.name, self.record = arena, name, record
        self.hidden, self.width = hidden, width
        dtype = arena.dtype
        self.line = whole_lines(1, dtype)
        self.padded, self.row = whole_lines(hidden, dtype), row_stride(hidden, dtype)
        self.x_padded, self.x_row = whole_lines(width, dtype), row_stride(width, dtype)
        self.gates_row = row_stride(4 * self.padded, dtype)
        record.fill(hidden=hidden, width=width, padded=self.padded, step=1, h_row=self.row, x_row=self.x_row,
             gates_row=self.gates_row, h_operand_row=arena.operand_row(hidden),
             x_operand_row=arena.operand_row(width), d_gates_row=arena.operand_row(4 * self.padded))  # fmt: skip
        self._weights = record.setter("w_h", "w_h_row", "w_x", "w_x_row", "b_h", "b_x")
        self._gradients = record.setter("dw_h", "dw_h_row", "dw_x", "dw_x_row", "db_h", "db_x")
        self.panels()

    def panels(self) -> None:
        """Room for the packed weights and the bias."""
        four = 4 * self.padded
        self.keep_operands("forward_h", four // self.line, self.arena.steps(self.hidden), self.line)
        self.keep_operands("forward_x", four // self.line, self.arena.steps(self.width), self.line)
        self.keep("bias", four)

    def keep(self, field: str, *shape: int) -> np.ndarray:
        """Allocate a field of floats of the record."""
        array = self.arena.take(f"{self.name}.{field}", *shape)
        self.record[field] = array
        return array

    def keep_operands(self, field: str, *shape: int) -> None:
        """Allocate a field of operands; a shape counts pairs where they are pairs."""
        self.record[field] = self.arena.take(f"{self.name}.{field}", *shape, dtype=self.arena.operands)

    def keep_as(self, field: str, floats: str, *shape: int) -> None:
        """Allocate a field of operands that are made of floats; where they are floats themselves, it is that field."""
        if self.arena.paired:
            self.keep_operands(field, *shape)
        else:
            self.record[field] = self.record[floats]

    def weights(self, weights: Weights) -> None:
        self._weights(*weights.w_h, *weights.w_x, weights.b_h, weights.b_x)

    def gradients(self, weights: Weights) -> None:
        self._gradients(*weights.w_h, *weights.w_x, weights.b_h, weights.b_x)

    def table(self, vocabulary: int, embedded: bool, backward: bool) -> None:
        """Inputs are ids, which go through a table: made of floats, not by the panels of operands.

        They stand for one-hot rows or, if `embedded`, for rows of an embedding.
        """
        self.record["vocabulary"] = vocabulary
        self.keep("table", vocabulary, self.gates_row)
        if self.arena.paired:
            self.keep("table_x", 4 * self.padded // self.line, self.width, self.line)
            self.record["forward_x"] = 0
        else:
            self.record["table_x"] = self.record["forward_x"]
        if backward:
            self.keep("d_table", vocabulary, self.gates_row)
        if backward and embedded:
            self.keep("e_rows", vocabulary, self.x_row)

    def forward(self, room: Room) -> None:
        """Room for a batch's activations."""
        self.keep("gates", room.positions, self.gates_row)
        self.keep("h", room.rows + room.positions, self.row)
        self.keep("c", room.rows + room.positions, self.row)
        self.keep_as("h_operand", "h", room.rows + room.positions, self.record["h_operand_row"])

    def backward(self, room: Room, inputs: bool, single: bool) -> None:
        """Room for a batch's gradients; with `inputs`, the transposed input weights too.

        The recurrent ones are not needed by a `single` row of many units (kernels/single.py).
        """
        four = 4 * self.padded
        if single:
            self.keep("shares", -(-self.padded // UNITS), 2, self.row)
        else:
            self.keep_operands("backward_h", self.padded // self.line, self.arena.steps(four), self.line)
        if inputs and self.record["table"]:
            self.keep("backward_x", self.x_padded // self.line, four, self.line)
        elif inputs:
            self.keep_operands("backward_x", self.x_padded // self.line, self.arena.steps(four), self.line)
        self.keep_as("d_gates", "gates", room.positions, self.record["d_gates_row"])
        self.keep("dh", room.positions, self.row)
        self.keep("dc", room.rows, self.row)
        self.keep("db_row", four)
