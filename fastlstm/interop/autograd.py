"""One LSTM layer as a node of PyTorch's graph.

Letters: T time steps, B sequences, I inputs, H hidden size, D directions, N real steps of a packed batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from fastlstm.engine.layout import Place, Plan, Weights
from fastlstm.engine.sequence import Addresses, Cache, Frozen, Kind, backward, forward
from fastlstm.interop.crew import crew
from fastlstm.interop.gate import DTYPES, Options, foreign, leave, recording, uncompiled


def run(
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    plan: Plan,
    options: Options,
    paired: bool,
    *weights: Any,
    keep_caches: bool = False,
    frozen: Sequence[Frozen] = (),
) -> tuple[Tensor, Tensor, Tensor, list[Cache]]:
    """From x (T, B, I) and states (D, B, H) to outputs (T, B, D·H), final states (D, B, H) and, if kept, the caches.

    Of a packed batch, x is (N, I) and the outputs are (N, D·H). The weights are PyTorch's: for each direction
    weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H,), the last two perhaps None. All have been
    through the gate, and their shapes fit: the engine trusts what it gets. `paired`: products multiply in bfloat16.
    `frozen` are the weights packed, for each direction.
    """
    (*rows, I), H, D, B = x.shape, weights[1].shape[1], len(weights) // 4, plan.rows
    kind = Kind(DTYPES[x.dtype], H, I, False, paired)
    x, h0, c0, *plain = map(_plain, (x, h0, c0, *weights))
    out, h_n, c_n = x.new_empty((*rows, D * H)), x.new_empty((D, B, H)), x.new_empty((D, B, H))
    part, caches = H * x.itemsize, []
    for d in range(D):
        initial, final = _states(h0, c0, d * B * part), _states(h_n, c_n, d * B * part)
        own = frozen[d] if frozen else _weights(plain[4 * d : 4 * d + 4], I, H)
        cache = forward(kind, x.data_ptr(), plan, None, own, initial,
                        Place(out.data_ptr() + d * part, D * H), final, keep_caches, crew(options.threads), d == 1)  # fmt: skip
        if cache is not None:
            caches.append(cache)
    return out, h_n, c_n, caches


class Layer(torch.autograd.Function):
    """`run` as a node of the graph: its outputs, with a backward pass."""

    @staticmethod
    def forward(ctx: Any, x, h0, c0, plan: Plan, options: Options, paired: bool, *weights):
        *outputs, caches = run(
            x, h0, c0, plan, options, paired, *weights, keep_caches=any(ctx.needs_input_grad)
        )
        if caches:
            ctx.save_for_backward(_keep(caches), x, h0, c0, *weights)
            ctx.set_materialize_grads(False)
            ctx.plan, ctx.options, ctx.paired = plan, options, paired
        return tuple(outputs)

    @staticmethod
    @uncompiled
    def backward(ctx: Any, *gradients):  # pyright: ignore[reportIncompatibleMethodOverride]
        token, *inputs = ctx.saved_tensors
        keeper = _keepers.get(token.data_ptr())
        if torch.is_grad_enabled():
            reason = "a gradient is to be differentiated in turn"
        elif keeper is None:
            reason = "hooks on saved tensors copied what was kept for the backward pass"
        else:
            reason = recording() or foreign((inputs[0], *(g for g in gradients if g is not None)))
        needed = (*ctx.needs_input_grad[:3], *ctx.needs_input_grad[6:])
        if reason or keeper is None:
            leave(reason, ctx.options)
            found = _theirs(ctx.plan, inputs, gradients, needed, ctx.paired)
        else:
            found = _ours(keeper.caches, inputs[0], gradients, needed, ctx.options.threads)
        found = [g if n else None for g, n in zip(found, needed, strict=True)]
        return (*found[:3], None, None, None, *found[3:])


def _ours(
    caches: list[Cache], x: Tensor, gradients: Sequence[Tensor | None], needed: Sequence[bool], threads: int | None
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of x, h0, c0 and the weights, those that are needed and perhaps others, by the engine."""
    (*rows, I), D, H, B, new = x.shape, len(caches), caches[0].hidden, caches[0].plan.rows, x.new_empty
    dout, dh_n, dc_n = map(_plain, gradients)
    if dout is None:
        dout = new((*rows, D * H)).zero_()
    dx = dh0 = dc0 = None
    if needed[1] or needed[2]:
        dh0, dc0 = new((D, B, H)), new((D, B, H))
    part, weights = H * dout.itemsize, []
    for d, cache in enumerate(caches):
        dx_d = new((*rows, I)) if needed[0] else None
        wanted = needed[3 + 4 * d : 7 + 4 * d]
        dw = [None] * 4
        if any(wanted):
            dw = [new((4 * H, I)), new((4 * H, H)), *(new(4 * H) if n else None for n in wanted[2:])]
        initial, final = _states(dh0, dc0, d * B * part), _states(dh_n, dc_n, d * B * part)
        backward(Place(dout.data_ptr() + d * part, D * H), cache, final, _address(dx_d), _weights(dw, I, H), initial,
                 crew(threads))  # fmt: skip
        dx = dx_d if dx is None or dx_d is None else dx + dx_d
        weights += dw
    return [dx, dh0, dc0, *weights]


def _theirs(
    plan: Plan, inputs: Sequence[Any], gradients: Sequence[Tensor | None], needed: Sequence[bool], paired: bool
) -> list[Tensor | None]:  # fmt: skip
    """The needed gradients of x, h0, c0 and the weights by PyTorch, which runs its own LSTM on them first."""
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=paired):
        # Aliases, since one of the inputs may be computed from another.
        aliases: list[Any] = [t if t is None else t.view_as(t) for t in inputs]
        x, h0, c0, *weights = aliases
        D, H = len(weights) // 4, weights[1].shape[1]
        zero = x.new_zeros((D, plan.rows, H))
        states = [zero if s is None else s for s in (h0, c0)]
        rest = [w for w in weights if w is not None], weights[2] is not None, 1, 0.0, True, D == 2
        if x.dim() == 3:
            outputs = torch.lstm(x, states, *rest, False)
        else:
            outputs = torch.lstm(x, torch.from_numpy(np.diff(plan.start).astype(np.int64)), states, *rest)
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


def _states(h: Tensor | None, c: Tensor | None, offset: int) -> Addresses:
    """Where the states of a direction, so many bytes from the first one's, are in two contiguous (D, B, H)."""
    return 0 if h is None else h.data_ptr() + offset, 0 if c is None else c.data_ptr() + offset


class _Keeper(np.ndarray):
    """A byte of memory with the caches that live as long as it does."""

    caches: list[Cache]


_keepers: WeakValueDictionary[int, _Keeper] = WeakValueDictionary()


def _keep(caches: list[Cache]) -> Tensor:
    """A tensor for autograd to save: when it frees the tensor's memory, it frees the caches.

    So a graph that was gone through backward holds none, and recomputation (checkpointing) finds new ones.
    """
    keeper = np.empty(1, np.uint8).view(_Keeper)
    keeper.caches = caches
    token = torch.from_numpy(keeper)
    _keepers[token.data_ptr()] = keeper
    return token
