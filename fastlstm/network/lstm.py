"""One LSTM layer over arrays: forward, backward, single steps and frozen weights.

Letters: T time steps, B sequences, I input width, H hidden units. Arrays are time-major. W (4H, H+I) holds the gates
i, f, g, o in rows and [h | x] in columns:

    i, f, o = sigmoid(W · [h, x] + b),   g = tanh(W · [h, x] + b),   c = f·c + i·g,   h = o·tanh(c)

(Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fastlstm.engine.kernels.records import address
from fastlstm.engine.layout import fused_weights, place, sorted_plan
from fastlstm.engine.sequence import Addresses, Cache, Frozen, Ids, Kind, backward, forward
from fastlstm.errors import FastLSTMError


class Gradients(NamedTuple):
    """Gradients of a scalar by each input of `lstm_forward`; `x` is None where the inputs were ids."""

    x: np.ndarray | None
    W: np.ndarray
    b: np.ndarray
    h0: np.ndarray
    c0: np.ndarray


def pack(W: Any, b: Any = None) -> Frozen:
    """Weights prepared once for many calls: pass the result as W to `lstm_forward` or `lstm_step`.

    W (4H, H+I) and b (4H,) as there; later changes to them don't reach the packed copy.

    >>> import numpy as np
    >>> pack(np.zeros((8, 5))).hidden
    2
    """
    return Frozen(*checked_weights(W, b))


def checked_weights(W: Any, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """W (4H, H+I) and b (4H,), which may be None, as contiguous arrays."""
    W = np.ascontiguousarray(W)
    if W.ndim != 2 or W.shape[0] % 4 or not W.shape[0] or W.shape[1] <= W.shape[0] // 4:
        raise FastLSTMError(f"W has shape {W.shape}; it must be (4H, H+I) with H and I at least 1")
    if W.dtype.name not in ("float32", "float64"):
        raise FastLSTMError(f"W is {W.dtype}; it must be float32 or float64")
    H = W.shape[0] // 4
    b = np.zeros(4 * H, W.dtype) if b is None else checked(b, "b", (4 * H,), W.dtype)
    return W, b


def checked(array: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array, contiguous, if it has this shape and dtype."""
    array = np.asarray(array)
    if array.shape != shape:
        raise FastLSTMError(f"{name} has shape {array.shape}; it must be {shape}")
    if array.dtype != dtype:
        raise FastLSTMError(f"{name} is {array.dtype}; W is {dtype}, and both must be the same")
    return np.ascontiguousarray(array)


def addresses(states: Iterable[np.ndarray | None]) -> Addresses:
    """Where two arrays are; 0 for none."""
    h, c = states
    return address(h), address(c)


def lstm_forward(
    x: Any,
    W: Any,
    b: Any = None,
    h0: Any = None,
    c0: Any = None,
    lengths: Any = None,
    keep_cache: bool = True,
    threads: int | None = None,
    reverse: bool = False,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], Cache | None]:
    """Run the layer over a batch of sequences: hidden states (T, B, H), the final (h_n, c_n), each (B, H), and a cache.

    x: floats (T, B, I), or integer ids (T, B) that stand for one-hot rows of width I. W: (4H, H+I), or what `pack`
    returned; b (4H,); h0 and c0 (B, H), zero by default. lengths (B,): row b has lengths[b] real steps of 0..T; at and past
    them the output is zero, and its final state is that of its last real step (the initial state for length 0).
    With `reverse` every sequence is read from its last real step to its first. The dtype of W, float32 or float64, is
    that of all float arrays. Raises FastLSTMError for shapes, dtypes, ids or lengths that don't fit.

    >>> import numpy as np
    >>> out, (h_n, c_n), cache = lstm_forward(np.zeros((3, 2, 4)), np.ones((20, 9)))
    >>> out.shape, h_n.shape
    ((3, 2, 5), (2, 5))
    """
    if isinstance(W, Frozen):
        if b is not None:
            raise FastLSTMError("b is given with packed weights; give it to pack(W, b)")
        weights, H, I, dtype = [W], W.hidden, W.width, W.dtype
    else:
        W, b = checked_weights(W, b)
        weights, H, dtype = [fused_weights(W, b)], len(W) // 4, W.dtype
        I = W.shape[1] - H
    x = np.asarray(x)
    if x.ndim == 2 and x.dtype.kind in "iu":
        x = checked_ids(x, I)
    elif x.ndim == 3:
        x = checked(x, "x", (*x.shape[:2], I), dtype)
    else:
        raise FastLSTMError(f"x is {x.dtype} {x.shape}; it must be floats (T, B, {I}) or integer ids (T, B)")
    T, B = x.shape[:2]
    if T == 0 or B == 0:
        raise FastLSTMError(f"x has shape {x.shape}; it must have at least one step and one sequence")
    initial = [None if s is None else checked(s, name, (B, H), dtype) for name, s in (("h0", h0), ("c0", c0))]
    if lengths is not None:
        lengths = checked_lengths(lengths, T, B)
    # The padded steps of ragged sequences are not written.
    out = (np.empty if lengths is None else np.zeros)((T, B, H), dtype)
    ids = x.ndim == 2
    kind, plan = Kind(dtype, H, I, ids), sorted_plan(T, B, lengths)
    final = np.empty((B, H), dtype), np.empty((B, H), dtype)
    cache = forward(kind, Ids(x) if ids else address(x), *plan, weights, addresses(initial), place(out), addresses(final),
                    keep_cache, threads, reverse)  # fmt: skip
    return out, final, cache


