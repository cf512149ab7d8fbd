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

from fastlstm.engine.layout import Place, Plan, Weights, packed_plan
from fastlstm.engine.sequence import Addresses, Cache, Kind, backward, forward
from fastlstm.errors import FastLSTMError

DTYPES = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
TENSORS = {array: tensor for tensor, array in DTYPES.items()}


def plan_of_packed(batch_sizes: np.ndarray, N: int) -> Plan:
    """The plan of a PackedSequence with `batch_sizes` (T,), whose N rows of data are the engine's positions."""
    plan = packed_plan(batch_sizes, int(batch_sizes[0]))
    if plan.positions != N or (batch_sizes[1:] > batch_sizes[:-1]).any():
        raise RuntimeError(
            f"batch_sizes must not increase and must sum to the {N} rows of data: {batch_sizes}"
        )
    return plan


def run(
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    H: int,
    plan: Plan,
    threads: int | None,
    *weights: Tensor | None,
    keep_caches: bool = False,
) -> tuple[Tensor, Tensor, Tensor, list[Cache]]:
    """From x (T, B, I) and states (D, B, H) to outputs (T, B, D·H), final states (D, B, H) and, if kept, the caches.

    Of a packed batch, x is (N, I) and the outputs are (N, D·H). The weights are PyTorch's: for each direction
    weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H,), the last two perhaps None.
    """
    dtype, D, B, x = x.dtype, len(weights) // 4, plan.rows, _plain(x)
    (*rows, I), kind = x.shape, Kind(DTYPES[dtype], H, x.shape[-1], False)
    given = [_checked(weights[4 * d : 4 * d + 4], I, H, dtype) for d in range(D)]
    h0, c0 = (s if s is None else _plain(s) for s in (h0, c0))
    out, h_n, c_n = x.new_empty((*rows, D * H)), x.new_empty((D, B, H)), x.new_empty((D, B, H))
    part, caches = H * x.itemsize, []
    for d in range(D):
        initial, final = _states(h0, c0, d * B * part), _states(h_n, c_n, d * B * part)
        cache = forward(kind, x.data_ptr(), plan, None, _weights(given[d], I, H), initial,
                        Place(out.data_ptr() + d * part, D * H), final, keep_caches, threads, d == 1)  # fmt: skip
        if cache is not None:
            caches.append(cache)
    return out, h_n, c_n, caches


class Layer(torch.autograd.Function):
    """`run` as a node of the graph: its outputs, with a backward pass."""

    @staticmethod
    def forward(ctx: Any, x, h0, c0, H: int, plan: Plan, threads: int | None, *weights):
        *outputs, caches = run(x, h0, c0, H, plan, threads, *weights, keep_caches=any(ctx.needs_input_grad))
        if caches:
            ctx.save_for_backward(_keep(caches))
            ctx.set_materialize_grads(False)
            ctx.rows, ctx.threads = x.shape[:-1], threads
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, dout, dh_n, dc_n):  # pyright: ignore[reportIncompatibleMethodOverride]
        caches = _kept(*ctx.saved_tensors)
        needed, rows, D = ctx.needs_input_grad, ctx.rows, len(caches)
        (dtype, H, I, *_), B = caches[0].workspace.kind, caches[0].plan.rows
        dout = torch.zeros((*rows, D * H), dtype=TENSORS[dtype]) if dout is None else _plain(dout)
        new = dout.new_empty
        dh_n, dc_n = (s if s is None else _plain(s) for s in (dh_n, dc_n))
        dx = dh0 = dc0 = None
        if needed[1] or needed[2]:
            dh0, dc0 = new((D, B, H)), new((D, B, H))
        part, weights = H * dout.itemsize, []
        for d, cache in enumerate(caches):
            dx_d = new((*rows, I)) if needed[0] else None
            wanted = needed[6 + 4 * d : 10 + 4 * d]
            dw = [None] * 4
            if any(wanted):
                dw = [new((4 * H, I)), new((4 * H, H)), *(new(4 * H) if n else None for n in wanted[2:])]
            initial, final = _states(dh0, dc0, d * B * part), _states(dh_n, dc_n, d * B * part)
            backward(Place(dout.data_ptr() + d * part, D * H), cache, final, _address(dx_d), _weights(dw, I, H), initial,
                     ctx.threads)  # fmt: skip
            dx = dx_d if dx is None or dx_d is None else dx + dx_d
            weights += dw
        gradients = (dx, dh0, dc0, None, None, None, *weights)
        tensors = [d if n else None for d, n in zip(gradients, needed, strict=True)]
        if torch.is_grad_enabled():
            anchor = torch.empty(0, requires_grad=True)
            tensors = [d if d is None else _Once.apply(d, anchor) for d in tensors]
        return tuple(tensors)


class _Once(torch.autograd.Function):
    """A gradient made with `create_graph=True`, which may be used, but not be differentiated in silence."""

    @staticmethod
    def forward(ctx: Any, gradient, anchor):
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients):
        raise FastLSTMError(
            "fastlstm's LSTM can be differentiated only once: use torch.nn.LSTM (see restore) here"
        )


def _checked(weights: tuple[Tensor | None, ...], I: int, H: int, dtype: torch.dtype) -> list[Tensor | None]:
    """One direction's weights, contiguous and found to fit: the engine trusts what it gets."""
    given = [w if w is None else _plain(w) for w in weights]
    for n, (w, shape) in enumerate(zip(given, ((4 * H, I), (4 * H, H), (4 * H,), (4 * H,)), strict=True)):
        if w is None and n > 1:
            continue
        if w is None or w.shape != shape or w.dtype != dtype or not w.is_cpu:
            found = "None" if w is None else f"{w.dtype} {tuple(w.shape)} on {w.device}"
            raise RuntimeError(f"a weight is {found}, hidden_size and input ask for {dtype} {shape} on cpu")
    return given


def _plain(tensor: Tensor) -> Tensor:
    """The tensor as its memory alone tells it: rows without gaps, and no negation that is still to be done."""
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


def _kept(token: Tensor) -> list[Cache]:
    keeper = _keepers.get(token.data_ptr())
    if keeper is None:
        raise FastLSTMError(
            "what was saved for the backward pass is a copy: fastlstm's LSTM cannot follow hooks on saved "
            "tensors such as save_on_cpu, use torch.nn.LSTM (see restore) here"
        )
    return keeper.caches
