"""One LSTM layer in one direction as a node of PyTorch's graph.

Letters: T time steps, B sequences, I inputs, H hidden size, N real steps of a packed batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastlstm.errors import FastLSTMError
from fastlstm.lstm import lstm_backward, lstm_forward


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


class Direction(torch.autograd.Function):
    """From x (T, B, I), or (N, I) with a `Ragged`, to outputs (T, B, H) or (N, H) and final states (B, H)."""

    @staticmethod
    def forward(ctx: Any, x, h0, c0, w_ih, w_hh, b_ih, b_hh, ragged, reverse, keep_cache, threads):
        W = np.concatenate((_array(w_hh), _array(w_ih)), 1)
        b = None if b_ih is None else _array(b_ih) + _array(b_hh)
        x, lengths = (_array(x), None) if ragged is None else (ragged.pad(_array(x)), ragged.lengths)
        h0, c0 = (None, None) if h0 is None else (_array(h0), _array(c0))
        keep_cache = keep_cache and any(ctx.needs_input_grad)
        out, (h_n, c_n), cache = lstm_forward(x, W, b, h0, c0, lengths, keep_cache, threads, reverse)
        if keep_cache:
            arrays: list[Tensor] = []
            ctx.cache = _lift(cache, arrays)
            ctx.save_for_backward(*arrays)
            ctx.set_materialize_grads(False)
            ctx.shape, ctx.dtype, ctx.ragged, ctx.threads = out.shape, out.dtype, ragged, threads
        out = out if ragged is None else ragged.pack(out)
        return torch.from_numpy(out), torch.from_numpy(h_n), torch.from_numpy(c_n)

    @staticmethod
    def backward(ctx: Any, dout, dh_n, dc_n):  # pyright: ignore[reportIncompatibleMethodOverride]
        ragged, H = ctx.ragged, ctx.shape[-1]
        if dout is None:
            dout = np.zeros(ctx.shape, ctx.dtype)
        else:
            dout = _array(dout) if ragged is None else ragged.pad(_array(dout))
        dh_n, dc_n = (None if d is None else _array(d) for d in (dh_n, dc_n))
        cache = _lower(ctx.cache, ctx.saved_tensors)
        dx, dW, db, dh0, dc0 = lstm_backward(dout, cache, dh_n, dc_n, ctx.threads)
        dx = dx if ragged is None else ragged.pack(dx)
        # The two biases' gradients are equal, but may not share memory: PyTorch makes them .grad as they are.
        gradients = dx, dh0, dc0, dW[:, H:], dW[:, :H], db, db.copy()
        needed = ctx.needs_input_grad[:7]
        tensors = [torch.from_numpy(d) if n else None for d, n in zip(gradients, needed, strict=True)]
        if torch.is_grad_enabled():
            anchor = torch.empty(0, requires_grad=True)
            tensors = [d if d is None else _Once.apply(d, anchor) for d in tensors]
        return *tensors, None, None, None, None


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


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


class _Place(int):
    """Where an array of a cache is among the tensors that autograd keeps."""


def _lift(value: Any, tensors: list[Tensor]) -> Any:
    """Move the arrays of nested tuples to `tensors`, uncopied: autograd frees them, and minds its hooks."""
    if isinstance(value, np.ndarray):
        tensors.append(torch.from_numpy(value))
        return _Place(len(tensors) - 1)
    return _rebuilt(value, lambda item: _lift(item, tensors))


def _lower(value: Any, tensors: tuple[Tensor, ...]) -> Any:
    """Undo `_lift`."""
    if isinstance(value, _Place):
        return tensors[value].numpy()
    return _rebuilt(value, lambda item: _lower(item, tensors))


def _rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    if not isinstance(value, tuple | list):
        return value
    items = [change(item) for item in value]
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
