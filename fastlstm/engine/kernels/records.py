"""What the programs are told: one record each for the batch, a layer, the output layer and the network.

A field is a count, or the address of an array (0: there is none). Letters: T steps, B rows (sequences), N positions
(real, unpadded), H hidden units, I input width, V characters, E embedding size. A position is the row `start[t] + b`
of a compact array: rows are sorted by length, so those active at step t are the first `start[t + 1] - start[t]`.
`Hp`, `Ip` … are sizes rounded up to whole cache lines; what lies past the real units is zero.

Panels, x_operand, h_operand, dropped_operand, d_gates and d_logits are operands of products. Where operands are floats,
the rows among them are the same memory as x, h, dropped, gates and logits; else they are pairs of bfloat16, their row
strides count pairs, and a panel's rows stand for two each. A layer with a table needs its backward_x as floats.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from struct import Struct

import numpy as np


def record(*fields: str) -> np.dtype:
    return np.dtype([(field, np.int64) for field in fields])


BATCH = record(
    "steps",
    "rows",
    "positions",
    "places",  # int32 (N): each position's number in the batch that this one is a part of, 0: its own
    "start",  # int32 (T + 1): the first position of each step
    "ids",  # int32 (N)
    "targets",  # int32 (N)
    "groups",  # atoms of rows
    "bounds",  # int32 (groups + 1): the rows of each group
    "split",  # whether units, not rows, are dealt to the workers
)

LAYER = record(
    "hidden",
    "width",
    "padded",  # Hp
    "w_h", "w_h_row", "w_x", "w_x_row",  # weights (4H, H) and (4H, I) with their row strides
    "b_h", "b_x",  # biases (4H), which are added; there may be one of them, or none
    "dw_h", "dw_h_row", "dw_x", "dw_x_row", "db_h", "db_x",  # their gradients
    "forward_h", "forward_x",  # panels of line columns, gate-major: (4Hp / line, H or I, line)
    "backward_h", "backward_x",  # panels for the products with the weights themselves: (Hp or Ip / line, 4Hp, line)
    "table_x",  # as forward_x, of floats: for the table
    "bias",  # (4Hp)
    "gates", "gates_row",  # (N, 4Hp): gates i, f, g, o
    "d_gates", "d_gates_row",  # (N, 4Hp): the gradients of their arguments
    "h", "c", "h_row",  # (B + N, Hp): the initial states, then a row for each position
    "h_operand", "h_operand_row",  # (B + N, Hp): h
    "x", "x_row",  # (N, Ip) dense inputs
    "x_operand", "x_operand_row",  # (N, Ip): x
    "states_below",  # whether x are a layer's states, which begin with B initial ones
    "vocabulary",  # V, where inputs are ids: of one-hot rows, or of an embedding's
    "e",  # (V, I): the embedding, contiguous
    "e_rows",  # (V, Ip): the embedding on whole lines
    "table", "d_table",  # (V, 4Hp): what an id adds to the gates' arguments, and its gradient
    "dh",  # (N, Hp): gradients of the layer's outputs
    "dc",  # (B, Hp): gradients of cell states
    "dropped", "dropped_operand",  # (N, Hp): the outputs after dropout
    "key",  # of the layer's dropout mask
    "db_row",  # (4Hp)
    "shares",  # (atoms, 2, Hp): what each atom's gates give to dh of a single row, instead of `backward_h`
    # Of a call, in the order of the setters. Arrays of the caller's, read and written in place, are x_in and dx_out
    # (T, B, I) or (N, I), out and dout (T, B, width_out) or (N, width_out), and the other _in and _out (B, H).
    "step",  # +1 forwards in time, -1 backwards
    "packed",  # whether the panels are packed already
    "order",  # int32 (B): the caller's row of each row; 0: the same, and x, out and their gradients hold positions
    "x_in", "out",
    "begin",  # whether initial states are still to be set
    "carried",  # whether they are given (they are zero otherwise)
    "h0_in", "c0_in", "h_n_out", "c_n_out",
    "width_out",  # elements from one row of out to the next: more than H where two directions share it
    "dout", "dx_out", "dh_n_in", "dc_n_in", "dh0_out", "dc0_out",
    "dx", "dh0",  # (N, Ip) and (B, Hp), the layer's own, where these gradients are asked for
    "de",  # (V, I): the embedding's gradient, likewise
    "more",  # whether dx and de are added to what is there: the other direction's
)  # fmt: skip

HEAD = record(
    "vocabulary",
    "padded",  # Vp
    "w", "w_row", "b", "dw", "db",  # (V, H) and (V)
    "forward",  # (Vp / line, H, line)
    "backward",  # (Hp / line, V, line)
    "bias",  # (Vp), with the lowest number past V
    "divisor",  # what the gradients of the summed losses are divided by
    "logits", "logits_row",  # (N, Vp): logits, then probabilities, then their gradients
    "d_logits", "d_logits_row",  # (N, Vp): the gradients
    "losses",  # float64 (N)
    "correct",  # int32 (N)
    "pairs",  # float64 (B): rows are pairs, each pair's weight and its log-odds beforehand (`contrast_rows`); 0: they are not
    "stats",  # (groups, line): scratch
    "db_row",  # (Vp)
)  # fmt: skip

NETWORK = record(
    "layers",
    "gathered",  # whether the first layer's inputs are gathered embeddings, not table rows
    "tied",
    "embedding_keep", "embedding_key",  # dropout of the gathered embeddings
    "keep",  # dropout of the layers' outputs: an element is kept where its 32 random bits are below; 0 is no dropout
    "learned", "dh0", "dc0",  # whether initial states are parameters, and their gradients (L, H)
    "fresh",  # int32 (B): the rows whose initial states they are; 0: all
    "columns", "values",  # of conditions, and of all their values
    "given", "dgiven_h", "dgiven_c",  # int32 (B, columns): each row's values; the gradients (values, L, H) of theirs
    "packed",  # whether everything is packed already
    "backward",  # whether gradients are asked for
    "losses",  # whether losses are asked for
    "pieces",  # how many pieces of the flat buffer the optimiser updates; 0 for no update
    "piece",  # int64 (pieces, 3): offset, elements, which rule
    "p", "g", "m", "v",  # the flat buffers
    "average",  # the running mean of p, or 0
    "partial",  # float64 (pieces): sums of squares
    "numbers",  # float64 (rules, NUMBERS): the optimiser's
    "coefficients",  # (pieces, COEFFICIENTS): scratch
    "results",  # float64 (3): loss, correct, norm
)  # fmt: skip


def address(array: np.ndarray | None) -> int:
    """Where an array's data begin; 0 for none."""
    return 0 if array is None else array.__array_interface__["data"][0]


