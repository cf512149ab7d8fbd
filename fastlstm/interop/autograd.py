"""One LSTM layer as a node of PyTorch's graph.

Letters: T time steps, B sequences, I inputs, H hidden size, D directions, N real steps of a packed batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from fastlstm.engine.layout import Place, Plan, Weights
from fastlstm.engine.sequence import Cache, Frozen, Ids, Kind, backward, forward
from fastlstm.interop.crew import crew
from fastlstm.interop.gate import DTYPES, Options, foreign, leave, recording, uncompiled
from fastlstm.interop.rows import Rows, only_the_embedding


class Call(NamedTuple):
    """All about a layer's call but its tensors.

    `paired`: products multiply in bfloat16. `batch_first`: x is (B, T, I), not (T, B, I). `rows`: what x is made from.
    """

    plan: Plan
    options: Options
    paired: bool
    batch_first: bool = False
    rows: Rows | None = None

    def in_time(self, x: Tensor) -> Tensor:
        """x, or what has its shape, with the time first; or back again."""
        return x.transpose(0, 1) if self.batch_first else x


def run(
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    call: Call,
    *weights: Any,
    keep_cache: bool = False,
    frozen: Sequence[Frozen] = (),
) -> tuple[Tensor, Tensor, Tensor, Cache | None]:
    """From x and states (D, B, H) to outputs (T, B, D·H), final states (D, B, H) and, if kept, the cache.

    x is (T, B, I), or (B, T, I). Of a packed batch or a single sequence it is (N, I), and the outputs are (N, D·H). The
    weights are PyTorch's: for each direction weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H,), the last two
    perhaps None. All have been through the gate, and their shapes fit: the engine trusts what it gets. `frozen` are the
    weights packed, for each direction.
    """
    x, plan, rows = call.in_time(x), call.plan, call.rows
    (*shape, I), H, D, B = x.shape, weights[1].shape[1], len(weights) // 4, plan.rows
    h0, c0, *plain = map(_plain, (h0, c0, *weights))
    if rows is not None:
        ids = rows.ids.T if call.batch_first else rows.ids
        inputs: int | Ids = Ids(ids, rows.weight.data_ptr(), len(rows.weight))
    else:
        x = _plain(x)
        inputs = x.data_ptr()
    kind = Kind(DTYPES[x.dtype], H, I, rows is not None, call.paired, rows is not None, D)
    out, h_n, c_n = x.new_empty((*shape, D * H)), x.new_empty((D, B, H)), x.new_empty((D, B, H))
    own = frozen or [_weights(plain[4 * d : 4 * d + 4], I, H) for d in range(D)]
    cache = forward(kind, inputs, plan, None, own, (_address(h0), _address(c0)), Place(out.data_ptr(), D * H),
                    (h_n.data_ptr(), c_n.data_ptr()), keep_cache, crew(call.options.threads))  # fmt: skip
    return out, h_n, c_n, cache


class Layer(torch.autograd.Function):
    """`run` as a node of the graph: its outputs, with a backward pass.

    `embedding` is the weight that x is made from, if that is known: it gets its gradient here, and not through x, where nobody
    else wants that of x.
    """

    @staticmethod
    def forward(ctx: Any, x, embedding, h0, c0, call: Call, *weights):
        *outputs, cache = run(x, h0, c0, call, *weights, keep_cache=any(ctx.needs_input_grad))
        if cache is not None:
            ctx.save_for_backward(_keep(cache), x, h0, c0, *weights)
            ctx.set_materialize_grads(False)
            ctx.call = call
        return tuple(outputs)

    @staticmethod
    @uncompiled
    def backward(ctx: Any, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        token, *inputs = ctx.saved_tensors
        call: Call = ctx.call
        keeper = _keepers.get(token.data_ptr())
        if torch.is_grad_enabled():
            reason = "a gradient is to be differentiated in turn"
        elif keeper is None:
            reason = "hooks on saved tensors copied what was kept for the backward pass"
        else:
            reason = recording() or foreign((inputs[0], *(g for g in gradients if g is not None)))
        x, embedding, *others = ctx.needs_input_grad
        needed = x, *others[:2], *others[3:]
        if reason or keeper is None:
            leave(reason, call.options)
            dx, *found = _theirs(call, inputs, gradients, needed)
            de = None
        else:
            through = not (embedding and call.rows and only_the_embedding(inputs[0], call.rows))
            (dx, *found), de = _ours(
                keeper.cache, inputs[0], gradients, (x and through, *needed[1:]), call, not through
            )
        dx, *found = [g if n else None for g, n in zip((dx, *found), needed, strict=True)]
        return (dx, de, *found[:2], None, *found[2:])


def _ours(
    cache: Cache,
    x: Tensor,
    gradients: Sequence[Tensor | None],
    needed: Sequence[bool],
    call: Call,
    embedding: bool,
) -> tuple[list[Tensor | None], Tensor | None]:
    """The gradients of x, h0, c0 and the weights, those that are needed and perhaps others, by the engine.

    And that of the `embedding` that x is made from, if it is asked for.
    """
    (*shape, I), D, H, new = call.in_time(x).shape, cache.directions, cache.hidden, x.new_empty
    dout, dh_n, dc_n = map(_plain, gradients)
    if dout is None:
        dout = new((*shape, D * H)).zero_()
    dx = new((*shape, I)) if needed[0] else None
    de = torch.empty_like(call.rows.weight) if embedding and call.rows else None
    dh0 = dc0 = None
    if needed[1] or needed[2]:
        dh0, dc0 = new((D, call.plan.rows, H)), new((D, call.plan.rows, H))
    weights: list[Tensor | None] = [None] * (4 * D)
    if embedding or any(needed[3:]):
        shapes = (4 * H, I), (4 * H, H), (4 * H,), (4 * H,)
        weights = [new(shapes[n % 4]) if wanted or n % 4 < 2 else None for n, wanted in enumerate(needed[3:])]
    backward(Place(dout.data_ptr(), D * H), cache, (_address(dh_n), _address(dc_n)), _address(dx),
             [_weights(weights[4 * d : 4 * d + 4], I, H) for d in range(D)], (_address(dh0), _address(dc0)),
             crew(call.options.threads), _address(de))  # fmt: skip
    if de is not None and call.rows and 0 <= call.rows.padding < len(de):
        de[call.rows.padding] = 0
    return [dx if dx is None else call.in_time(dx), dh0, dc0, *weights], de


def _theirs(
    call: Call, inputs: Sequence[Any], gradients: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    """The needed gradients of x, h0, c0 and the weights by PyTorch, which runs its own LSTM on them first."""
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=call.paired):
        # Aliases, since one of the inputs may be computed from another.
        aliases: list[Any] = [t if t is None else t.view_as(t) for t in inputs]
        x, h0, c0, *weights = aliases
        x = call.in_time(x)
        D, H = len(weights) // 4, weights[1].shape[1]
        zero = x.new_zeros((D, call.plan.rows, H))
        states = [zero if s is None else s for s in (h0, c0)]
        rest = [w for w in weights if w is not None], weights[2] is not None, 1, 0.0, True, D == 2
        if x.dim() == 3:
            outputs = torch.lstm(x, states, *rest, False)
        else:
            outputs = torch.lstm(
                x, torch.from_numpy(np.diff(call.plan.start).astype(np.int64)), states, *rest
            )
    given = [(y.to(g.dtype), g) for y, g in zip(outputs, gradients, strict=True) if g is not None]
    if not given:
        return [None] * len(inputs)
    outputs, gradients = map(list, zip(*given, strict=True))
    wanted = [a for a, n in zip(aliases, needed, strict=True) if n]
    found = iter(torch.autograd.grad(outputs, wanted, gradients, create_graph=torch.is_grad_enabled()))
    return [next(found) if n else None for n in needed]


def _plain(tensor: Any) -> Any:
    """The tensor as its memory alone tells it: rows without gaps, and no negation that is still to be done."""
    if tensor is None or (tensor.is_contiguous() and not tensor.is_neg()):
        return tensor
    return tensor.resolve_neg().contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _weights(weights: Sequence[Tensor | None], I: int, H: int) -> Weights:
    """Where one direction's contiguous weights or their gradients are; the caller keeps them."""
    w_ih, w_hh, b_ih, b_hh = map(_address, weights)
    return Weights(Place(w_hh, H), Place(w_ih, I), b_hh, b_ih)


class _Keeper(np.ndarray):
    """A byte of memory with the cache that lives as long as it does."""

    cache: Cache


_keepers: WeakValueDictionary[int, _Keeper] = WeakValueDictionary()


def _keep(cache: Cache) -> Tensor:
    """A tensor for autograd to save: when it frees the tensor's memory, it frees the cache.

    So a graph that was gone through backward holds none, and recomputation (checkpointing) finds a new one.
    """
    keeper = np.empty(1, np.uint8).view(_Keeper)
    keeper.cache = cache
    token = torch.from_numpy(keeper)
    _keepers[token.data_ptr()] = keeper
    return token
