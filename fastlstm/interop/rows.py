"""Inputs that are a few rows again and again, as characters are: then the engine goes by ids.

It makes a table of what each row adds to the gates, and needs no product with the inputs. Where autograd remembers that
they are rows of an embedding, that can have its gradient from the layer, and none of the inputs is computed either.
Nothing is guessed: rows are compared, and PyTorch's own graph tells what they are made from.

Letters: N positions, I inputs, V rows.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastlstm.engine.kernels.rows import are_rows, number_rows
from fastlstm.interop.gate import foreign

# A table of the rows has to be made: it pays where a row is used so many times, or where they have to be found and the inputs
# may want their gradient.
USES, REPEATS = 2, 4
# Not worth the search.
FEWEST = 64
# What merely looks at the same memory.
VIEWS = ("ViewBackward0", "UnsqueezeBackward0", "TransposeBackward0", "PermuteBackward0")
# PyTorch's word on whether the present backward pass comes by a node.
_comes_by: Any = getattr(torch._C, "_will_engine_execute_node", None)


class Rows(NamedTuple):
    """Inputs that are rows of a matrix."""

    weight: Tensor  # (V, I), contiguous
    leaf: Any  # the node where its gradients arrive, if it is an embedding's that is trained, else None
    ids: np.ndarray  # int32, of the inputs' shape but for the last dimension
    padding: int = -1  # the row that gets no gradient
    x: weakref.ref[Tensor] | None = None  # the inputs themselves, if they are an embedding's


def rows_of(x: Tensor) -> Rows | None:
    """What x (…, I) is made from, if that is an embedding and nothing else has been done with it.

    x is what the embedding gave, or a view of that.
    """
    made: Any = x if x._base is None else x._base
    node: Any = _behind(x) if x is not made else x.grad_fn
    if type(node).__name__ != "EmbeddingBackward0" or node is not made.grad_fn or _comes_by is None:
        return None
    leaf, saved = node.next_functions[0][0], node._raw_saved_indices
    # A hook would have to be called to learn what it has made of the indices.
    hooked = getattr(saved, "unpack_hook", True)
    if hooked or not hasattr(leaf, "variable") or node._saved_scale_grad_by_freq or node._saved_sparse:
        return None
    try:
        weight, ids = leaf.variable, node._saved_indices
    except RuntimeError:
        # Its graph is gone, or the indices have changed since.
        return None
    if foreign((made, weight)) or type(ids) is not Tensor or USES * len(weight) > ids.numel():
        return None
    whole = made.is_contiguous() and weight.is_contiguous() and weight.dim() == 2
    if not whole or made.shape != (*ids.shape, weight.shape[1]):
        return None
    ids = ids.to(torch.int32).contiguous()
    vectors = made.detach().view(-1, weight.shape[1]).numpy()
    if not are_rows(vectors, weight.detach().numpy(), ids.view(-1).numpy()):
        return None
    seen = ids if x is made else _seen(ids, x, made)
    return None if seen is None else Rows(weight, leaf, seen.numpy(), node._saved_padding_idx, weakref.ref(x))


def _behind(view: Tensor) -> Any:
    """The node whose result a tensor is a view of, if only that."""
    node: Any = view.grad_fn
    return node.next_functions[0][0] if type(node).__name__ in VIEWS else None


def _seen(ids: Tensor, view: Tensor, made: Tensor) -> Tensor | None:
    """Of one id for each row (…, I) of `made`, contiguous, those that its view shows; None if the view cuts rows."""
    I, first = made.shape[-1], view.storage_offset() - made.storage_offset()
    *strides, last = view.stride()
    if view.shape[-1] != I or (last != 1 and I > 1) or any(n % I for n in (first, *strides)):
        return None
    return ids.as_strided(view.shape[:-1], [stride // I for stride in strides], first // I)


def repeated_rows(x: Tensor) -> Rows | None:
    """The different rows of x (…, I), if few come again and again: one-hot ones, or an embedding's, however they came here."""
    *shape, I = x.shape
    N = x.numel() // I
    if N < FEWEST or not x.is_contiguous() or x.is_neg():
        return None
    vectors = x.detach().view(N, I).numpy()
    ids, first = np.empty(N, np.int32), np.empty(N // REPEATS, np.int32)
    slots = np.empty(1 << N.bit_length(), np.int32)
    count = number_rows(vectors.view(f"u{vectors.itemsize}"), slots, ids, first)
    return Rows(torch.from_numpy(vectors[first[:count]]), None, ids.reshape(shape)) if count else None


def only_the_embedding(x: Tensor, rows: Rows) -> bool:
    """Whether in this backward pass nobody but the embedding wants the gradient of x, which it has made."""
    made = x if x._base is None else x._base
    # A checkpoint brings back what x held, but not x, which may have hooks.
    if rows.x is None or rows.x() is not x:
        return False
    if any(tensor._backward_hooks or tensor.retains_grad for tensor in (x, made)):
        return False
    try:
        return _comes_by(rows.leaf)
    except RuntimeError:
        # Gradients are collected on their way (torch.autograd.grad), perhaps that of x.
        return False