def checked_ids(ids: np.ndarray, width: int) -> np.ndarray:
    """Ids (T, B) within 0..width − 1, as contiguous int32."""
    if ids.size and (ids.min() < 0 or ids.max() >= width):
        bad = int(ids.min() if ids.min() < 0 else ids.max())
        raise FastLSTMError(f"x contains the id {bad}; ids must lie in 0..{width - 1}")
    return np.ascontiguousarray(ids, np.int32)


def checked_lengths(lengths: Any, T: int, B: int) -> np.ndarray:
    """Lengths (B,) of 0..T, at least one of them positive."""
    array = np.asarray(lengths)
    if array.shape != (B,) or array.dtype.kind not in "iu":
        raise FastLSTMError(
            f"lengths are {array.dtype} {array.shape}; they must be {B} integers, one for each sequence"
        )
    if array.min() < 0 or array.max() > T:
        raise FastLSTMError(f"lengths lie in {array.min()}..{array.max()}; they must lie in 0..{T}")
    if not array.any():
        raise FastLSTMError("lengths are all 0: there is no step to run")
    return array.astype(np.int64)


def lstm_backward(
    dout: Any, cache: Cache | None, dh_n: Any = None, dc_n: Any = None, threads: int | None = None
) -> Gradients:
    """The gradients of a scalar by x, W, b, h0 and c0, from those by the outputs of the `lstm_forward` that made `cache`.

    dout (T, B, H); dh_n and dc_n (B, H), zero by default. What dout holds at and past a sequence's length is ignored.
    A cache may be used more than once. Raises FastLSTMError for shapes or dtypes that don't fit.
    """
    if cache is None:
        raise FastLSTMError("cache is None: call lstm_forward with keep_cache=True")
    H, dtype = cache.hidden, cache.dtype
    T, B = cache.shape
    dout = checked(dout, "dout", (T, B, H), dtype)
    final = [
        None if s is None else checked(s, name, (B, H), dtype) for name, s in (("dh_n", dh_n), ("dc_n", dc_n))
    ]
    dW, db = np.empty((4 * H, H + cache.width), dtype), np.empty(4 * H, dtype)
    new = np.empty if cache.order is None else np.zeros
    dx = new((T, B, cache.width), dtype) if cache.ids is None else None
    states = np.empty((B, H), dtype), np.empty((B, H), dtype)
    backward(
        place(dout), cache, addresses(final), address(dx), [fused_weights(dW, db)], addresses(states), threads
    )
    return Gradients(dx, dW, db, *states)


def lstm_step(x: Any, h: Any, c: Any, W: Any, b: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """One step from the states h and c (B, H): the new h and c. x: floats (B, I) or ids (B,); W and b as in `lstm_forward`.

    >>> import numpy as np
    >>> h, c = lstm_step(np.array([3]), np.zeros((1, 2)), np.zeros((1, 2)), pack(np.ones((8, 6))))
    >>> h.shape
    (1, 2)
    """
    _, (h, c), _ = lstm_forward(np.asarray(x)[None], W, b, h, c, keep_cache=False, threads=1)
    return h, c