class Row:
    """One record of an array, field by field: a flat view, many times faster to set than NumPy's own records."""

    def __init__(self, records: np.ndarray, index: int = 0) -> None:
        self.numbers = records[index : index + 1].view(np.int64).data
        self.places = _places(records.dtype)

    def __getitem__(self, field: str) -> int:
        return self.numbers[self.places[field]]

    def __setitem__(self, field: str, value: int | np.ndarray | None) -> None:
        """A count or an address as it is, an array by its address, None as 0."""
        self.numbers[self.places[field]] = value if type(value) is int else _number(value)

    def fill(self, **fields: int | np.ndarray | None) -> None:
        """Set several fields."""
        numbers, places = self.numbers, self.places
        for field, value in fields.items():
            numbers[places[field]] = value if type(value) is int else _number(value)

    def setter(self, *fields: str) -> Callable[..., None]:
        """A function of one integer for each of these neighbouring fields; many times faster still."""
        first = self.places[fields[0]]
        assert [self.places[field] for field in fields] == list(range(first, first + len(fields)))
        numbers = self.numbers.cast("B")
        return partial(Struct(f"{len(fields)}q").pack_into, numbers, first * self.numbers.itemsize)


def _number(value: int | np.ndarray | None) -> int:
    return address(value) if isinstance(value, np.ndarray) else int(value or 0)


@cache
def _places(kind: np.dtype) -> dict[str, int]:
    """The number of each field."""
    return {field: n for n, field in enumerate(kind.names or ())}
