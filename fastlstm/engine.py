"""A network's memory and its call of the compiled program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastlstm import workers
from fastlstm.arena import Arena, row_stride, whole_lines
from fastlstm.kernels.network import network_program
from fastlstm.kernels.records import HEAD, LAYER, NETWORK, address, fill
from fastlstm.layout import LayerMemory, Plan
from fastlstm.parameters import Parameters

if TYPE_CHECKING:
    from fastlstm.model import Architecture, State
    from fastlstm.optim import Optimizer


def dropout_threshold(probability: float) -> int:
    """Of 2³² equally likely numbers, how many keep an element; 0 for no dropout."""
    return round((1 - probability) * 2**32) if probability else 0


class Engine:
    """The arena of one network, the records that point into it, and `run`."""

    def __init__(self, architecture: Architecture, parameters: Parameters, gradients: Parameters) -> None:
        self.architecture, self.parameters, self.gradients = architecture, parameters, gradients
        self.arena = Arena(architecture.dtype)
        self.records = np.zeros(architecture.layers, LAYER)
        self.network, self.head = np.zeros(1, NETWORK), np.zeros(1, HEAD)
        self.results = np.zeros(3)
        self.layers = [self._layer(l) for l in range(architecture.layers)]
        self._head()
        self._network()

    def _layer(self, l: int) -> LayerMemory:
        a, p, g = self.architecture, self.parameters, self.gradients
        width = a.hidden if l else (a.embedding or a.vocabulary)
        memory = LayerMemory(self.arena, f"lstm.{l}", self.records[l], a.hidden, width)
        W, dW = p[f"lstm.{l}.W"], g[f"lstm.{l}.W"]
        memory.weights(W[:, : a.hidden], W[:, a.hidden :], p[f"lstm.{l}.b"])
        memory.gradients(dW[:, : a.hidden], dW[:, a.hidden :], g[f"lstm.{l}.b"])
        return memory

    def _head(self) -> None:
        a, p, g = self.architecture, self.parameters, self.gradients
        dtype, name = self.arena.dtype, "embedding" if a.tied else "head.W"
        line, padded = whole_lines(1, dtype), whole_lines(a.vocabulary, dtype)
        take = self.arena.address
        fill(self.head[0], vocabulary=a.vocabulary, padded=padded, w=p[name], w_row=a.hidden, b=p["head.b"], dw=g[name],
             db=g["head.b"], forward=take("head.forward", padded // line, a.hidden, line), bias=take("head.bias", padded),
             logits_row=row_stride(a.vocabulary, dtype), db_row=take("head.db_row", padded))  # fmt: skip

    def _network(self) -> None:
        a, p, g = self.architecture, self.parameters, self.gradients
        fill(self.network[0], layers=a.layers, vocabulary=a.vocabulary, embedding=a.embedding, tied=a.tied, p=p.flat,
             g=g.flat, results=self.results)  # fmt: skip
        if a.embedding:
            row = row_stride(a.embedding, self.arena.dtype)
            fill(self.network[0], e=p["embedding"], de=g["embedding"], e_row=row,
                 e_rows=self.arena.address("e_rows", a.vocabulary, row))  # fmt: skip
        if a.learned_state:
            fill(self.network[0], dh0=g["h0"], dc0=g["c0"])

    def run(
        self,
        plan: Plan,
        ids: np.ndarray,
        targets: np.ndarray | None,
        state: State | None,
        threads: int | None,
        *,
        backward: bool = False,
        dropout_key: int | None = None,
        went_on: bool = False,
        optimizer: Optimizer | None = None,
        numbers: np.ndarray | None = None,
    ) -> None:
        """Run the program over one batch; what it leaves is in `logits`, `results`, the layers and the gradients."""
        a, network = self.architecture, self.network[0]
        batch = plan.record()
        fill(batch[0], ids=ids, targets=targets)
        dropping = dropout_key is not None
        gathered = bool(a.embedding) and ((dropping and a.embedding_dropout > 0) or a.vocabulary > plan.positions)
        fill(network, gathered=gathered, backward=backward, losses=targets is not None,
             learned=(2 if went_on else 1) if a.learned_state else 0, pieces=0,
             keep=dropout_threshold(a.dropout) if dropping else 0,
             embedding_keep=dropout_threshold(a.embedding_dropout) if dropping else 0)  # fmt: skip
        if dropping:
            keys = np.random.SeedSequence(dropout_key).generate_state(a.layers + 1)
            network["embedding_key"] = keys[-1]
            self.records["key"] = keys[:-1]
        for l in range(a.layers):
            self._prepare_layer(l, plan, state, gathered, backward, dropping)
        self._prepare_head(plan, backward)
        if optimizer is not None and numbers is not None:
            self._prepare_update(optimizer, numbers)
        work = 2.0 * plan.positions * sum(p.size for p in (self.parameters.flat,)) * (3 if backward else 1)
        workers.run(network_program, batch, self.records, self.head, self.network, self.parameters.flat,
                    threads=threads, work=work)  # fmt: skip

    def _prepare_layer(
        self, l: int, plan: Plan, state: State | None, gathered: bool, backward: bool, dropping: bool
    ) -> None:
        a, memory, record = self.architecture, self.layers[l], self.records[l]
        memory.forward(plan)
        memory.start(plan, *((None, None) if state is None else (state.h[l], state.c[l])))
        ids = l == 0 and not gathered
        fill(record, table=0, d_table=0, x=0, dx=0, dropped=0, dh0=0)
        if ids:
            memory.table(a.vocabulary, backward)
        elif l == 0:
            memory.keep("x", plan.positions, memory.x_row)
        else:
            below = self.records[l - 1]
            skip = 0 if below["dropped"] else plan.rows * memory.x_row * self.arena.dtype.itemsize
            record["x"] = int(below["dropped"] or below["h"]) + skip
        if dropping and a.dropout:
            memory.keep("dropped", plan.positions, memory.row)
        if backward:
            memory.backward(plan, inputs=l > 0 or a.embedding > 0)
            memory.dc[: plan.rows] = 0
            if a.learned_state:
                memory.keep("dh0", plan.rows, memory.row)
            if l:
                record["dx"] = self.records[l - 1]["dh"]
            elif gathered:
                memory.keep("dx", plan.positions, memory.x_row)
        else:
            fill(record, backward_h=0, backward_x=0)

    def _prepare_head(self, plan: Plan, backward: bool) -> None:
        a, take = self.architecture, self.arena.address
        top, line = self.layers[-1], self.layers[-1].line
        self.logits = self.arena.take("head.logits", plan.positions, int(self.head[0]["logits_row"]))
        fill(self.head[0], logits=self.logits,
             losses=take("head.losses", plan.positions, dtype="float64"),
             correct=take("head.correct", plan.positions, dtype="int32"),
             stats=take("head.stats", len(plan.bounds), line),
             backward=take("head.backward", top.padded // line, a.vocabulary, line) if backward else 0)  # fmt: skip

    def _prepare_update(self, optimizer: Optimizer, numbers: np.ndarray) -> None:
        pieces = optimizer.pieces
        moments = [optimizer.moments.get(name) for name in ("m", "v")]
        m, v = (None if moment is None else moment.flat for moment in moments)
        fill(self.network[0], pieces=len(pieces), piece=pieces, m=m, v=v, numbers=numbers,
             partial=self.arena.address("partial", len(pieces), dtype="float64"),
             coefficients=self.arena.address("coefficients", len(pieces), self.layers[0].line))  # fmt: skip
        self.updating = (optimizer, numbers, address(numbers))
