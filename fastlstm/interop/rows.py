"""Inputs that an embedding has made: autograd remembers which of its rows they are.

With that the engine needs no product with the inputs, and gives the embedding its gradient itself. Nothing is
guessed: PyTorch's own graph tells what the inputs are made from, and their numbers are compared.

Letters: N positions, I inputs, V rows of the embedding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fastlstm.engine.kernels.rows import are_rows
from fastlstm.interop.gate import foreign

# A table of the embedding's rows has to be made: it pays where a row is used so many times.
USES = 2
# What merely looks at the same memory.
VIEWS = ("ViewBackward0", "UnsqueezeBackward0", "TransposeBackward0", "PermuteBackward0")
# PyTorch's word on whether the present backward pass comes by a node.
_comes_by: Any = getattr(torch._C, "_will_engine_execute_node", None)


class Rows(NamedTuple):
    """Inputs that are rows of a trained embedding."""

    weight: Tensor  # (V, I), a leaf
    leaf: Any  # the node where its gradients arrive
    ids: np.ndarray  # int32, of the inputs' shape but for the last dimension
    padding: int  # the row that gets no gradient, if there is such a one


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
    return None if seen is None else Rows(weight, leaf, seen.numpy(), node._saved_padding_idx)


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


def only_the_embedding(x: Tensor, rows: Rows) -> bool:
    """Whether in this backward pass nobody but the embedding wants the gradient of x, which it has made."""
    made = x if x._base is None else x._base
    if any(tensor._backward_hooks or tensor.retains_grad for tensor in (x, made)):
        return False
    try:
        return _comes_by(rows.leaf)
    except RuntimeError:
        # Gradients are collected on their way (torch.autograd.grad), perhaps that of x.
        return False
