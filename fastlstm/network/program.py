"""A network's memory and its call of the compiled program."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlstm.engine import workers
from fastlstm.engine.arena import Arena, Uncopied, row_stride, whole_lines
from fastlstm.engine.kernels.network import network_program
from fastlstm.engine.kernels.optimizer import COEFFICIENTS
from fastlstm.engine.kernels.records import HEAD, LAYER, NETWORK, Row
from fastlstm.engine.layout import LayerMemory, Plan, Room, fused_weights
from fastlstm.engine.memory import aligned
from fastlstm.engine.parameters import Parameters
from fastlstm.network.architecture import Architecture, State
from fastlstm.network.optim import Optimizer


def dropout_threshold(probability: float) -> int:
    """Of 2³² equally likely numbers, how many keep an element, neither none nor all; 0 for no dropout."""
    return min(max(round((1 - probability) * 2**32), 1), 2**32 - 1) if probability else 0


def layer_keys(key: int, count: int) -> list[int]:
    """`count` keys of 32 bits from one integer, mixed by splitmix64 (Steele, Lea and Flood, 2014)."""
    keys = []
    for n in range(1, count + 1):
        z = (key + n * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        keys.append((z ^ z >> 31) >> 32)
    return keys


class Pass(NamedTuple):
    """What a call of the program is to do, apart from its data."""

    losses: bool
    backward: bool
    gathered: bool
    dropping: bool
    single: bool
    optimizer: tuple[int, ...]  # which one, and which buffers it has


class Program(Uncopied):
    """The arena of one network, the records that point into it, and `run`."""

    def __init__(
        self, architecture: Architecture, parameters: Parameters, gradients: Parameters, paired: bool = False
    ) -> None:
        """`paired`: operands of the large products are pairs of bfloat16."""
        self.architecture, self.parameters, self.gradients = architecture, parameters, gradients
        self.arena = Arena(architecture.dtype, paired)
        self.records = np.zeros(architecture.layers, LAYER)
        self.network, self.head = np.zeros(1, NETWORK), np.zeros(1, HEAD)
        self._row, self._head_row = Row(self.network), Row(self.head)
        self.results, self.positions = np.zeros(3), 0
        # Any array of what operands are elements of tells the program which type it is.
        self.like = aligned(1, self.arena.operands)
        self.freeze(False)
        self._kind: Pass | None = None
        self._room = Room(0, 0)
        self._updating: list[object] = []
        self.layers = [self._layer(l) for l in range(architecture.layers)]
        self._head()
        self._network()

    def _layer(self, l: int) -> LayerMemory:
        a, p, g = self.architecture, self.parameters, self.gradients
        width = a.hidden if l else (a.embedding or a.vocabulary)
        memory = LayerMemory(self.arena, f"lstm.{l}", Row(self.records, l), a.hidden, width)
        memory.weights(fused_weights(p[f"lstm.{l}.W"], p[f"lstm.{l}.b"]))
        memory.gradients(fused_weights(g[f"lstm.{l}.W"], g[f"lstm.{l}.b"]))
        memory.record["begin"] = 1
        return memory

    def _head(self) -> None:
        a, p, g = self.architecture, self.parameters, self.gradients
        dtype, name = self.arena.dtype, "embedding" if a.tied else "head.W"
        line, padded = whole_lines(1, dtype), whole_lines(a.vocabulary, dtype)
        take, arena = self.arena.address, self.arena
        forward = take("head.forward", padded // line, arena.steps(a.hidden), line, dtype=arena.operands)
        self._head_row.fill(vocabulary=a.vocabulary, padded=padded, w=p[name], w_row=a.hidden, b=p["head.b"], dw=g[name],
             db=g["head.b"], forward=forward, bias=take("head.bias", padded),
             logits_row=row_stride(a.vocabulary, dtype), db_row=take("head.db_row", padded),
             d_logits_row=arena.operand_row(a.vocabulary))  # fmt: skip

    def _network(self) -> None:
        a, p, g = self.architecture, self.parameters, self.gradients
        self._row.fill(layers=a.layers, tied=a.tied, p=p.flat, g=g.flat, results=self.results)
        if a.embedding:
            self.layers[0].record.fill(vocabulary=a.vocabulary, e=p["embedding"], de=g["embedding"])
        if a.learned_state:
            self._row.fill(dh0=g["h0"], dc0=g["c0"])
        if a.conditions:
            self._row.fill(
                columns=len(a.conditions), values=a.values, dgiven_h=g["given.h"], dgiven_c=g["given.c"]
            )

    def freeze(self, frozen: bool) -> None:
        """Whether the parameters stay as they are until the next call of this."""
        self.frozen, self._packed = frozen, False

    def run(
        self,
        plan: Plan,
        ids: np.ndarray,
        targets: np.ndarray | None,
        state: State | None,
        final: State | None,
        threads: int | None,
        *,
        backward: bool = False,
        dropout_key: int | None = None,
        fresh: np.ndarray | None = None,
        given: np.ndarray | None = None,
        optimizer: Optimizer | None = None,
        rate: float = 0.0,
        divisor: int | None = None,
        pairs: np.ndarray | None = None,
    ) -> None:
        """Run the program over one batch; what it leaves is in `logits`, `losses`, `results`, `final` and the gradients.

        The arrays of both states (L, B, H) are contiguous and of the network's dtype; `fresh`, int32 (B), says in which
        rows they are those that sequences start from, None: in all. `given`, int32 (B, columns), has each row's values
        among all conditions' and is there where its gradients are asked for. With `pairs`, float64 (B/2, 2), rows are those of a
        paired plan, and these the terms of a `Contrast`.
        """
        a, network = self.architecture, self._row
        dropping = dropout_key is not None and bool(a.dropout or a.embedding_dropout)
        # A table has a row for each character: too many for a small batch, unless it is made once and for all.
        few = a.vocabulary > plan.positions and (backward or not self.frozen)
        gathered = bool(a.embedding) and (few or (dropping and a.embedding_dropout > 0))
        updating = () if optimizer is None else (id(optimizer), *map(id, optimizer.buffers))
        kind = Pass(
            targets is not None, backward, gathered, dropping, backward and plan.single(a.hidden), updating
        )
        self._reserve(plan, kind, optimizer)
        network["packed"], self._packed = self._packed, False
        self.positions, self._head_row["divisor"] = plan.positions, divisor or plan.positions
        network["learned"], network["fresh"] = a.learns_states, fresh
        network["given"] = given
        self._head_row["pairs"] = pairs
        if dropping:
            keys = layer_keys(dropout_key or 0, a.layers + 1)
            network["embedding_key"] = keys[-1]
            self.records["key"] = keys[:-1]
        for l, memory in enumerate(self.layers):
            (h0, c0), (h_n, c_n) = ((None, None) if s is None else (s.h[l], s.c[l]) for s in (state, final))
            memory.record.fill(carried=state is not None, h0_in=h0, c0_in=c0, h_n_out=h_n, c_n_out=c_n)
        if optimizer is not None:
            optimizer.begin(rate)
        work = (6.0 if backward else 2.0) * plan.positions * self.parameters.flat.size
        workers.run(network_program, plan.record(a.hidden, ids, targets), self.records, self.head, self.network,
                    self.like, threads=threads, work=work * plan.shared(a.hidden))  # fmt: skip
        self._packed = self.frozen

    def _reserve(self, plan: Plan, kind: Pass, optimizer: Optimizer | None) -> None:
        """Room for a batch and the records that say where it is, unless the last batch's will do."""
        rows, positions = self._room
        if kind == self._kind and plan.rows <= rows and plan.positions <= positions:
            return
        # Until all of it is done, nothing is: an interruption may leave records without addresses.
        self._kind, self._packed = None, False
        room = Room(max(rows, plan.rows), max(positions, plan.positions))
        a = self.architecture
        self._row.fill(gathered=kind.gathered, backward=kind.backward, losses=kind.losses, pieces=0,
             keep=dropout_threshold(a.dropout) if kind.dropping else 0,
             embedding_keep=dropout_threshold(a.embedding_dropout) if kind.dropping else 0)  # fmt: skip
        for l in range(a.layers):
            self._reserve_layer(l, room, kind)
        self._reserve_head(room, kind.backward)
        if optimizer is not None:
            self._reserve_update(optimizer)
        self._kind, self._room = kind, room

    def _reserve_layer(self, l: int, room: Room, kind: Pass) -> None:
        a, memory, record = self.architecture, self.layers[l], self.layers[l].record
        memory.forward(room)
        record.fill(table=0, d_table=0, e_rows=0, x=0, x_operand=0, states_below=0, dx=0, dropped=0, dropped_operand=0, dh0=0,
             shares=0, backward_h=0, backward_x=0)  # fmt: skip
        if l:
            below = self.layers[l - 1].record
            record.fill(x_operand=below["dropped_operand"] or below["h_operand"],
                        states_below=not below["dropped"])  # fmt: skip
        elif kind.gathered:
            memory.panels()
            memory.keep("x", room.positions, memory.x_row)
            memory.keep_as("x_operand", "x", room.positions, record["x_operand_row"])
        else:
            memory.table(a.vocabulary, a.embedding > 0, kind.backward)
        if kind.dropping and a.dropout:
            memory.keep("dropped", room.positions, memory.row)
            memory.keep_as("dropped_operand", "dropped", room.positions, record["h_operand_row"])
        if not kind.backward:
            return
        memory.backward(room, l > 0 or a.embedding > 0, kind.single)
        if a.learns_states:
            memory.keep("dh0", room.rows, memory.row)
        if l:
            record["dx"] = self.layers[l - 1].record["dh"]
        elif kind.gathered:
            memory.keep("dx", room.positions, memory.x_row)

    def _reserve_head(self, room: Room, backward: bool) -> None:
        a, take = self.architecture, self.arena.address
        top, line = self.layers[-1], self.layers[-1].line
        record, operands = self._head_row, self.arena.operands
        self.logits = d_logits = self.arena.take("head.logits", room.positions, record["logits_row"])
        if self.arena.paired:
            d_logits = self.arena.take(
                "head.d_logits", room.positions, record["d_logits_row"], dtype=operands
            )
        self.losses = self.arena.take("head.losses", room.positions, dtype="float64")
        record.fill(logits=self.logits, d_logits=d_logits if backward else 0, losses=self.losses,
             correct=take("head.correct", room.positions, dtype="int32"),
             stats=take("head.stats", room.rows, line),
             backward=backward and take("head.backward", top.padded // line, self.arena.steps(a.vocabulary), line,
                                        dtype=operands))  # fmt: skip

    def _reserve_update(self, optimizer: Optimizer) -> None:
        pieces, v, average = optimizer.pieces, optimizer.moments.get("v"), optimizer.average
        self._row.fill(pieces=len(pieces), piece=pieces, m=optimizer.moments["m"].flat, v=v and v.flat,
             average=average and average.flat, numbers=optimizer.numbers,
             partial=self.arena.address("partial", len(pieces), dtype="float64"),
             coefficients=self.arena.address("coefficients", len(pieces), COEFFICIENTS))  # fmt: skip
        # The records hold addresses: what is there must outlive them.
        self._updating = [optimizer, *optimizer.buffers]
