"""One LSTM layer as a node of PyTorch's graph.

Letters: T time steps, B sequences, I inputs, H hidden size, D directions, N real steps of a packed batch.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from fastlstm.errors import FastLSTMError
from fastlstm.sequence import Cache, Weights, backward, forward


class Ragged(NamedTuple):
    """Where a packed batch's N rows lie among the T·B rows of a padded one; `lengths` (B,) don't increase."""

    places: np.ndarray
    lengths: np.ndarray
    T: int
    B: int

    @classmethod
    def of(cls, batch_sizes: np.ndarray, N: int) -> Ragged:
        """The layout of a PackedSequence with `batch_sizes` (T,) and N rows of data."""
        T, B = len(batch_sizes), int(batch_sizes[0])
        active = np.arange(B) < batch_sizes[:, None]
        places = np.flatnonzero(active)
        if len(places) != N:
            raise RuntimeError(
                f"batch_sizes must not increase and must sum to the {N} rows of data: {batch_sizes}"
            )
        return cls(places, active.sum(0), T, B)

    def pad(self, rows: np.ndarray) -> np.ndarray:
        """(N, X) to (T, B, X), zero where there is no row."""
        padded = np.zeros((self.T * self.B, rows.shape[1]), rows.dtype)
        padded[self.places] = rows
        return padded.reshape(self.T, self.B, -1)

    def pack(self, padded: np.ndarray) -> np.ndarray:
        """(T, B, X) to (N, X)."""
        return padded.reshape(self.T * self.B, -1)[self.places]


class Layer(torch.autograd.Function):
    """From x (T, B, I) and states (D, B, H) to outputs (T, B, D·H) and final states (D, B, H).

    With a `Ragged`, x is (N, I) and the outputs are (N, D·H). The weights are PyTorch's: for each direction
    weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H,), the last two perhaps None.
    """

    @staticmethod
    def forward(
        ctx: Any, x, h0, c0, H: int, ragged: Ragged | None, keep_cache: bool, threads: int | None, *weights
    ):
        keep_cache = keep_cache and any(ctx.needs_input_grad)
        x, lengths = (_array(x), None) if ragged is None else (ragged.pad(_array(x)), ragged.lengths)
        (T, B, I), D = x.shape, len(weights) // 4
        h0, c0 = ((None,) * D, (None,) * D) if h0 is None else (_array(h0), _array(c0))
        out, h_n, c_n = (np.empty((*shape, H), x.dtype) for shape in ((T, B, D), (D, B), (D, B)))
        caches = []
        for d in range(D):
            given = _weights(I, H, x.dtype, *weights[4 * d : 4 * d + 4])
            h_n[d], c_n[d], cache = forward(
                x, given, h0[d], c0[d], lengths, out[:, :, d], keep_cache, threads, d == 1
            )
            caches.append(cache)
        if keep_cache:
            ctx.save_for_backward(_keep(caches))
            ctx.set_materialize_grads(False)
            ctx.shape, ctx.ragged, ctx.threads = x.shape, ragged, threads
        out = out.reshape(T, B, D * H)
        out = out if ragged is None else ragged.pack(out)
        return torch.from_numpy(out), torch.from_numpy(h_n), torch.from_numpy(c_n)

    @staticmethod
    def backward(ctx: Any, dout, dh_n, dc_n):  # pyright: ignore[reportIncompatibleMethodOverride]
        caches = _kept(*ctx.saved_tensors)
        needed, ragged, D = ctx.needs_input_grad, ctx.ragged, len(caches)
        (T, B, I), H, dtype = ctx.shape, caches[0].hidden, caches[0].dtype
        if dout is None:
            dout = np.zeros((T, B, D * H), dtype)
        else:
            dout = _array(dout) if ragged is None else ragged.pad(_array(dout))
        dout = dout.reshape(T, B, D, H)
        dh_n, dc_n = ((None,) * D if s is None else _array(s) for s in (dh_n, dc_n))
        dx, dh0, dc0 = None, np.empty((D, B, H), dtype), np.empty((D, B, H), dtype)
        weights = []
        for d, cache in enumerate(caches):
            dx_d = np.empty((T, B, I), dtype) if needed[0] else None
            dw = None
            if any(needed[7 + 4 * d : 11 + 4 * d]):
                dw = Weights(*(np.empty(s, dtype) for s in ((4 * H, H), (4 * H, I), 4 * H)))
            dh0[d], dc0[d] = backward(dout[:, :, d], cache, dh_n[d], dc_n[d], dx_d, dw, ctx.threads)
            dx = dx_d if dx is None else dx + dx_d
            # The two biases' gradients are equal but share no memory: PyTorch makes them .grad as they are.
            weights += [None] * 4 if dw is None else [dw.w_x, dw.w_h, dw.b, dw.b.copy()]
        if dx is not None and ragged is not None:
            dx = ragged.pack(dx)
        arrays = (dx, dh0, dc0, None, None, None, None, *weights)
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


def _weights(I: int, H: int, dtype: np.dtype, w_ih: Tensor, w_hh: Tensor, *biases: Tensor | None) -> Weights:
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
