"""Weights that are packed once: for models that are served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastlstm.engine.sequence import Frozen


class Packed:
    """A layer's packed weights: made anew where a weight is another tensor, lies elsewhere or has another version."""

    def __init__(self) -> None:
        self._known: tuple[list[tuple[Tensor, int, int]], bool, list[Frozen]] = ([], False, [])

    def of(self, weights: Sequence[Any], paired: bool) -> list[Frozen]:
        """One for each four of the weights; none where a weight keeps no count of its versions."""
        given = [weight for weight in weights if weight is not None]
        if any(weight.is_inference() for weight in given):
            return []
        known, as_pairs, packed = self._known
        if len(known) != len(given) or as_pairs is not paired or not all(map(_same, known, given)):
            # Before they are read: what changes meanwhile counts as a change.
            seen = [(weight, weight.data_ptr(), weight._version) for weight in given]
            packed = [_pack(weights[n : n + 4], paired) for n in range(0, len(weights), 4)]
            self._known = seen, paired, packed
        return packed


def _same(known: tuple[Tensor, int, int], weight: Tensor) -> bool:
    tensor, address, version = known
    return tensor is weight and address == weight.data_ptr() and version == weight._version


def _pack(weights: Sequence[Any], paired: bool) -> Frozen:
    """PyTorch's four weights of a direction, in the engine's order."""
    four: list[Any] = [w if w is None else w.detach().to(_dtype(w)) for w in weights]
    w_ih, w_hh, b_ih, b_hh = four
    b = w_hh.new_zeros(len(w_hh)) if b_ih is None else b_hh + b_ih
    return Frozen(torch.cat([w_hh, w_ih], 1).numpy(), b.numpy(), paired, ids=False)


def _dtype(weight: Tensor) -> torch.dtype:
    """bfloat16, which autocast lets through, is computed with as float32."""
    return torch.float32 if weight.dtype is torch.bfloat16 else weight.dtype
