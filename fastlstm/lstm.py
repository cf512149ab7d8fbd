"""One LSTM layer over arrays: forward, backward, single steps and frozen weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastlstm.errors import FastLSTMError


class Gradients(NamedTuple):
    """Gradients of a scalar by each input of `lstm_forward`; `x` is None where the inputs were ids."""

    x: np.ndarray | None
    W: np.ndarray
    b: np.ndarray
    h0: np.ndarray
    c0: np.ndarray


class Packed(NamedTuple):
    W: np.ndarray
    b: np.ndarray


def pack(W, b=None):
    return Packed(W, np.zeros(len(W), W.dtype) if b is None else b)


def _sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def lstm_forward(x, W, b=None, h0=None, c0=None, lengths=None, keep_cache=True, threads=None, reverse=False):
    if isinstance(W, Packed):
        W, b = W
    x = np.asarray(x)
    T, B = x.shape[:2]
    H = W.shape[0] // 4
    width = W.shape[1] - H
    if T == 0 or B == 0:
        raise FastLSTMError(f"x is {x.shape}: no steps or no sequences")
    dense = x if x.ndim == 3 else np.eye(width, dtype=W.dtype)[x]
    b = np.zeros(4 * H, W.dtype) if b is None else b
    h = np.zeros((B, H), W.dtype) if h0 is None else np.array(h0)
    c = np.zeros((B, H), W.dtype) if c0 is None else np.array(c0)
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    out = np.zeros((T, B, H), W.dtype)
    saved = []
    for t in range(T)[:: -1 if reverse else 1]:
        on = (t < lengths)[:, None]
        a = np.concatenate([h, dense[t]], 1) @ W.T + b
        i, f, o = (_sigmoid(a[:, k * H : (k + 1) * H]) for k in (0, 1, 3))
        g = np.tanh(a[:, 2 * H : 3 * H])
        cn = f * c + i * g
        hn = o * np.tanh(cn)
        saved.append((t, on, h, c, i, f, g, o, cn))
        h, c = np.where(on, hn, h), np.where(on, cn, c)
        out[t] = np.where(on, hn, 0)
    cache = (x, dense, W.copy(), saved, out.shape) if keep_cache else None
    return out, (h, c), cache


def lstm_backward(dout, cache, dh_n=None, dc_n=None, threads=None) -> Gradients:
    x, dense, W, saved, (T, B, H) = cache
    dW, db = np.zeros_like(W), np.zeros(4 * H, W.dtype)
    dx = np.zeros_like(dense)
    dh = np.zeros((B, H), W.dtype) if dh_n is None else np.array(dh_n)
    dc = np.zeros((B, H), W.dtype) if dc_n is None else np.array(dc_n)
    for t, on, h, c, i, f, g, o, cn in reversed(saved):
        dht = np.where(on, dh + dout[t], 0)
        tc = np.tanh(cn)
        dct = np.where(on, dc + dht * o * (1 - tc**2), 0)
        da = np.concatenate([dct * g * i * (1 - i), dct * c * f * (1 - f), dct * i * (1 - g**2), dht * tc * o * (1 - o)], 1)
        dW += da.T @ np.concatenate([h, dense[t]], 1)
        db += da.sum(0)
        back = da @ W
        dx[t] = back[:, H:]
        dh = np.where(on, back[:, :H], dh)
        dc = np.where(on, dct * f, dc)
    return Gradients(dx if x.ndim == 3 else None, dW, db, dh, dc)


def lstm_step(x, h, c, W, b=None):
    out, (h, c), _ = lstm_forward(np.asarray(x)[None], W, b, h, c, keep_cache=False)
    return h, c
