"""One LSTM layer as a node of PyTorch's graph.

Letters: T time steps, B sequences, I inputs, H hidden size, D directions, N real steps of a packed batch.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from fastlstm.errors import FastLSTMError
from fastlstm.layout import Plan, packed_plan
from fastlstm.sequence import Cache, Weights, backward, forward


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
    x_ = _array(x)
    (*rows, I), D, B = x_.shape, len(weights) // 4, plan.rows
    h0_, c0_ = ((None,) * D if s is None else _array(s) for s in (h0, c0))
    out, h_n, c_n = (np.empty((*shape, H), x_.dtype) for shape in ((*rows, D), (D, B), (D, B)))
    caches = []
    for d in range(D):
        given = _weights(I, H, x_.dtype, *weights[4 * d : 4 * d + 4])
        h_n[d], c_n[d], cache = forward(
            x_, plan, None, given, h0_[d], c0_[d], out[..., d, :], keep_caches, threads, d == 1
        )
        if cache is not None:
            caches.append(cache)
    out = out.reshape(*rows, D * H)
    return torch.from_numpy(out), torch.from_numpy(h_n), torch.from_numpy(c_n), caches


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
        B, I, H, dtype = caches[0].plan.rows, caches[0].width, caches[0].hidden, caches[0].dtype
        dout = np.zeros((*rows, D * H), dtype) if dout is None else _array(dout)
        dout = dout.reshape(*rows, D, H)
        dh_n, dc_n = ((None,) * D if s is None else _array(s) for s in (dh_n, dc_n))
        dx, dh0, dc0 = None, np.empty((D, B, H), dtype), np.empty((D, B, H), dtype)
        weights = []
        for d, cache in enumerate(caches):
            dx_d = np.empty((*rows, I), dtype) if needed[0] else None
            dw = None
            if any(needed[6 + 4 * d : 10 + 4 * d]):
                dw = Weights(*(np.empty(s, dtype) for s in ((4 * H, H), (4 * H, I), 4 * H)))
            dh0[d], dc0[d] = backward(dout[..., d, :], cache, dh_n[d], dc_n[d], dx_d, dw, ctx.threads)
            dx = dx_d if dx is None else dx + dx_d
            # The two biases' gradients are equal but share no memory: PyTorch makes them .grad as they are.
            weights += [None] * 4 if dw is None else [dw.w_x, dw.w_h, dw.b, dw.b.copy()]
        arrays = (dx, dh0, dc0, None, None, None, *weights)
        tensors = [torch.from_numpy(a) if n else None for a, n in zip(arrays, needed, strict=True)]
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


def _weights(I: int, H: int, dtype: np.dtype, w_ih: Any, w_hh: Any, *biases: Tensor | None) -> Weights:
    """One direction's weights as the engine takes them, found to fit: the engine trusts what it gets."""
    w_h, w_x = _array(w_hh), _array(w_ih)
    b_ih, b_hh = (np.zeros(4 * H, dtype) if b is None else _array(b) for b in biases)
    for array, shape in ((w_h, (4 * H, H)), (w_x, (4 * H, I)), (b_ih, (4 * H,)), (b_hh, (4 * H,))):
        if array.shape != shape or array.dtype != dtype:
            raise RuntimeError(
                f"a weight is {array.dtype} {array.shape}, hidden_size and input ask for {dtype} {shape}"
            )
    return Weights(w_h, w_x, b_ih + b_hh)


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


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
